"""Strategy 4: data efficiency. How much data, which, and is what there is any good?"""

from helpers.lab.exports import lazily

_HOME = {
    "features": "vectors", "embed": "vectors", "Features": "vectors",
    "data_report": "reports", "class_balance": "reports", "repaired": "reports",
    "find_label_errors": "cleaning", "flag_quality": "cleaning", "review_curve": "cleaning", "review_worth": "cleaning",
    "inject_noise": "noise", "with_labels": "noise", "Noise": "noise",
    "find_duplicates": "deduplication", "deduplicated": "deduplication", "groups_of": "deduplication",
    "overlap": "deduplication", "duplicate_effect": "duplicate_effects",
    "inject_duplicates": "near_duplicates", "duplicate_quality": "near_duplicates",
    "STRATEGIES": "strategies",
    "choose_next": "selection", "label_with": "selection", "compare_strategies": "selection",
    "against_random": "selection", "labels_to": "selection",
    "prune_rows": "data_pruning", "prune_study": "data_pruning", "prune_gains": "data_pruning",
    "measure_curve": "learning_curve", "fit_curve": "learning_curve", "check_curve": "learning_curve",
    "LearningCurve": "learning_curve",
    "augment": "augmentation", "augmentation_study": "augmentation", "gains_over": "augmentation",
    "synthesize": "synthesis", "synthesis_study": "synthesis", "extraction_test": "privacy",
    "nearest_real": "synthesis",
    "Review": "reviewing", "replay": "reviewing", "clean_file": "files", "doubtful_rows": "files",
    "clean_large": "large",
    "compute_usd": "spending", "USD_A_LABEL": "spending",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
