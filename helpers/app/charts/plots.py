"""Charts of any tidy frame: curves with bands, bars with intervals, and dots with names.

Filled marks are measured here, outlined ones recorded, dashed diamonds simulated or computed on paper. The `_spec`
functions give what `Explore` takes: it has a place for the chart already. The tests check them; the page need not.
"""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from helpers.app.charts.labels import Mark, places, short_names
from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS, Chart
from helpers.app.text.figures import two
from helpers.lab.errors import InputError

PROVENANCES = ("measured", "recorded", "simulated")
_DASHES = {"measured": [1, 0], "recorded": [1, 0], "simulated": [6, 3]}
_SHAPES = {"measured": "circle", "recorded": "circle", "simulated": "diamond"}
_OUTLINED = "outlined"
_TITLE_LETTERS = 62  # of a line; Vega does not break a title by itself
_KEY_LETTERS = 48  # a line of it fits a phone
_MOST_SAID = 40  # rows in the description for screen readers; the table has them all


def lines(frame: pd.DataFrame, x: str, y: str, by: str | None = None, low: str | None = None,
          high: str | None = None, **options: Any) -> Chart:
    """A curve for each value of `by`, with points and a band.

    Args:
        frame: tidy, one row a point.
        x, y: the columns of the axes, numbers both.
        by: the column that tells the curves apart; the first value is the reference, in grey. One curve by default.
        low, high: the columns of the band.
        options: title (the finding), x_title, y_title, log_x, log_y, percent (y in percent), rules ({text: y value},
            dashed lines such as the reader's guess) and provenance ("measured", "recorded" or "simulated", or the
            column that says it row by row).

    Raises:
        InputError: no rows, a column is missing, or a provenance unknown.
    """
    return Chart(lines_spec(frame, x, y, by, low, high, **options))


def bars(frame: pd.DataFrame, name: str, value: str, low: str | None = None, high: str | None = None,
         **options: Any) -> Chart:
    """A bar for each row, from the left, with its interval; the first row's is the reference, in grey.

    Args:
        frame: one row a bar, in the order of the bars.
        name, value: the columns of the names and of the values.
        low, high: the columns of the interval.
        options: title (the finding), value_title, percent, reference (a value to draw as a line) and provenance, as
            in `lines`.

    Raises:
        InputError: as `lines`.
    """
    return Chart(bars_spec(frame, name, value, low, high, **options))


def dots(frame: pd.DataFrame, x: str, y: str, name: str, low: str | None = None, high: str | None = None,
         **options: Any) -> Chart:
    """A mark with its name for each row; the first row is the reference. More than four are numbered by row.

    Args:
        frame: one row a mark.
        x, y, name: the columns of the axes and of the names.
        low, high: the columns of y's interval.
        options: as in `lines`.

    Raises:
        InputError: as `lines`.
    """
    return Chart(dots_spec(frame, x, y, name, low, high, **options))


@debug_mode(False)
def lines_spec(frame: pd.DataFrame, x: str, y: str, by: str | None = None, low: str | None = None,
               high: str | None = None, *, title: str = "", x_title: str | None = None, y_title: str | None = None,
               log_x: bool = False, log_y: bool = False, provenance: str = "measured", percent: bool = False,
               rules: Mapping[str, float] | None = None) -> alt.LayerChart:
    """What `lines` draws."""
    rows = _rows(frame, provenance, x=x, y=y, name=by, low=low, high=high)
    at, up = _axis("x", rows, x_title or x, log_x), _axis("y", rows, y_title or y, log_y, percent)
    base = alt.Chart(alt.Data(values=rows))
    colour = _colour(rows, by is not None)
    layers = [base.mark_area(opacity=0.18).encode(x=at, y=alt.Y("low:Q", scale=_scale(log_y)), y2=alt.Y2("high:Q"),
                                                  color=colour)] if low and high else []
    line = base.mark_line(strokeWidth=2)
    layers += [line.encode(x=at, y=up, color=colour, detail=alt.Detail("provenance:N"), strokeDash=_dash()),
               _points(base, rows, by is not None).encode(x=at, y=up)]
    layers += _rules(rules, percent)
    return _finished(layers, rows, title, 320)


