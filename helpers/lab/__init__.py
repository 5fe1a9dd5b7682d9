"""The common ground of all experiments: tasks, models, measuring, cost and the ledger.

Names are imported when they are first used, so that showing records does not import torch.
"""

from .exports import lazily

_HOME = {
    "Task": "task", "load_task": "task",
    "Model": "model", "Card": "model", "load": "model",
    "Measurement": "measurement", "read_recorded": "measurement", "write_recorded": "measurement",
    "write_table": "recordings", "read_table": "recordings",
    "baseline": "baselines", "load_pretrained": "baselines",
    "tfidf_baseline": "sklearn_model",
    "export": "exporting",
    "compare": "comparison", "Comparison": "comparison",
    "cost": "costs", "offer": "costs", "offers": "costs", "break_even": "costs",
    "Ledger": "ledger",
    "sweep": "sweeping",
    "fingerprint": "machine",
    "InputError": "errors", "Cancelled": "errors",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
