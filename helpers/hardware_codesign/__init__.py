"""Strategy 3: hardware and software co-design: how much of a machine is used, by which runtime, and which to rent."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "options": ["BATCHES", "PADDINGS", "PRECISIONS"],
    "roofline.peaks": ["measure_peaks", "peaks_by_threads", "recorded_peaks"],
    "roofline.counting": ["operators"],
    "roofline.layers": ["layer_roofline", "group_layers", "roofline_points", "intensities", "why_slow"],
    "roofline.time_model": ["fit_and_validate", "encoder_work", "time_grid", "tokenize_seconds"],
    "runtimes.candidates": ["Candidate", "CANDIDATES", "option", "make", "compare_runtimes", "worth_making_after",
                            "agreement"],
    "runtimes.tuning": ["tune", "settings_grid"],
    "runtimes.fusions": ["graph_levels"],
    "runtimes.switches": ["compare_switches"],
    "batching.padding": ["padding_share", "compare_padding"],
    "batching.layouts": ["compare_layouts"],
    "batching.load_test": ["batch_times", "batch_frame", "knee", "compare_with_load"],
    "placement": ["MeasuredMachine", "rank_offers", "break_even_utilization", "token_costs", "hosted_prices"],
})
