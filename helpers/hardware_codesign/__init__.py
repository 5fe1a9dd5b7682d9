"""Strategy 3: hardware and software co-design: how much of a machine is used, by which runtime, and which to rent."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "options": ["BATCHES", "INT8_MACS", "PADDINGS", "PRECISIONS"],
    "roofline.peaks": ["measure_peaks", "peaks_by_threads", "best_peaks", "recorded_peaks"],
    "roofline.counting": ["operators"],
    "roofline.layers": ["layer_roofline", "group_layers", "roofline_points", "intensities", "why_slow"],
    "roofline.generations": ["precisions_by_year", "precisions_verdict"],
    "roofline.time_model": ["fit_and_validate", "fit_device", "encoder_work", "time_grid", "tokenize_seconds"],
    "runtimes.candidates": ["CANDIDATES", "option", "make"],
    "runtimes.comparing": ["compare_runtimes", "agreement", "check_shapes", "TOLERANCE", "tune", "settings_grid"],
    "runtimes.on_device": ["for_the_browser"],
    "runtimes.switches": ["compare_switches", "graph_levels"],
    "runtimes.installed": ["import_seconds", "compare_installed", "installed_verdict"],
    "runtimes.leaving": ["compare_leaving", "leaving_verdict"],
    "batching.padding": ["padding_share", "compare_padding"],
    "batching.layouts": ["compare_layouts"],
    "batching.load_test": ["batch_times", "batch_frame", "knee", "compare_with_load"],
    "language_serving.phase_model": ["on_paper", "fit_phases", "phase_figures", "recorded_phases"],
    "language_serving.step_times": ["count_steps", "measure_phases"],
    "language_serving.switches": ["ENGINES", "on_other_machines", "lessons"],
    "language_serving.engine": ["compare_engines", "shared_requests"],
    "language_serving.endpoint_load": ["Target", "load_endpoint", "find_rate", "own_overhead", "poisson_times",
                                       "prompts_of_lengths"],
    "language_serving.paced_server": ["PacedProcess"],
    "language_serving.answer_caches": ["cache_verdict", "compare_caches"],
    "language_serving.budgets": ["BUDGETS", "compare_budgets", "at_prices", "cheapest_budget", "budget_verdict"],
    "placement": ["MeasuredMachine", "rank_offers", "break_even_utilization", "token_costs", "hosted_prices"],
})
