"""Strategy 4: data efficiency. How much data, which, and is what there is any good?"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "options": ["REVIEWER_ERRORS", "TOKEN_PRICES", "TRIES"],
    "linear": ["fit"],
    "vectors": ["features", "Features", "embed"],
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
    "language_model.annotators": ["annotate", "cohens_kappa", "errors_by_class"],
    "language_model.annotation_costs": ["usd_to", "paying_accuracy", "cost_curves"],
    "language_model.annotation_runs": ["annotation_study", "accuracy_that_pays"],
    "language_model.retrieval_or_tuning": ["compare_ways"],
    "language_model.tuning_costs": ["tuning_repaid"],
    "generation.augmentation": ["augmentation_study"],
    "generation.synthesis": ["synthesis_study", "synthesize", "filtered", "recombined",
                             "extraction_test"],
})
