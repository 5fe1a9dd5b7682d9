"""Output of the notebooks: charts, tables, sentences, and panels that run experiments.

Names are imported when they are first used: a page opens without what it does not show, and
nothing here imports torch.
"""

import sys

import lazy_loader

from helpers.app.jobs.loading import announce_imports

# Altair checks charts with jsonschema, which would spend seconds on building a grammar of web addresses that no
# chart needs; it does without where this package is missing.
sys.modules.setdefault("rfc3987_syntax", None)

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={
    "text.words": ["verdict", "headline", "notes", "tiles"],
    "text.figures": ["count", "two"],
    "text.findings": ["beside_the_constant", "change", "cheaper", "chosen", "finding", "full_name", "on_machine"],
    "text.tables": ["table", "change_factors"],
    "text.frames": ["in_words"],
    "text.verdicts": ["all_steps", "amount", "differences", "longest_pipeline", "promise", "ratios", "share_of_loss",
                      "times", "who_notices"],
    "text.language_models": ["annotator_bills", "annotator_worth", "beside_nothing", "taught", "tuning_worth"],
    "text.billing.bills": ["monthly_bill"],
    "text.billing.by_volume": ["changes_by_volume", "volume_verdict"],
    "text.billing.efforts": ["effort", "effort_worth"],
    "text.billing.side_by_side": ["two_bills"],
    "text.billing.worksheets": ["helps_most", "worksheet"],
    "panels.controls": ["choices"],
    "panels.guesses": ["guess"],
    "panels.measurements": ["Panel"],
    "panels.exploring": ["Explore"],
    "panels.on_device": ["OnDevice"],
    "panels.page_bill": ["PageBill"],
    "panels.labelling": ["ReviewPanel", "LabelPanel"],
    "jobs.cell_bar": ["progress"],
    "jobs.job": ["run"],
    "exercises": ["Exercise"],
    "export.statement": ["statements_markdown"],
    "records": ["recorded", "recorded_table", "as_csv", "rescaled"],
    "charts.accuracy_cost": ["chart", "speedups", "speedup_spec"],
    "charts.plots": ["lines", "bars", "dots", "changes", "lines_spec", "bars_spec", "dots_spec"],
    "charts.series": ["replicas_over_time", "latency_over_time", "dollars_a_month", "break_even_chart",
                      "scaling_chart", "replicas_spec", "latency_spec"],
})

announce_imports()
