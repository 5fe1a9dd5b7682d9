"""Strategy 2, efficient architectures: the smallest model that does the task, and one model for many tasks.

Names are imported when they are first used, so that a page of recorded results opens without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "options": ["STEPS", "RUNGS", "LANGUAGE_RUNGS", "ATTENTIONS", "Shape", "cache_bytes", "cheapest_within",
                "explain_separable", "separable_ratio", "tenant_bytes", "working_bytes"],
    "right_sizing.rungs": ["ladder", "few_labels", "quality_by_labels"],
    "right_sizing.extracting": ["extraction_rungs", "score_rungs", "compare_rungs", "times_the_work"],
    "right_sizing.hosted": ["hosted_llm"],
    "right_sizing.token_terms": ["RequestTokens", "hosted_prompts", "hosted_rungs", "request_tokens"],
    "right_sizing.tries": ["explain_tries", "tries_a_day"],
    "cascades.temperature": ["calibrate", "fit_temperature"],
    "cascades.outcomes": ["follow", "curve", "guarantees", "hard_rows", "under_drift", "resampled"],
    "cascades.routing": ["Routable", "Router", "most_lost", "routable", "route_drift", "route_guarantees",
                         "threshold_of"],
    "adapters.tuning": ["tune", "merge"],
    "adapters.comparison": ["compare_adapters", "paired_over_seeds"],
    "adapters.tenants": ["TenantBank", "tenant_tasks", "switch_times", "mixed_overhead", "resident_growth"],
    "adapters.language_tenants": ["LanguageTenants", "tenant_adapters", "tenant_prompt", "tenant_times"],
    "convolutions.layers": ["conv_block", "counted_macs", "convolution_times"],
    "convolutions.image_models": ["compare_designs"],
    "attention.scaling": ["attention_times", "cache_table", "peak_working_bytes"],
    "attention.causal": ["train_with_attention"],
    "power_laws": ["best_for_budget", "fit_error_law", "fit_exponents"],
})
