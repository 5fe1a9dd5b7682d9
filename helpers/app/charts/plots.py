"""Charts of any tidy frame: curves with bands, bars with intervals, dots with names; and which change gave how much.

The `_spec` functions give what `Explore` takes: it has a place for the chart already. The tests check them; the page
need not.
"""

import math
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from helpers.app.charts import parts
from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS
from helpers.app.text.figures import percent as percent_of
from helpers.app.text.figures import short_names, two
from helpers.app.text.tables import change_factors
from helpers.lab.errors import InputError

MAX_DESCRIBED = 40  # rows in the description for screen readers; the table has them all
_TOOLTIP = [*parts.tooltips({"name": "name", "value": "value", "provenance": "provenance"}),
            alt.Tooltip("x:Q", title="x", format=",.4~r")]


@debug_mode(False)
def lines_spec(frame: pd.DataFrame, x: str, y: str, by: str | None = None, low: str | None = None,
               high: str | None = None, *, title: str = "", x_title: str | None = None, y_title: str | None = None,
               log_x: bool = False, log_y: bool = False, provenance: str = "measured", percent: bool = False,
               rules: Mapping[str, float] | None = None, constant: float | None = None) -> alt.LayerChart:
    """A curve for each value of `by`, with points and a band.

    Args:
        frame: tidy, one row a point.
        x, y: the columns of the axes, numbers both.
        by: the column that tells the curves apart; the first value is the reference, in grey. One curve by default.
        low, high: the columns of the band.
        title: the finding.
        x_title, y_title: of the axes; the columns' names by default.
        log_x, log_y: whether the axes are logarithmic.
        provenance: "measured", "recorded" or "simulated", or the column that says it row by row.
        percent: y in percent.
        rules: {text: y value}, dashed lines such as the reader's guess; none for NaN: nobody has guessed.
        constant: the accuracy of always giving the most frequent label: a line if it is near, else stated in words.

    Raises:
        InputError: no rows, a column is missing, or a provenance unknown.

    >>> import pandas as pd
    >>> from helpers import app
    >>> curve = app.lines(pd.DataFrame({"labels": [5, 50], "accuracy": [0.6, 0.8]}), "labels", "accuracy", percent=True)
    """
    rows = _rows(frame, provenance, x=x, y=y, name=by, low=low, high=high)
    across, up = _axes(rows, x_title or x, y_title or y, log_x, log_y, percent)
    base = alt.Chart(alt.Data(values=rows))
    palette, legend = _palette(rows), parts.line_legend() if by else None
    colour = palette.colour(legend)
    layers = [base.mark_area(opacity=0.18).encode(x=across, y=alt.Y("low:Q", scale=_scale(log_y)),
                                                  y2=alt.Y2("high:Q"), color=colour)] if low and high else []
    line = base.mark_line(strokeWidth=2)
    layers += [line.encode(x=across, y=up, color=colour, detail=alt.Detail("provenance:N"), strokeDash=parts.dashes()),
               palette.marks(base, _TOOLTIP, legend).encode(x=across, y=up), *_rules(rules, percent)]
    return _finished(layers, rows, title, 320, frame, constant)


