"""Strategy 4: data efficiency. How much data, which, and is what there is any good?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "options": ["REVIEWER_ERRORS"],
    "linear": ["fit"],
    "vectors": ["features", "Features"],
    "runs": ["paired_gains"],
    "cleaning.reports": ["data_report"],
    "cleaning.label_errors": ["find_label_errors", "review_curve", "review_worth"],
    "cleaning.reviews": ["Review", "replay"],
    "cleaning.user_files": ["clean_file", "doubtful_rows"],
    "cleaning.large_files": ["clean_large"],
    "duplicates.finding": ["find_duplicates", "duplicate_pairs", "deduplicated", "overlap", "duplicate_effect"],
    "duplicates.near_duplicates": ["inject_duplicates", "duplicate_quality", "typos"],
    "selection.strategies": ["STRATEGIES", "Pool"],
    "selection.active_learning": ["choose_next", "compare_strategies", "labels_to"],
    "selection.row_pruning": ["prune_study"],
    "selection.learning_curves": ["measure_curve", "fit_curve", "check_curve"],
    "generation.augmentation": ["augmentation_study"],
    "generation.synthesis": ["synthesis_study", "recombined", "extraction_test"],
})
