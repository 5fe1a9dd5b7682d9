"""What a notebook shows: charts, tables, sentences, and panels that run experiments.

Names are imported when they are first used: a page opens without what it does not show, and
nothing here imports torch.
"""

import importlib
import sys
from typing import Any

# Altair checks charts with jsonschema, which would spend seconds on building a grammar of web addresses that no
# chart needs; it does without where this package is missing.
sys.modules.setdefault("rfc3987_syntax", None)
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
    "recorded_table": ("records", "recorded_table"),
    "as_csv": ("records", "as_csv"),
    "finding": ("findings", "finding"),
    "run": ("running", "run"),
    "tiles": ("series", "tiles"),
    "replicas_over_time": ("series", "replicas_over_time"),
    "latency_over_time": ("series", "latency_over_time"),
    "dollars_a_month": ("series", "dollars_a_month"),
    "break_even_chart": ("series", "break_even_chart"),
    "scaling_chart": ("series", "scaling_chart"),
    "lines": ("plots", "lines"),
    "bars": ("plots", "bars"),
    "dots": ("plots", "dots"),
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"helpers.app has no '{name}'")
    module, attribute = _HOME[name]
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value
    return value
