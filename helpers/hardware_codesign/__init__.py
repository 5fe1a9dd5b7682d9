"""Strategy 3: hardware and software co-design: how much of a machine is used, by which runtime, and which to rent."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "roofline.peaks": ["Ceilings", "measure_ceilings", "ceilings_by_threads", "recorded_ceilings"],
    "roofline.data_sheets": ["device_ceilings", "devices"],
    "roofline.counting": ["operators"],
    "roofline.timed_layers": ["place"],
    "roofline.placed_layers": ["grouped", "roof_points", "intensities", "why_slow"],
    "roofline.time_model": ["TimeModel", "fit_times", "encoder_work", "time_grid", "judged", "tokenize_seconds"],
    "runtimes.candidates": ["Candidate", "CANDIDATES", "option", "make"],
    "runtimes.comparing": ["compare_runtimes", "agreement", "check_shapes", "TOLERANCE", "tune", "settings_grid"],
    "batching.padding": ["Pad", "batches_of", "padding_share", "compare_padding"],
    "batching.batch_sizes": ["batch_times", "batch_frame", "knee"],
    "batching.layouts": ["compare_layouts"],
    "batching.batcher": ["DynamicBatcher", "open_loop", "Load"],
    "batching.batcher_model": ["simulate_batcher", "best_delay", "highest_rate"],
    "placement.rented_machines": ["Here", "place_on_offers", "busy_to_pay"],
    "language_serving.decoders": ["Decoder", "DECODERS", "token_costs", "hosted_prices"],
    "batching.load_test": ["load_frame"],
    "runtimes.switches": ["compare_switches", "graph_levels"],
})
