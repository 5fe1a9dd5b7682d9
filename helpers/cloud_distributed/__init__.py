"""Strategy 5: cloud-native and distributed, simulated at scale and checked against the real thing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "traffic.generators": ["poisson", "with_rate", "diurnal", "bursts", "flash_crowd", "growth", "from_counts",
                           "exponential_service"],
    "traffic.traces": ["read_trace", "Trace"],
    "simulator.fleet": ["simulate", "Fleet"],
    "simulator.service_times": ["ServiceTimes"],
    "simulator.runs": ["Run", "replicate"],
    "simulator.layout": ["Outcome"],
    "costs.bills": ["bill", "Bill"],
    "simulator.policies": ["Policy", "schedule", "predictive"],
    "simulator.autoscalers": ["target_utilisation", "queue_length", "concurrency_target", "ray_serve"],
    "language_serving.serving": ["serve_llm", "LlmServer"],
    "costs.serverless_prices": ["serverless_offer", "serverless_offers"],
    "costs.serverless": ["serve", "scale_to_zero", "ServerlessBill"],
    "costs.serverless_break_even": ["break_even", "break_even_on_trace"],
    "costs.commitments": ["split_load", "hour_prices", "load_duration"],
    "training.communication": ["calibrate", "scaling", "Link", "slowest_useful_link"],
    "training.data_parallel": ["train_distributed", "measure_scaling", "measured_overlap", "predicted_step_s",
                               "Settings"],
    "training.memory": ["training_memory", "workers_needed"],
    "training.checkpoints": ["young_interval", "daly_interval", "simulate_runs", "expected_run_s"],
    "training.training_cost": ["spot_run", "on_demand_run", "training_costs"],
    "batch_inference": ["predict_file"],
})
