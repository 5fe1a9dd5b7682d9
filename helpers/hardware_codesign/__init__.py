"""Strategy 3: hardware and software co-design: how much of a machine is used, by which runtime, and which to rent."""

from helpers.lab.exports import lazily

_HOME = {
    "Ceilings": "ceilings", "measure_ceilings": "ceilings", "ceilings_by_threads": "ceilings",
    "recorded_ceilings": "ceilings",
    "device_ceilings": "data_sheets", "devices": "data_sheets",
    "operators": "counting",
    "place": "roofline", "grouped": "roofs", "roof_points": "roofs", "intensities": "roofs", "why_slow": "roofs",
    "TimeModel": "time_model", "fit_times": "time_model", "encoder_work": "time_model", "time_grid": "time_model",
    "judged": "time_model", "tokenize_seconds": "time_model",
    "Candidate": "runtimes", "CANDIDATES": "runtimes", "option": "runtimes", "make": "runtimes",
    "compare_runtimes": "runtimes", "worth_making_after": "runtimes", "agreement": "runtimes",
    "tune": "tuning", "settings_grid": "tuning",
    "graph_levels": "fusions",
    "Pad": "padding", "batches_of": "padding", "padding_share": "padding", "compare_padding": "padding",
    "batch_times": "batching", "batch_frame": "batching", "knee": "batching", "compare_layouts": "layouts",
    "DynamicBatcher": "batcher", "open_loop": "batcher", "Load": "batcher",
    "simulate_batcher": "batcher_model", "best_delay": "batcher_model", "highest_rate": "batcher_model",
    "Here": "placement", "place_on_offers": "placement", "busy_to_pay": "placement",
    "Decoder": "language_models", "DECODERS": "language_models", "token_costs": "language_models",
    "hosted_prices": "language_models",
    "load_frame": "loads",
    "compare_switches": "switches",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