@debug_mode(False)
def bars_spec(frame: pd.DataFrame, name: str, value: str, low: str | None = None, high: str | None = None, *,
              title: str = "", value_title: str | None = None, provenance: str = "measured", percent: bool = False,
              reference: float | None = None) -> alt.LayerChart:
    """What `bars` draws."""
    rows = _rows(frame, provenance, x=value, y=value, name=name, low=low, high=high)
    for row in rows:
        row["zero"] = 0
    names = [row["name"] for row in rows]
    colours = [REFERENCE_GREY] + [STRATEGY_COLOURS[0]] * (len(names) - 1)
    top = max([row["x"] for row in rows] + [row["high"] for row in rows if high] + [reference or 0.0])
    at = alt.X("x:Q", title=value_title or value, axis=alt.Axis(format=_format([top], percent), tickCount=5),
               scale=alt.Scale(domain=[min(0.0, *(row["x"] for row in rows)), 1.08 * top or 1.0], nice=False))
    up = alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=180, ticks=False, domain=False))
    base = alt.Chart(alt.Data(values=rows))
    colour = alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), legend=None)
    layers = [base.mark_bar(height=6, opacity=0.4).encode(x=alt.X("zero:Q"), x2=alt.X2("x:Q"), y=up, color=colour)]
    if low and high:
        layers.append(base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=up, color=colour))
    layers.append(base.mark_point(opacity=1).encode(x=at, y=up, color=colour, fill=_inside(names, colours),
                                                    shape=_shape(), strokeDash=_dash(), tooltip=_tips()))
    if reference is not None:
        line = alt.Chart(alt.Data(values=[{"x": reference}]))
        layers.append(line.mark_rule(style="told", strokeDash=[2, 3]).encode(x=alt.X("x:Q")))
    return _finished(layers, rows, title, max(110, 40 * len(rows)))


@debug_mode(False)
def dots_spec(frame: pd.DataFrame, x: str, y: str, name: str, low: str | None = None, high: str | None = None, *,
              title: str = "", x_title: str | None = None, y_title: str | None = None, log_x: bool = False,
              log_y: bool = False, provenance: str = "measured", percent: bool = False,
              rules: Mapping[str, float] | None = None) -> alt.LayerChart:
    """What `dots` draws."""
    rows = _rows(frame, provenance, x=x, y=y, name=name, low=low, high=high)
    at, up = _axis("x", rows, x_title or x, log_x), _axis("y", rows, y_title or y, log_y, percent)
    base = alt.Chart(alt.Data(values=rows))
    colour = _colour(rows, False)
    layers = [base.mark_rule(strokeWidth=1.5).encode(x=at, y=alt.Y("low:Q", scale=_scale(log_y)), y2=alt.Y2("high:Q"),
                                                     color=colour)] if low and high else []
    layers.append(_points(base, rows, False).encode(x=at, y=up))
    placed = _placed(rows, log_x, log_y)
    layers += [_text(row, label, place) for row, label, place in placed]
    layers += _rules(rules, percent)
    numbered = [f"{label}\N{NO-BREAK SPACE}{row['name']}" for row, label, _ in placed if label != row["name"]]
    return _finished(layers, rows, title, 340, ", ".join(numbered))


def _rows(frame: pd.DataFrame, provenance: str, **columns: str | None) -> list[dict[str, Any]]:
    """The frame's rows under the names that the charts use; rows without a value are left out."""
    needed = [column for column in columns.values() if column]
    if missing := [column for column in needed if column not in frame]:
        known = ", ".join(map(str, frame.columns))
        raise InputError(f"This chart needs the column '{missing[0]}'; there are: {known}.")
    known = frame[provenance] if provenance in frame else [provenance] * len(frame)
    if wrong := next((value for value in known if value not in PROVENANCES), None):
        raise InputError(f"A provenance is {', '.join(PROVENANCES[:-1])} or {PROVENANCES[-1]}, not '{wrong}'.")
    rows = [{role: _plain(row[column]) if column else "" for role, column in columns.items()}
            for row in frame.to_dict("records")]
    rows = [{**row, "name": str(row["name"]), "provenance": told,
             "inside": str(row["name"]) if told == "measured" else _OUTLINED}
            for row, told in zip(rows, known, strict=True)
            if not any(isinstance(row[role], float) and math.isnan(row[role]) for role in ("x", "y"))]
    if not rows:
        raise InputError("There is nothing to draw: the frame has no row with a value.")
    for row in rows:
        unit = f" ({two(row['low'])} to {two(row['high'])})" if columns.get("low") and columns.get("high") else ""
        row["value"] = f"{two(row['y'])}{unit}"
    return rows


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _axis(side: str, rows: list[dict[str, Any]], title: str, log: bool, percent: bool = False) -> alt.X | alt.Y:
    kind = alt.X if side == "x" else alt.Y
    return kind(f"{side}:Q", title=f"{title} (log scale)" if log else title, scale=_scale(log),
                axis=alt.Axis(format=_format([row[side] for row in rows], percent), tickCount=5, labelOverlap=True))


def _format(values: list[float], percent: bool) -> str:
    """Thousands as 10k; fractions plainly, not as 100m."""
    return "~%" if percent else "~s" if max(map(abs, values)) >= 1000 else "~g"


def _scale(log: bool) -> alt.Scale:
    return alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False, nice=True)


