"""Altair charts that draw with no network, share one Vega on a page, and follow its light or dark theme."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import anywidget
import traitlets
from altair.utils.schemapi import debug_mode

from helpers.app.charts import VEGA_BUNDLE

_STATIC = Path(__file__).parents[1] / "static"
SVG_WIDTH = 720  # pixels of a chart in a file
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
REFERENCE_GREY = "#888888"  # stands out equally from a white and from a dark page
# Okabe and Ito's colours, which the colour-blind can tell apart; yellow and black are left out: one theme hides them.
STRATEGY_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def theme(dark: bool = False) -> dict[str, Any]:
    """Vega-Lite's `config` for a light or a dark page."""
    text, faint, grid, page = (("#e6e6e6", "#b3b3b3", "#3a3f46", "#16191d") if dark
                               else ("#1a1a1a", "#555555", "#e3e5e8", "#ffffff"))
    labels = {"labelFont": FONT, "titleFont": FONT, "labelColor": faint, "titleColor": text,
              "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "background": page, "font": FONT, "padding": 8,
        "view": {"stroke": None, "continuousHeight": 340},
        "title": {"color": text, "subtitleColor": faint, "font": FONT, "fontSize": 15, "fontWeight": 600,
                  "anchor": "start", "offset": 12},
        "axis": {**labels, "gridColor": grid, "domainColor": faint, "tickColor": faint, "titlePadding": 8},
        "legend": {**labels, "orient": "bottom", "direction": "horizontal", "titleLimit": 300, "symbolSize": 130,
                   "symbolStrokeWidth": 2,
                   "titleAnchor": "start", "columnPadding": 16, "columns": 4,
                   "layout": {"bottom": {"anchor": "start", "direction": "vertical", "margin": 8}}},
        "text": {"color": text, "fill": text, "font": FONT, "fontSize": 12},
        "rule": {"color": faint}, "tick": {"color": text}, "point": {"size": 150, "strokeWidth": 2},
        "style": {"expected": {"stroke": text}, "no-gain": {"stroke": faint, "strokeWidth": 1}},
        "range": {"category": list(STRATEGY_COLOURS)},
    }


class VegaRuntime(anywidget.AnyWidget):
    """Holds Vega for the page, packed; the charts ask for it."""

    _esm = "export default {render({el}) {el.style.display = 'none'}}"
    packed = traitlets.Bytes().tag(sync=True)


@functools.cache
def runtime() -> VegaRuntime:
    """The one runtime of this kernel."""
    return VegaRuntime(packed=VEGA_BUNDLE.read_bytes())


class Chart(anywidget.AnyWidget):
    """An Altair chart on the page. Give it another with `chart.show(new)`: the page keeps its place.

    Not `alt.JupyterChart`: that one embeds each drawing again, and waits for the kernel in between. This one caches the
    drawings that were on the page, so that going back to a setting shows its chart at once.

    The page hears of a chart when it is first shown: most are only drawn, for another to show in its place.
    """

    _esm = (_STATIC / "chart.js").read_text(encoding="utf-8")
    _css = """
    .app-chart {position: relative}
    .app-chart, .app-chart .vega-embed {width: 100%; overflow: visible}
    .app-chart-next {position: absolute; visibility: hidden}
    .app-chart svg {max-width: 100%}
    """
    spec = traitlets.Dict().tag(sync=True)
    _runtime = traitlets.Unicode().tag(sync=True)
    _themes = traitlets.Dict().tag(sync=True)

    def __init__(self, chart: alt.TopLevelMixin | Mapping[str, Any]):
        super().__init__(spec=spec_of(chart), _runtime="IPY_MODEL_" + runtime().model_id,
                         _themes={"light": theme(), "dark": theme(dark=True)})

    def open(self) -> None:
        """Not yet: whatever shows a widget asks for its `model_id`."""

    @property
    def model_id(self) -> str:
        """The name under which the page knows the chart, which is told of it now if it was not before."""
        if self.comm is None:
            self.layout.width = "100%"
            super().open()
        return self.comm.comm_id

    def show(self, chart: alt.TopLevelMixin | Mapping[str, Any]) -> None:
        """Draw another chart in the same place."""
        self.spec = spec_of(chart)


@debug_mode(False)
def spec_of(chart: alt.TopLevelMixin | Mapping[str, Any]) -> dict[str, Any]:
    """The chart as Vega-Lite, without Altair's check against its schema, tens of milliseconds a chart.

    The tests check ours. Another ten for each channel are saved by writing x=alt.X("usd:Q") instead of x="usd:Q".
    """
    return dict(chart) if isinstance(chart, Mapping) else chart.to_dict(validate=False)


def svg(chart: Chart | alt.TopLevelMixin) -> str:
    """The chart as SVG in the light theme, for a file that is sent on."""
    import vl_convert

    spec = chart.spec if isinstance(chart, Chart) else chart.to_dict()
    if spec.get("width") == "container":
        spec = {**spec, "width": SVG_WIDTH}
    return vl_convert.vegalite_to_svg(spec, vl_version=minor_version(), config=theme())


def minor_version() -> str:
    """Of the Vega-Lite that Altair writes for, such as 6.1."""
    return re.match(r"v(\d+\.\d+)", alt.SCHEMA_VERSION)[1]
