"""Parts that all charts share: marks that show provenance, axes, rules, names beside marks, title and description.

Provenance can be read in grey: filled marks are measured here, outlined ones recorded, and dashed lines and dashed
diamonds simulated or computed on paper. The reference is grey.
"""

import dataclasses
import functools
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import altair as alt

from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS, Chart
from helpers.app.text.figures import with_minus
from helpers.lab.errors import InputError

if TYPE_CHECKING:  # most pages open without it
    import pandas as pd

PROVENANCES = ("measured", "recorded", "simulated")
DASHED = [6, 3]  # simulated
GUESS_DASH, PAPER_DASH, CONSTANT_DASH = [6, 4], [2, 3], [1, 2]
WIDTH, HEIGHT = 520, 300  # pixels of the plot that the places of names are tried for
_DASHES, _SHAPES = [[1, 0], [1, 0], DASHED], ["circle", "circle", "diamond"]
_OUTLINED = "outlined"
_TITLE_LETTERS = 62  # of a line; Vega does not break a title by itself
_SUBTITLE_LETTERS = 48  # a line of it fits a phone
_NAME_LETTERS = 26  # of a line down the left
_LETTER, _LINE = 6.6, 15  # pixels
_PLACES = (("left", 7, -8), ("right", -7, -8), ("left", 7, 18), ("right", -7, 18), ("left", 7, -24),
           ("right", -7, -24), ("left", 7, 34), ("right", -7, 34))
Box = tuple[float, float, float, float]  # left, top, right, bottom
P = ParamSpec("P")


def drawn(spec: Callable[P, alt.LayerChart], name: str) -> Callable[P, Chart]:
    """The function `name`, which shows what `spec` specifies as a widget."""
    @functools.wraps(spec)
    def draw(*args: P.args, **kwargs: P.kwargs) -> Chart:
        return Chart(spec(*args, **kwargs))

    draw.__name__ = draw.__qualname__ = name
    return draw


def require(frame: "pd.DataFrame", *columns: str) -> None:
    """Raise InputError for the first of these columns that the frame lacks."""
    if missing := [column for column in columns if column not in frame]:
        raise InputError(f"This chart needs a column '{missing[0]}'; the frame has: "
                         f"{', '.join(map(str, frame.columns))}.")


def value_of(guess: Any) -> float | None:
    """The number of a guess, which is a number or what `guess()` gave; None where nobody has guessed."""
    value = getattr(guess, "value", guess)
    return None if value is None or not math.isfinite(value) else float(value)


@dataclasses.dataclass(frozen=True)
class Palette:
    """Which colour stands for which value of a field."""

    field: str
    names: list[str]
    colours: list[str]

    @classmethod
    def of(cls, field: str, names: Iterable[str]) -> "Palette":
        """Grey for the first name, the reference, and a colour for each of the others."""
        names = list(dict.fromkeys(names))
        cycle = [STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)] for i in range(len(names) - 1)]
        return cls(field, names, [REFERENCE_GREY, *cycle][:len(names)])

    def colour(self, legend: alt.Legend | None = None) -> alt.Color:
        """The channel; no legend by default."""
        return alt.Color(f"{self.field}:N", scale=alt.Scale(domain=self.names, range=self.colours), legend=legend)

    def marks(self, base: alt.Chart, tooltip: list[alt.Tooltip], legend: alt.Legend | None = None) -> alt.Chart:
        """Points that show their provenance. The rows need `provenance` and `inside` (see `inside`)."""
        scale = alt.Scale(domain=[*self.names, _OUTLINED], range=[*self.colours, "transparent"])
        return base.mark_point(opacity=1).encode(
            color=self.colour(legend), fill=alt.Fill("inside:N", scale=scale, legend=None),
            shape=by_provenance(alt.Shape, _SHAPES), strokeDash=by_provenance(alt.StrokeDash, _DASHES),
            tooltip=tooltip)


