"""Strategy 5: cloud-native and distributed, simulated at scale and checked against the real thing."""

from helpers.lab.exports import lazily

_HOME = {
    "poisson": "traffic", "with_rate": "traffic", "diurnal": "traffic", "bursts": "traffic", "flash_crowd": "traffic",
    "growth": "traffic", "from_counts": "traffic", "exponential_service": "traffic",
    "read_trace": "traces", "Trace": "traces",
    "simulate": "fleet", "Fleet": "fleet",
    "ServiceTimes": "service_times",
    "Run": "runs", "replicate": "runs", "Outcome": "layout",
    "bill": "bills", "Bill": "bills",
    "Policy": "policies", "schedule": "policies", "predictive": "policies",
    "target_utilisation": "autoscalers", "queue_length": "autoscalers", "concurrency_target": "autoscalers",
    "ray_serve": "autoscalers",
    "serve_llm": "llm_serving", "LlmServer": "llm_serving", "LlmRun": "llm_serving", "LanguageModel": "llm_serving",
    "LANGUAGE_MODELS": "llm_serving",
    "serverless_offer": "serverless_offers", "serverless_offers": "serverless_offers",
    "serve": "serverless", "scale_to_zero": "serverless", "ServerlessBill": "serverless",
    "break_even": "duty_cycles", "break_even_on_trace": "duty_cycles",
    "split_load": "commitments", "hour_prices": "commitments", "load_duration": "commitments",
    "calibrate": "communication", "scaling": "communication", "Link": "communication",
    "slowest_useful_link": "communication",
    "train_distributed": "training", "measure_scaling": "training",
    "measured_overlap": "training", "predicted_step_s": "training", "Settings": "training",
    "training_memory": "memory", "workers_needed": "memory",
    "young_interval": "checkpoints", "daly_interval": "checkpoints", "simulate_runs": "checkpoints",
    "expected_run_s": "checkpoints",
    "spot_run": "run_costs", "on_demand_run": "run_costs", "training_costs": "run_costs",
    "predict_file": "inference",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