def _names(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    names = list(dict.fromkeys(row["name"] for row in rows))
    return names, [REFERENCE_GREY, *(STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)] for i in range(len(names) - 1))]


def _colour(rows: list[dict[str, Any]], legend: bool) -> alt.Color:
    names, colours = _names(rows)
    if len(names) == 1:
        colours = [STRATEGY_COLOURS[0]]
    shown = alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1,
                       labelLimit=240) if legend else None
    return alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), legend=shown)


def _points(base: alt.Chart, rows: list[dict[str, Any]], legend: bool) -> alt.Chart:
    names, colours = _names(rows)
    if len(names) == 1:
        colours = [STRATEGY_COLOURS[0]]
    return base.mark_point(opacity=1).encode(color=_colour(rows, legend), fill=_inside(names, colours), shape=_shape(),
                                             strokeDash=_dash(), tooltip=_tips())


def _inside(names: list[str], colours: list[str]) -> alt.Fill:
    """Filled where measured here, else outlined."""
    return alt.Fill("inside:N", legend=None,
                    scale=alt.Scale(domain=[*names, _OUTLINED], range=[*colours, "transparent"]))


def _dash() -> alt.StrokeDash:
    return alt.StrokeDash("provenance:N", legend=None,
                          scale=alt.Scale(domain=list(PROVENANCES), range=list(_DASHES.values())))


def _shape() -> alt.Shape:
    return alt.Shape("provenance:N", legend=None,
                     scale=alt.Scale(domain=list(PROVENANCES), range=list(_SHAPES.values())))


def _tips() -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N", title=field) for field in ("name", "value", "provenance")] + [
        alt.Tooltip("x:Q", title="x", format=".4~g")]


def _rules(rules: Mapping[str, float] | None, percent: bool) -> list[alt.Chart]:
    layers = []
    for text, value in (rules or {}).items():
        value = float(getattr(value, "value", value))
        said = f"{text}: {two(100 * value)} %" if percent else f"{text}: {two(value)}"
        line = alt.Chart(alt.Data(values=[{"y": value, "text": said}]))
        layers += [line.mark_rule(style="told", strokeDash=[6, 4], strokeWidth=1.5).encode(y=alt.Y("y:Q")),
                   line.mark_text(align="right", baseline="bottom", dy=-3, fontStyle="italic", fontSize=11)
                   .encode(y=alt.Y("y:Q"), x=alt.XValue("width"), text=alt.Text("text:N"))]
    return layers


def _placed(rows: list[dict[str, Any]], log_x: bool, log_y: bool) -> list[tuple[dict[str, Any], str, Any]]:
    """Each row with its label and a place for it; `places` takes x on a log axis."""
    xs = [row["x"] if log_x else math.exp(_share(row["x"], [r["x"] for r in rows])) for row in rows]
    ys = [math.log(row["y"]) if log_y else float(row["y"]) for row in rows]
    room = 0.08 * (max(ys) - min(ys)) or 1.0
    labels = short_names([row["name"] for row in rows])
    put = places([Mark(label, x, x, x, y, y, y) for label, x, y in zip(labels, xs, ys, strict=True)],
                 (min(xs) / 1.1, max(xs) * 1.1), (min(ys) - room, max(ys) + room))
    return list(zip(rows, labels, put, strict=True))


def _share(value: float, values: list[float]) -> float:
    return (value - min(values)) / ((max(values) - min(values)) or 1.0)


def _text(row: dict[str, Any], label: str, place: tuple[str, int, int]) -> alt.Chart:
    align, dx, dy = place
    data = alt.Data(values=[{"x": row["x"], "y": row["y"], "text": label}])
    return alt.Chart(data).mark_text(align=align, dx=dx, dy=dy, baseline="alphabetic").encode(
        x=alt.X("x:Q"), y=alt.Y("y:Q"), text=alt.Text("text:N"))


def _finished(layers: list[alt.Chart], rows: list[dict[str, Any]], title: str, height: int,
              key: str = "") -> alt.LayerChart:
    """`key` says which number is which name, where there is no room for the names."""
    kinds = list(dict.fromkeys(row["provenance"] for row in rows))
    said = "; ".join(f"{row['name'] or row['x']}: {row['value']}" for row in rows[:_MOST_SAID])
    told = alt.TitleParams(textwrap.wrap(title, _TITLE_LETTERS),
                           subtitle=[f"Marks: {', '.join(kinds)}", *textwrap.wrap(key, _KEY_LETTERS)])
    # In one go: each `.properties` and `.resolve_scale` of a chart of layers copies all of it.
    return alt.layer(*layers, width="container", height=height, title=told,
                     description=f"{title}. {said} ({', '.join(kinds)}).",
                     resolve=alt.Resolve(scale=alt.ScaleResolveMap(fill="independent")))