def tooltips(titles: Mapping[str, str]) -> list[alt.Tooltip]:
    """Field of the rows -> its title, as what a mark tells when it is pointed at."""
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def inside(name: str, provenance: str) -> str:
    """Fill of a mark: its own colour where it was measured here, else nothing."""
    return name if provenance == "measured" else _OUTLINED


def by_provenance(channel: type, values: list[Any], legend: alt.Legend | None = None) -> Any:
    """A channel with one value for measured, recorded and simulated each."""
    return channel("provenance:N", legend=legend, scale=alt.Scale(domain=list(PROVENANCES), range=values))


def dashes() -> alt.StrokeDash:
    """Dashed where simulated."""
    return by_provenance(alt.StrokeDash, _DASHES)


def provenance_legend() -> alt.Chart:
    """A layer without marks: the marks' own fill is by strategy, so it cannot show filled and outlined in grey."""
    legend = alt.Legend(title="provenance")
    return alt.Chart(alt.Data(values=[])).mark_point(opacity=1, aria=False).encode(
        fill=by_provenance(alt.Fill, [REFERENCE_GREY, "transparent", "transparent"], legend),
        stroke=by_provenance(alt.Stroke, [REFERENCE_GREY] * 3, legend),
        strokeDash=by_provenance(alt.StrokeDash, _DASHES, legend), shape=by_provenance(alt.Shape, _SHAPES, legend))


def line_legend(title: str | None = None) -> alt.Legend:
    """A legend whose symbols are short lines."""
    return alt.Legend(title=title, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1, labelLimit=240)


def axis(channel: type, field: str, title: str, scale: alt.Scale, **how: Any) -> alt.X | alt.Y:
    """A quantity along x or y; `how` goes to the axis (format, tickCount, grid, …)."""
    log = getattr(scale, "type", None) == "log"
    return channel(f"{field}:Q", title=f"{title} (log scale)" if log else title, scale=scale,
                   axis=alt.Axis(**{"tickCount": 5, "labelOverlap": True, **how}))


def log_scale(**more: Any) -> alt.Scale:
    """A logarithmic scale that ends where the data do."""
    return alt.Scale(type="log", nice=False, **more)


def names_axis(field: str, names: list[str]) -> alt.Y:
    """Names down the left, in this order, in as many lines as they need: two that were cut could look the same."""
    lines = {name: textwrap.wrap(name, _NAME_LETTERS) or [name] for name in names}
    return alt.Y(f"{field}:N", sort=names, title=None,
                 axis=alt.Axis(labelExpr=f"{json.dumps(lines)}[datum.label]", labelLimit=0, ticks=False, domain=False))


def rows_height(names: Sequence[str], row: int) -> int:
    """Pixels of a chart with a row for each name: `row` each, or as many as the name of the most lines needs.

    All rows of a scale are of one height.
    """
    return len(names) * max(row, *(_LINE * len(textwrap.wrap(name, _NAME_LETTERS)) + 8 for name in names))


def rule(side: str, value: float, text: str, *, dash: Any = alt.Undefined, row: int = 0,
         align: str = "left") -> list[alt.Chart]:
    """A line across the chart at an expected or promised value, with its text at the edge.

    Args:
        side: "x" for an upright line, "y" for a level one.
        value: where it stands.
        text: what it is.
        dash: of the line; none by default.
        row: of the text under the upper edge, where several upright lines stand in one chart.
        align: on which side of an upright line the text begins.
    """
    data = alt.Chart(alt.Data(values=[{side: value, "text": text}]))
    at = (alt.X if side == "x" else alt.Y)(f"{side}:Q")
    line = data.mark_rule(style="expected", strokeDash=dash, strokeWidth=1.5).encode(**{side: at},
                                                                                     tooltip=alt.Tooltip("text:N"))
    if side == "x":
        words = data.mark_text(align=align, dx=5 if align == "left" else -5, dy=0, baseline="top", fontSize=11,
                               fontStyle="italic").encode(x=at, y=alt.YValue(2 + 15 * row), text=alt.Text("text:N"))
    else:
        words = data.mark_text(align="right", baseline="bottom", dy=-3, fontSize=11, fontStyle="italic").encode(
            y=at, x=alt.XValue("width"), text=alt.Text("text:N"))
    return [line, words]


