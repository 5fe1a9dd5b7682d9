"""What a notebook shows: charts, tables, sentences, and panels that run experiments.

Names are imported when they are first used: a page opens without what it does not show, and
nothing here imports torch.
"""

import sys

import lazy_loader

# Altair checks charts with jsonschema, which would spend seconds on building a grammar of web addresses that no
# chart needs; it does without where this package is missing.
sys.modules.setdefault("rfc3987_syntax", None)

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "text.words": ["guess", "verdict", "check", "headline"],
    "text.tables": ["table"],
    "jobs.progress_bar": ["progress"],
    "charts.accuracy_cost": ["chart", "speedups"],
    "charts.vega": ["svg", "Chart"],
    "panels.measurements": ["Panel"],
    "panels.exploring": ["Explore"],
    "jobs.job": ["Job"],
    "export.records": ["recorded", "recorded_table", "as_csv"],
    "panels.findings": ["finding"],
    "jobs.running": ["run"],
    "charts.series": ["tiles", "replicas_over_time", "latency_over_time", "dollars_a_month", "break_even_chart",
                      "scaling_chart"],
    "charts.plots": ["lines", "bars", "dots"],
})