@debug_mode(False)
def bars_spec(frame: pd.DataFrame, name: str, value: str, low: str | None = None, high: str | None = None, *,
              title: str = "", value_title: str | None = None, provenance: str = "measured",
              reference: Any = None) -> alt.LayerChart:
    """A bar for each row, from the left, with its interval; the first row's is the reference, in grey.

    Args:
        frame: one row a bar, in the order of the bars.
        name, value: the columns of the names and of the values.
        low, high: the columns of the interval.
        title, provenance: as of `lines`.
        value_title: of the axis.
        reference: a value to draw as a line, or what `guess()` gave.

    Raises:
        InputError: as `lines`.
    """
    rows = _rows(frame, provenance, x=value, y=value, name=name, low=low, high=high)
    for row in rows:
        row["zero"] = 0
    names, reference = [row["name"] for row in rows], parts.value_of(reference)
    palette = parts.Palette("name", names, [REFERENCE_GREY] + [STRATEGY_COLOURS[0]] * (len(names) - 1))
    top = max([row["x"] for row in rows] + [row["high"] for row in rows if high] + [reference or 0.0])
    domain = [min(0.0, *(row["low" if low else "x"] for row in rows)), 1.08 * top or 1.0]
    across = parts.axis(alt.X, "x", value_title or value, alt.Scale(domain=domain, nice=False),
                  format=_format([top], percent=False))
    up = parts.names_axis("name", names)
    base, colour = alt.Chart(alt.Data(values=rows)), palette.colour()
    layers = [base.mark_bar(height=6, opacity=0.4).encode(x=alt.X("zero:Q"), x2=alt.X2("x:Q"), y=up, color=colour)]
    if low and high:
        layers.append(base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=up, color=colour))
    layers.append(palette.marks(base, _TOOLTIP).encode(x=across, y=up))
    if reference is not None:
        layers += parts.rule("x", reference, "", dash=parts.PAPER_DASH)
    return _finished(layers, rows, title, max(110, parts.rows_height(names, 40)), frame)


@debug_mode(False)
def dots_spec(frame: pd.DataFrame, x: str, y: str, name: str, low: str | None = None, high: str | None = None, *,
              title: str = "", x_title: str | None = None, y_title: str | None = None, log_x: bool = False,
              log_y: bool = False, provenance: str = "measured", percent: bool = False,
              rules: Mapping[str, float] | None = None, constant: float | None = None) -> alt.LayerChart:
    """A mark with its name for each row; the first row is the reference. More than four are numbered by row.

    Args:
        frame: one row a mark.
        x, y, name: the columns of the axes and of the names.
        low, high: the columns of y's interval.
        title, x_title, y_title, log_x, log_y, provenance, percent, rules, constant: as of `lines`.

    Raises:
        InputError: as `lines`.
    """
    rows = _rows(frame, provenance, x=x, y=y, name=name, low=low, high=high)
    across, up = _axes(rows, x_title or x, y_title or y, log_x, log_y, percent)
    base, palette = alt.Chart(alt.Data(values=rows)), _palette(rows)
    layers = [base.mark_rule(strokeWidth=1.5).encode(x=across, y=alt.Y("low:Q", scale=_scale(log_y)),
                                                     y2=alt.Y2("high:Q"), color=palette.colour())
              ] if low and high else []
    layers.append(palette.marks(base, _TOOLTIP).encode(x=across, y=up))
    labels = short_names([row["name"] for row in rows])
    marks = [parts.Mark(label, row["x"], row["x"], row["x"], row["y"], row["y"], row["y"])
             for row, label in zip(rows, labels, strict=True)]
    spans = (parts.Span.around([mark.x for mark in marks], log_x), parts.Span.around([mark.y for mark in marks], log_y))
    layers += [*parts.names_beside(marks, *spans, ("x", "y")), *_rules(rules, percent)]
    numbered = [f"{label}\N{NO-BREAK SPACE}{row['name']}" for row, label in zip(rows, labels, strict=True)
                if label != row["name"]]
    return _finished(layers, rows, title, 340, frame, constant, ", ".join(numbered))


@debug_mode(False)
def changes_spec(compared: Any, of: str | None = None) -> alt.LayerChart:
    """Draw by what each change of a model's settings multiplied its speed; the arguments of `change_factors`.

    >>> from helpers import app
    >>> drawing = app.changes(app.recorded_table("3_hardware_codesign_runtimes"))
    """
    factors = change_factors(compared, of)
    return bars_spec(factors, "change", "factor", "low", "high", title=factors.attrs["sentence"], reference=1.0,
                     provenance="provenance", value_title="times as fast as before the change")


lines = parts.drawn(lines_spec, "lines")
bars = parts.drawn(bars_spec, "bars")
dots = parts.drawn(dots_spec, "dots")
changes = parts.drawn(changes_spec, "changes")


