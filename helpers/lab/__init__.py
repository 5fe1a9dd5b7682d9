"""The common ground of all experiments: tasks, models, measuring, cost and the ledger.

Names are imported when they are first used, so that showing records does not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "data.task": ["Task", "load_task"],
    "models.model": ["Model", "load"],
    "measuring.measurement": ["Measurement", "score", "write_recorded"],
    "measuring.recorded": ["write_table"],
    "training.baselines": ["baseline", "load_pretrained"],
    "training.weights": ["MINILM", "find_weights"],
    "models.sklearn": ["tfidf_baseline"],
    "models.torch": ["count_macs"],
    "models.packing": ["pack"],
    "exporting.graph": ["export"],
    "language.loading": ["load_language_model"],
    "language.engines.endpoints": ["endpoint"],
    "language.prompting": ["prompted"],
    "extraction.tuned": ["tuned_for"],
    "extraction.measuring": ["Served", "compare_extractors"],
    "extraction.prompting": ["prompted_extractor"],
    "measuring.comparison": ["compare", "Comparison"],
    "money.scenario": ["Scenario"],
    "money.costs": ["ApiPrice", "api_prices", "cost", "offer", "offers", "break_even"],
    "measuring.intervals": ["paired_difference", "paired_differences"],
    "measuring.metrics": ["recall_changes"],
    "measuring.ledger": ["Ledger"],
    "sweeping": ["sweep"],
    "facts": ["devices"],
    "language.sheet": ["DECODERS", "DecoderSheet"],
    "machine": ["fingerprint"],
    "errors": ["InputError", "Cancelled"],
})
