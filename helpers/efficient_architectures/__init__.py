"""Strategy 2, efficient architectures: the smallest model that does the task, and one model for many tasks.

Names are imported when they are first used, so that a page of recorded results opens without torch.
"""

from helpers.lab.exports import lazily

_HOME = {
    "STEPS": "ladder_steps",
    "ladder": "right_sizing", "few_labels": "right_sizing", "quality_by_labels": "right_sizing",
    "cheapest_within": "choices", "with_floor": "choices", "most_frequent": "right_sizing",
    "linear_probe": "frozen", "zero_shot": "frozen",
    "static_embeddings": "token_scores", "few_shot": "contrastive",
    "hosted_llm": "hosted", "hosted_prices": "hosted",
    "calibrate": "calibration", "fit_temperature": "calibration",
    "build_cascade": "cascades", "choose_threshold": "cascades", "follow": "cascades", "curve": "cascades",
    "rows_needed": "cascades", "surest_within": "cascades", "guarantees": "cascades",
    "hard_rows": "drifting", "under_drift": "drifting", "with_typos": "drifting", "resampled": "drifting",
    "ADAPTERS": "adapter_kinds", "tune": "adapters", "merge": "adapters", "training_memory": "adapters",
    "compare_adapters": "adapter_runs", "paired_over_seeds": "adapter_runs",
    "bottleneck_parameters": "bottlenecks",
    "TenantBank": "tenants", "tenant_tasks": "tenants", "tenant_bytes": "tenant_sizes", "switch_times": "tenants",
    "mixed_overhead": "tenants", "resident_growth": "tenants",
    "DESIGNS": "convolution_kinds", "conv_block": "convolutions", "separable_ratio": "convolution_kinds",
    "counted_macs": "convolutions", "convolution_times": "convolutions", "explain_separable": "convolution_kinds",
    "train_images": "image_models", "load_image_model": "image_models",
    "compare_designs": "image_runs",
    "ATTENTIONS": "attention_kinds", "Shape": "attention_kinds", "attention_macs": "attention_kinds",
    "cache_bytes": "attention_kinds", "working_bytes": "attention_kinds", "attend": "attention",
    "attention_times": "attention_scaling",
    "fit_exponents": "exponents", "cache_table": "attention_scaling", "peak_working_bytes": "attention_scaling",
    "train_language_model": "language_models",
    "fit_error_law": "budgets", "best_for_budget": "budgets",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
