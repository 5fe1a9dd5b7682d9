"""Strategy 5: cloud-native and distributed, simulated at scale and checked against the real thing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "traffic.generators": ["poisson", "diurnal", "bursts", "flash_crowd", "exponential_service"],
    "traffic.traces": ["read_trace"],
    "simulator.service_times": ["ServiceTimes"],
    "simulator.simulating": ["simulate"],
    "simulator.fleet": ["Fleet"],
    "simulator.policies": ["Policy", "schedule", "predictive"],
    "simulator.autoscalers": ["target_utilisation", "queue_length", "concurrency_target", "ray_serve",
                              "target_tracking"],
    "simulator.runs": ["replicate"],
    "costs.machines": ["bill", "split_load"],
    "costs.serverless_prices": ["serverless_offer"],
    "costs.serverless": ["scale_to_zero"],
    "costs.serverless_break_even": ["break_even", "break_even_on_trace"],
    "language_serving.engine": ["ServingEngine", "paper_engine", "paper_band"],
    "language_serving.calibration": ["measure_steps", "step_points", "fit_engine", "judge_engine"],
    "language_serving.prefix_cache": ["Prefixes"],
    "language_serving.serving_policies": ["serving_target"],
    "language_serving.serving": ["serve_llm", "LlmFleet"],
    "language_serving.buying": ["buy_or_rent", "fewest_replicas", "serving_bill", "token_prices", "TokenPrice"],
    "training.communication": ["calibrate", "ring_allreduce_s", "scaling", "slowest_useful_link"],
    "training.data_parallel": ["train_distributed", "measure_scaling", "measured_overlap", "predicted_step_s",
                               "Settings"],
    "training.training_cost": ["training_costs", "young_interval", "daly_interval", "simulate_runs"],
    "batch_inference": ["predict_file"],
})
