"""Strategy 4: data efficiency. How much data, which, and is what there is any good?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "vectors": ["features", "embed", "Features"],
    "cleaning.reports": ["data_report", "class_balance", "repaired"],
    "cleaning.label_errors": ["find_label_errors", "flag_quality", "review_curve", "review_worth"],
    "cleaning.noise": ["inject_noise", "with_labels", "Noise"],
    "duplicates.finding": ["find_duplicates", "deduplicated", "groups_of", "overlap"],
    "duplicates.effects": ["duplicate_effect"],
    "duplicates.near_duplicates": ["inject_duplicates", "duplicate_quality"],
    "selection.strategies": ["STRATEGIES"],
    "selection.active_learning": ["choose_next", "label_with", "compare_strategies", "against_random", "labels_to"],
    "selection.row_pruning": ["prune_rows", "prune_study", "prune_gains"],
    "selection.learning_curves": ["measure_curve", "fit_curve", "check_curve", "LearningCurve"],
    "generation.augmentation": ["augmentation_study", "gains_over"],
    "generation.synthesis": ["synthesize", "synthesis_study", "nearest_real"],
    "generation.privacy": ["extraction_test"],
    "cleaning.reviews": ["Review", "replay"],
    "cleaning.whole_file": ["clean_file", "doubtful_rows"],
    "cleaning.large_files": ["clean_large"],
    "selection.labelling_cost": ["compute_usd", "USD_A_LABEL"],
})
