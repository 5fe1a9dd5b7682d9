"""A panel for expensive measurements: recorded results at once, fresh ones on request."""

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
import traitlets

from helpers.app.charts.accuracy_cost import cost_spec, speedup_spec
from helpers.app.export.html_report import records_page
from helpers.app.export.scripts import panel_script
from helpers.app.export.statement import statements_json, statements_markdown
from helpers.app.jobs.job import BUSY, Job
from helpers.app.panels.controls import ControlBox, Controls
from helpers.app.panels.exploring import shown_in_place
from helpers.app.panels.frame import JobButtons, PanelFrame, Status, beside, take_away
from helpers.app.problems import guarded
from helpers.app.records import as_csv, as_json, listed, replaced
from helpers.app.text.findings import finding, origins
from helpers.app.text.tables import table_html
from helpers.app.text.words import notes_html, verdict_html
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement

NOTHING = "Nothing has been recorded for this yet. 'Measure on this machine' gets the first results."


class Panel(PanelFrame):
    """Controls left, chart right, the table under it; a fresh verdict on top.

    Args:
        compute: `compute(report, **settings)` runs in another process (see Job); it returns
            records, and may show each at once with `report.partial(record)`.
        controls: setting name -> widget.
        recorded: records to open with. The first is the reference.
        chart: records -> chart; accuracy against cost by default.
        name: goes before the settings in the page's address and is the name of downloads.

    `records` holds what is shown; a fresh record takes the place of the same model's, and of all that was recorded on
    other data.
    """

    records = traitlets.List()

    def __init__(self, compute: Callable[..., Any], controls: Controls, recorded: Iterable[Measurement] = (), *,
                 chart: Callable[[list[Measurement]], Any] = cost_spec, name: str = ""):
        self._compute, self._chart, self._name = compute, chart, name or "results"
        self.job = Job(compute)
        self._seen = 0  # partial results that are already shown
        self._problem = ""  # what was wrong with the results of a run that ended well
        self._top, self._table = (ipywidgets.HTML(layout={"width": "100%"}) for _ in range(2))
        self._status, self._right = Status(), ipywidgets.VBox()
        self._box = ControlBox(controls, lambda: None, self._status.fail, name)
        self._buttons = JobButtons(self.job, "Measure on this machine", self._begin, self._status)
        left = ipywidgets.VBox([self._box, self._buttons, self._status])
        super().__init__([self._top, beside(left, self._right), self._table, self._take_away()])
        self.observe(guarded(self._status.fail)(self._draw), "records")
        self.job.observe(guarded(self._status.fail)(self._follow))
        self._opened_on = listed(recorded)
        self.records = self._opened_on  # draws them
        if not self.records:
            self._draw()

    def _take_away(self) -> ipywidgets.Box:
        file = self._name
        return take_away({"report": (f"{file}.html", "text/html", self._report),
                          "CSV": (f"{file}.csv", "text/csv", lambda: as_csv(self.records)),
                          "JSON": (f"{file}.json", "application/json", lambda: as_json(self.records)),
                          "statement": (f"{file}_statement.md", "text/markdown",
                                        lambda: statements_markdown(self.records)),
                          "statement as JSON": (f"{file}_statement.json", "application/json",
                                                lambda: statements_json(self.records))},
                         lambda: panel_script(self._compute, self._box.settings()), self._status.fail)

    def _report(self) -> str:
        """The stand-alone report of what is shown."""
        sentence = finding(self.records) if self.records else NOTHING
        charts = [self._chart(self.records), speedup_spec(self.records)] if self.records else []
        return records_page(self._name, sentence, self.records, charts, self._box.settings())

    def _begin(self) -> dict[str, Any]:
        self._seen, self._problem = 0, ""
        return self._box.settings()

    def _follow(self, change: Any) -> None:
        if change["name"] == "partials":
            fresh = self.job.partials[self._seen:]
            self._seen = len(self.job.partials)
            self._take(fresh)
        elif change["name"] == "result" and self.job.result is not None:
            self._take(self.job.result)
        self._box.enable(self.job.state not in BUSY)
        if self.job.state == "done":
            left = sorted({record.task for record in self._opened_on} - {record.task for record in self.records})
            notes = ["Measured on this machine just now."]
            if left:
                notes.append(f"What was recorded on {', '.join(left)} is no longer shown: it is of other rows.")
            self._status.say(self._problem or " ".join([*notes, *self.job.notes]), error=bool(self._problem))

    def _take(self, fresh: Any) -> None:
        try:
            self.records = replaced(self.records, listed(fresh))
        except (TypeError, InputError):
            self._problem = "The measurement ran to its end but returned no records to show."

    def _draw(self, _change: Any = None) -> None:
        self._top.value = verdict_html(finding(self.records) if self.records else NOTHING) + notes_html(
            origins(self.records))
        # The chart's title and the page's headline already say what the panel opens on.
        self._top.layout.display = "none" if self.records and self.records == self._opened_on else None
        self._table.value = table_html(self.records) if self.records else ""
        if not self.records:
            self._right.children = []
            return
        old = self._right.children[0] if self._right.children else None
        new = shown_in_place(self._chart(self.records), old)
        if new is not old:
            self._right.children = [new]
