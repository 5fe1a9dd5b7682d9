"""What a notebook shows: charts, tables, sentences, and panels that run experiments.

Names are imported when they are first used: a page opens without what it does not show, and
nothing here imports torch.
"""

import importlib
from typing import Any

_HOME = {
    "guess": ("words", "guess"),
    "verdict": ("words", "verdict"),
    "check": ("words", "check"),
    "headline": ("words", "headline"),
    "table": ("tables", "table"),
    "progress": ("progress", "progress"),
    "chart": ("charts", "accuracy_against_cost"),
    "speedups": ("charts", "speedups"),
    "svg": ("vega", "svg"),
    "Chart": ("vega", "Chart"),
    "Panel": ("panel", "Panel"),
    "Explore": ("explore", "Explore"),
    "Job": ("jobs", "Job"),
    "recorded": ("records", "recorded"),
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"helpers.app has no '{name}'")
    module, attribute = _HOME[name]
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