def _rows(frame: pd.DataFrame, provenance: str, **columns: str | None) -> list[dict[str, Any]]:
    """The frame's rows under the names that the charts use; rows without a value are left out."""
    parts.require(frame, *filter(None, columns.values()))
    sources = frame[provenance] if provenance in frame else [provenance] * len(frame)
    if wrong := next((value for value in sources if value not in parts.PROVENANCES), None):
        raise InputError(f"Unknown provenance '{wrong}'. Choose one of: {', '.join(parts.PROVENANCES)}.")
    rows = []
    for row, source in zip(frame.to_dict("records"), sources, strict=True):
        one = {role: _plain(row[column]) if column else "" for role, column in columns.items()}
        name = str(one["name"])
        if not any(isinstance(one[role], float) and math.isnan(one[role]) for role in ("x", "y")):
            rows.append({**one, "name": name, "provenance": source, "inside": parts.inside(name, source)})
    if not rows:
        raise InputError("There is nothing to draw: the frame has no row with a value.")
    for row in rows:
        unit = f" ({two(row['low'])} to {two(row['high'])})" if columns.get("low") and columns.get("high") else ""
        row["value"] = f"{two(row['y'])}{unit}"
    return rows


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _axes(rows: list[dict[str, Any]], x_title: str, y_title: str, log_x: bool, log_y: bool,
          percent: bool) -> tuple[alt.X, alt.Y]:
    return (parts.axis(alt.X, "x", x_title, _scale(log_x), format=_format([row["x"] for row in rows], False)),
            parts.axis(alt.Y, "y", y_title, _scale(log_y), format=_format([row["y"] for row in rows], percent)))


def _format(values: list[float], percent: bool) -> str:
    """Thousands as 10k; fractions plainly, not as 100m."""
    return "~%" if percent else "~s" if max(map(abs, values)) >= 1000 else "~r"


def _scale(log: bool) -> alt.Scale:
    return parts.log_scale() if log else alt.Scale(zero=False, nice=True)


def _palette(rows: list[dict[str, Any]]) -> parts.Palette:
    """One curve alone is no reference: it has a colour."""
    palette = parts.Palette.of("name", [row["name"] for row in rows])
    return palette if len(palette.names) > 1 else parts.Palette("name", palette.names, [STRATEGY_COLOURS[0]])


def _rules(rules: Mapping[str, float] | None, percent: bool) -> list[alt.Chart]:
    layers = []
    for text, value in (rules or {}).items():
        if (value := parts.value_of(value)) is None:
            continue
        figure = f"{two(100 * value)}%" if percent else two(value)
        layers += parts.rule("y", value, f"{text}: {figure}", dash=parts.GUESS_DASH)
    return layers


def _finished(layers: list[alt.Chart], rows: list[dict[str, Any]], title: str, height: int, frame: pd.DataFrame,
              constant: float | None = None, key: str = "") -> alt.LayerChart:
    """`key` says which number is which name, where there is no room for the names; the frame, where it was recorded."""
    kinds = ", ".join(dict.fromkeys(row["provenance"] for row in rows))
    figures = "; ".join(f"{row['name'] or row['x']}: {row['value']}" for row in rows[:MAX_DESCRIBED])
    notes = [frame.attrs.get("origin", ""), "" if constant is None else f"Constant answer: {percent_of(constant)}"]
    near = constant is not None and constant >= 2 * min(row["y"] for row in rows) - max(row["y"] for row in rows)
    line = parts.rule("y", constant, "constant answer", dash=parts.CONSTANT_DASH) if near else []
    description = ". ".join(filter(None, [f"{figures} ({kinds})", *notes]))
    return parts.finished([*layers, *line], title, description, height, subtitle=[f"Marks: {kinds}", *notes, key],
                          resolve=alt.Resolve(scale=alt.ScaleResolveMap(fill="independent")))
