"""A panel for expensive measurements: recorded results at once, fresh ones on request."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets
import traitlets

from helpers.app.charts.accuracy_cost import cost_spec, speedup_spec
from helpers.app.export.html_report import records_page
from helpers.app.export.records import as_csv, as_json, listed, replaced
from helpers.app.export.scripts import panel_script
from helpers.app.jobs.job import BUSY, Job
from helpers.app.panels.controls import ControlBox, Controls
from helpers.app.panels.exploring import shown_in_place
from helpers.app.panels.findings import finding
from helpers.app.panels.page_widgets import CopyCode, Download, Liveness, Names
from helpers.app.text.figures import seconds
from helpers.app.text.problems import guarded
from helpers.app.text.tables import table_html
from helpers.app.text.words import status_html, verdict_html
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement

NOTHING = "Nothing has been recorded for this yet. 'Measure on this machine' gets the first results."


class Panel(ipywidgets.VBox):
    """Controls left, chart right, the table under it; a fresh verdict on top.

    Args:
        compute: `compute(report, **settings)` runs in another process (see Job); it returns
            records, and may show each at once with `report.partial(record)`.
        controls: setting name -> widget.
        recorded: records to open with. The first is the reference.
        chart: records -> chart; accuracy against cost by default.
        verdict: records -> the sentence on top.
        name: goes before the settings in the page's address and is the name of downloads.

    `records` holds what is shown; a fresh record takes the place of the same model's.
    """

    records = traitlets.List()

    def __init__(self, compute: Callable[..., Any], controls: Controls, recorded: Iterable[Measurement] = (), *,
                 chart: Callable[[list[Measurement]], Any] = cost_spec,
                 verdict: Callable[[Sequence[Measurement]], str] = finding, name: str = ""):
        self._compute, self._chart, self._verdict = compute, chart, verdict
        self.job = Job(compute)
        self._seen = 0  # partial results that are already shown
        self._problem = ""  # what was wrong with the results of a run that ended well
        self._make_parts(controls, name)
        super().__init__([self._top, self._row, self._table, self._take_away, Names(), Liveness()],
                         layout={"width": "100%"})
        self.add_class("app-panel")
        self.observe(guarded(self._tell)(self._draw), "records")
        self.job.observe(guarded(self._tell)(self._follow))
        self._opened_on = listed(recorded)
        self.records = self._opened_on  # draws them
        if not self.records:
            self._draw()

    def _make_parts(self, controls: Controls, name: str) -> None:
        file = self._name = name or "results"
        self._top = ipywidgets.HTML(layout={"width": "100%"})
        self._table = ipywidgets.HTML(layout={"width": "100%"})
        self._status = ipywidgets.HTML(layout={"width": "100%"})
        self._bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "100%", "visibility": "hidden"})
        self._run = ipywidgets.Button(description="Measure on this machine", button_style="primary",
                                      layout={"width": "auto", "flex": "1 1 auto"})
        self._cancel = ipywidgets.Button(description="Cancel", disabled=True, layout={"width": "auto"})
        self._run.on_click(guarded(self._tell)(self._start))
        self._cancel.on_click(guarded(self._tell)(lambda _button: self.job.cancel()))
        self._box = ControlBox(controls, lambda: None, self._tell, name)
        buttons = ipywidgets.HBox([self._run, self._cancel], layout={"width": "100%", "flex_flow": "row wrap"})
        left = ipywidgets.VBox([self._box, buttons, self._bar, self._status],
                               layout={"flex": "0 1 280px", "min_width": "0"})
        self._right = ipywidgets.VBox(layout={"flex": "1 1 440px", "min_width": "0"})
        self._right.add_class("app-results")
        self._row = ipywidgets.Box([left, self._right],
                                   layout={"display": "flex", "flex_flow": "row wrap", "width": "100%"})
        self._row.add_class("app-row")
        download = Download({"report": (f"{file}.html", "text/html", self._report),
                             "CSV": (f"{file}.csv", "text/csv", lambda: as_csv(self.records)),
                             "JSON": (f"{file}.json", "application/json", lambda: as_json(self.records))}, self._tell)
        code = CopyCode(lambda: panel_script(self._compute, self._box.settings()), self._tell)
        self._take_away = ipywidgets.Box([download, code], layout={"flex_flow": "row wrap", "width": "100%"})
        self._take_away.add_class("app-take-away")

    def _report(self) -> str:
        """The stand-alone report of what is shown."""
        sentence = self._verdict(self.records) if self.records else NOTHING
        charts = [self._chart(self.records), speedup_spec(self.records)] if self.records else []
        return records_page(self._name, sentence, self.records, charts, self._box.settings())

    def _start(self, _button: Any) -> None:
        self._seen, self._problem = 0, ""
        self.job.start(**self._box.settings())

    def _follow(self, change: Any) -> None:
        if change["name"] == "partials":
            fresh = self.job.partials[self._seen:]
            self._seen = len(self.job.partials)
            self._take(fresh)
        elif change["name"] == "result" and self.job.result is not None:
            self._take(self.job.result)
        self._show_state()

    def _take(self, fresh: Any) -> None:
        try:
            self.records = replaced(self.records, listed(fresh))
        except (TypeError, InputError):
            self._problem = "The measurement ran to its end but returned no records to show."

    def _show_state(self) -> None:
        job, busy = self.job, self.job.state in BUSY
        self._run.disabled, self._cancel.disabled = busy, not busy
        self._box.enable(not busy)
        self._bar.layout.visibility = "visible" if busy else "hidden"
        self._bar.value = job.progress
        if busy:
            left = f", about {seconds(job.seconds_left)} left" if job.seconds_left is not None else ""
            done = "waiting" if job.state == "waiting" else f"{100 * job.progress:.0f} %"
            self._tell_progress(f"{done}: {job.message}{left}")
        elif job.state == "failed":
            self._tell(job.error)
        elif self._problem:
            self._tell(self._problem)
        elif job.state == "cancelled":
            self._tell_progress("Cancelled. What had been measured by then is shown.")
        elif job.state == "done":
            self._tell_progress("Measured on this machine just now.")

    def _draw(self, _change: Any = None) -> None:
        self._top.value = verdict_html(self._verdict(self.records) if self.records else NOTHING)
        told = self.records and self.records == self._opened_on  # by the chart's title and the page's headline
        self._top.layout.display = "none" if told else None
        self._table.value = table_html(self.records) if self.records else ""
        if not self.records:
            self._right.children = []
            return
        old = self._right.children[0] if self._right.children else None
        new = shown_in_place(self._chart(self.records), old)
        if new is not old:
            self._right.children = [new]

    def _tell(self, sentence: str) -> None:
        self._status.value = status_html(sentence, error=True)

    def _tell_progress(self, sentence: str) -> None:
        self._status.value = status_html(sentence)
