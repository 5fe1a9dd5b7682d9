"""A panel for computations that answer at once: move a control, see the result."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import ipywidgets

from helpers.app.charts.vega import Chart, spec_of
from helpers.app.export.documents import page, settings_html
from helpers.app.export.html_report import figure
from helpers.app.export.scripts import explore_script
from helpers.app.panels.controls import ControlBox, Controls
from helpers.app.panels.frame import PanelFrame, Status, beside, take_away
from helpers.app.problems import guarded
from helpers.app.records import explored_csv, explored_json, rows_of
from helpers.app.text.words import verdict_html

MAX_CACHED = 256  # results; older ones are computed again


class Explore(PanelFrame):
    """Controls on the left, what `draw` makes of `compute(**settings)` on the right.

    Args:
        compute: pure function of the settings; results and drawings are cached.
        controls: setting name -> widget.
        draw: result -> what to show: a chart, a sentence, a widget, or a list of these.
        name: goes before the keys in the page's address.
        bill: setting name -> the attribute of the reader's Scenario that it starts from, where the address holds one.

    The latest settings win: those passed over while a result was computed are never computed.
    """

    def __init__(self, compute: Callable[..., Any], controls: Controls, draw: Callable[[Any], Any], *, name: str = "",
                 bill: Mapping[str, str] | None = None):
        self._compute, self._draw = compute, draw
        self._results: OrderedDict[str, tuple[Any, list[Any]]] = OrderedDict()  # with what it is drawn as
        self._wanted: dict[str, Any] | None = None
        self._working = False
        self._lock = threading.Lock()
        self._status = Status()
        self._show = guarded(self._status.fail)(self._show_settings)
        self._results_box = ipywidgets.VBox()
        self._box = ControlBox(controls, self._changed, self._status.fail, name, bill)
        self._shown: tuple[dict[str, Any], Any] = ({}, None)  # the settings on the screen and their result
        self._show(self._box.settings())
        super().__init__([beside(self._box, self._results_box), self._status, self._take_away(name or "explored")])

    def _take_away(self, file: str) -> ipywidgets.Box:
        """Buttons: the report, the result as code, and as a table where it is one."""
        files = {"report": (f"{file}.html", "text/html", lambda: self._report(file))}
        if rows_of(self._shown[1]) is not None:
            files["CSV"] = (f"{file}.csv", "text/csv", lambda: explored_csv(self._shown[1], self._shown[0]))
            files["JSON"] = (f"{file}.json", "application/json", lambda: explored_json(self._shown[1], self._shown[0]))
        return take_away(files, lambda: explore_script(self._compute, self._shown[0]), self._status.fail)

    def _report(self, title: str) -> str:
        parts = self._results_box.children
        body = [figure(part) if isinstance(part, Chart) else part.value for part in parts
                if isinstance(part, (Chart, ipywidgets.HTML))]
        return page(title, [*body, settings_html(self._shown[0])])

    def _changed(self) -> None:
        with self._lock:
            self._wanted = self._box.settings()
            if self._working:
                return
            settings = self._wanted
            cached = _key(settings) in self._results
            self._working = not cached
            if cached:
                self._wanted = None
        if cached:
            self._show(settings)  # at once: handing it to a thread would cost milliseconds
            return
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                wanted, self._wanted = self._wanted, None
                if wanted is None:
                    self._working = False
                    return
            self._show(wanted)

    def _show_settings(self, settings: dict[str, Any]) -> None:
        key = _key(settings)
        if key not in self._results:
            result = self._compute(**settings)
            self._results[key] = result, _parts(self._draw(result))
            if len(self._results) > MAX_CACHED:
                self._results.popitem(last=False)
        result, parts = self._results[key]
        self._shown = settings, result
        old = list(self._results_box.children)
        new = [shown_in_place(part, old[i] if i < len(old) else None) for i, part in enumerate(parts)]
        if new != old:
            self._results_box.children = new
        self._status.say("")


def _key(settings: dict[str, Any]) -> str:
    return repr(sorted(settings.items()))


def _parts(drawn: Any) -> list[Any]:
    """The drawn parts as a list; charts as what is drawn, since their widgets change with what they show next."""
    parts = list(drawn) if isinstance(drawn, (list, tuple)) else [drawn]
    return [part.spec if isinstance(part, Chart) else spec_of(part) if isinstance(part, alt.TopLevelMixin) else part
            for part in parts]


def shown_in_place(part: Any, place: ipywidgets.Widget | None) -> ipywidgets.Widget:
    """A widget that shows `part`: `place` itself when it can, so that the page does not jump."""
    if isinstance(part, Chart):
        if not isinstance(place, Chart) or place is part:
            return part
        part = part.spec
    if isinstance(part, (alt.TopLevelMixin, Mapping)):
        if isinstance(place, Chart):
            place.show(part)
            return place
        return Chart(part)
    if isinstance(part, ipywidgets.Widget):
        return part
    text = part if isinstance(part, str) else getattr(part, "data", str(part))
    text = verdict_html(text) if isinstance(part, str) else text
    if type(place) is ipywidgets.HTML:
        place.value = text
        return place
    return ipywidgets.HTML(text)
