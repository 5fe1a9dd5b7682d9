"""The common ground of all experiments: tasks, models, measuring, cost and the ledger.

Names are imported when they are first used, so that showing records does not import torch.
"""

from helpers.lab.exports import lazily

_HOME = {
    "Task": "data.task", "load_task": "data.task",
    "Model": "models.model", "Card": "models.model", "load": "models.model",
    "Measurement": "measuring.measurement", "read_recorded": "measuring.measurement",
    "write_recorded": "measuring.measurement",
    "write_table": "measuring.recorded", "read_table": "measuring.recorded",
    "baseline": "training.baselines", "load_pretrained": "training.baselines",
    "tfidf_baseline": "models.sklearn",
    "export": "exporting.graph",
    "compare": "measuring.comparison", "Comparison": "measuring.comparison",
    "cost": "money.costs", "offer": "money.costs", "offers": "money.costs", "break_even": "money.costs",
    "Ledger": "measuring.ledger",
    "sweep": "sweeping",
    "fingerprint": "machine",
    "InputError": "errors", "Cancelled": "errors",
}
__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