def finished(layers: Sequence[alt.Chart], title: str, description: str, height: int, *,
             subtitle: list[str] | None = None, **more: Any) -> alt.LayerChart:
    """The layers as one chart, with its title in lines and its description for screen readers.

    In one go: each `.properties`, `.encode` and `.resolve_scale` of a chart of layers copies all of it.
    """
    title = with_minus(title)
    # At spaces only: the page joins the lines again, to break them to its own width.
    below = [part for line in subtitle or () for part in textwrap.wrap(line, _SUBTITLE_LETTERS)]
    lines = textwrap.wrap(title, _TITLE_LETTERS, break_long_words=False, break_on_hyphens=False)
    return alt.layer(*layers, width="container", height=height, description=f"{title}. {description}.",
                     title=alt.TitleParams(lines, subtitle=below) if below else lines, **more)


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of an axis that is shown."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], log: bool = False) -> "Span":
        """From the smallest to the largest value, with the room that Vega leaves: more on a linear axis, whose ends are
        round numbers, than on a logarithmic one.
        """
        low, high = (math.log(end) if log else float(end) for end in (min(values), max(values)))
        room = (0.03 if log else 0.08) * (high - low) or 1.0
        return cls(math.exp(low - room), math.exp(high + room), True) if log else cls(low - room, high + room)

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at its low end, 1 at its high end."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)


@dataclasses.dataclass(frozen=True)
class Mark:
    """A point with its name and its two intervals."""

    name: str
    x: float
    x_low: float
    x_high: float
    y: float
    y_low: float
    y_high: float


def names_beside(marks: Sequence[Mark], x: Span, y: Span, fields: tuple[str, str]) -> list[alt.Chart]:
    """The names of the marks as layers; `fields` are those of the chart's axes."""
    layers = []
    for mark, (align, dx, dy) in zip(marks, places(marks, x, y), strict=True):
        data = alt.Data(values=[{fields[0]: mark.x, fields[1]: mark.y, "text": mark.name}])
        text = alt.Chart(data).mark_text(align=align, dx=dx, dy=dy, baseline="alphabetic")
        layers.append(text.encode(x=alt.X(f"{fields[0]}:Q"), y=alt.Y(f"{fields[1]}:Q"), text=alt.Text("text:N")))
    return layers


def places(marks: Sequence[Mark], x: Span, y: Span) -> list[tuple[str, int, int]]:
    """(align, dx, dy) for each name.

    Greedy: the first place whose box is free of marks, intervals and the names already put. A wide
    or a narrow page shifts the marks, so this is a good guess, not a proof.
    """
    pixels = [(WIDTH * x.share(mark.x), HEIGHT * (1 - y.share(mark.y))) for mark in marks]
    taken: list[Box] = []
    for mark, (across, down) in zip(marks, pixels, strict=True):
        left, right = (WIDTH * x.share(end) for end in (mark.x_low, mark.x_high))
        top, bottom = (HEIGHT * (1 - y.share(end)) for end in (mark.y_high, mark.y_low))
        taken += [(across - 7, down - 7, across + 7, down + 7), (left, down - 1, right, down + 1),
                  (across - 1, top, across + 1, bottom)]
    chosen = []
    for mark, pixel in zip(marks, pixels, strict=True):
        boxes = [(place, _box(*pixel, mark.name, place)) for place in _PLACES]
        place, box = min(boxes, key=lambda pair: sum(_overlap(pair[1], other) for other in taken) + _outside(pair[1]))
        taken.append(box)
        chosen.append(place)
    return chosen


def _box(x: float, y: float, name: str, place: tuple[str, int, int]) -> Box:
    align, dx, dy = place
    left = x + dx if align == "left" else x + dx - _LETTER * len(name)
    return left, y + dy - _LINE + 3, left + _LETTER * len(name), y + dy + 3


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box) -> float:
    return _LINE * (max(0.0, -box[0]) + max(0.0, box[2] - WIDTH))
