"""Strategy 2, efficient architectures: the smallest model that does the task, and one model for many tasks.

Names are imported when they are first used, so that a page of recorded results opens without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "ladder_steps": ["STEPS"],
    "right_sizing.rungs": ["ladder", "few_labels", "quality_by_labels", "most_frequent"],
    "choices": ["cheapest_within", "with_floor"],
    "right_sizing.frozen": ["linear_probe", "zero_shot"],
    "right_sizing.token_scores": ["static_embeddings"],
    "right_sizing.contrastive": ["few_shot"],
    "right_sizing.hosted": ["hosted_llm", "hosted_prices"],
    "cascades.temperature": ["calibrate"],
    "cascades.outcomes": ["follow", "curve", "guarantees", "hard_rows", "under_drift", "resampled"],
    "adapter_kinds": ["ADAPTERS"],
    "adapters.tuning": ["tune", "merge", "training_memory"],
    "adapters.adapter_runs": ["compare_adapters", "paired_over_seeds"],
    "adapters.bottlenecks": ["bottleneck_parameters"],
    "adapters.tenants": ["TenantBank", "tenant_tasks", "switch_times", "mixed_overhead", "resident_growth"],
    "adapters.tenant_sizes": ["tenant_bytes"],
    "convolutions.convolution_kinds": ["DESIGNS", "separable_ratio", "explain_separable"],
    "convolutions.layers": ["conv_block", "counted_macs", "convolution_times"],
    "convolutions.image_models": ["train_images", "load_image_model"],
    "convolutions.image_runs": ["compare_designs"],
    "attention.attention_kinds": ["ATTENTIONS", "Shape", "attention_macs", "cache_bytes", "working_bytes"],
    "attention.kernels": ["attend"],
    "attention.scaling": ["attention_times", "cache_table", "peak_working_bytes"],
    "attention.exponents": ["fit_exponents"],
    "attention.causal": ["train_with_attention"],
    "convolutions.size_budget": ["fit_error_law", "best_for_budget"],
})
