"""Charts of plain frames: what happens over time, monthly cost, break-even between offers, and scaling.

The `_spec` functions give what `Explore` takes: it has a place for the chart already. The tests check them; the page
need not.
"""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from helpers.app.charts import parts
from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS
from helpers.app.text.figures import interval, two
from helpers.lab.errors import InputError

MAX_IN_MINUTES = 12.0  # hours; a chart over a longer time has its axis in hours


@debug_mode(False)
def replicas_spec(frame: pd.DataFrame, *, title: str | None = None) -> alt.LayerChart:
    """How many replicas are ready, and how many the policy wants.

    Args:
        frame: a simulated run's time series with the columns t_s, ready and target (`Run.frame()`).
        title: the finding; computed by default.
    """
    parts.require(frame, "t_s", "ready", "target")
    times, unit = _clock(frame)
    low, high = int(frame["ready"].min()), int(frame["ready"].max())
    title = title or (f"{low} to {high} replicas ready" if low < high else f"{low} replicas, always")
    base = alt.Chart(_text_data(pd.DataFrame({"t": times, "ready": frame["ready"], "target": frame["target"]})))
    x = _time_axis(unit)
    y = parts.axis(alt.Y, "ready", "replicas", alt.Scale(domainMin=0), tickMinStep=1, tickCount=4, format="d")
    colours = {"ready": STRATEGY_COLOURS[0], "wanted": REFERENCE_GREY}
    layers = [base.mark_area(interpolate="step-after", opacity=0.25, color=STRATEGY_COLOURS[0]).encode(x=x, y=y),
              _line(base, alt.Y("target:Q"), "wanted", x, step=True),
              _line(base, alt.Y("ready:Q"), "ready", x, step=True)]
    return _over_time(layers, colours, title, times, unit)


@debug_mode(False)
def latency_spec(frame: pd.DataFrame, *, deadline_s: float | None = None) -> alt.LayerChart:
    """Median and 95th percentile of latency, on a log axis, and the latency target.

    Args:
        frame: with the columns t_s, p50_s and p95_s; NaN where nothing was answered.
        deadline_s: the target, drawn as a line.
    """
    parts.require(frame, "t_s", "p50_s", "p95_s")
    times, unit = _clock(frame)
    worst = float(frame["p95_s"].max())
    title = f"p95 latency: at worst {f'{two(1e3 * worst)} ms' if worst < 1 else f'{two(worst)} s'}"
    base = alt.Chart(_text_data(pd.DataFrame({"t": times, "p50": 1e3 * frame["p50_s"], "p95": 1e3 * frame["p95_s"]})))
    x = _time_axis(unit)
    colours = {"p95": STRATEGY_COLOURS[1], "p50": STRATEGY_COLOURS[4]}
    scale = alt.Scale(type="log")
    layers = [_line(base, parts.axis(alt.Y, name, "latency, ms", scale, tickCount=4, format="~s", grid=False), name, x)
              for name in colours]
    if deadline_s:
        layers += parts.rule("y", 1e3 * deadline_s, f"target: {two(1e3 * deadline_s)} ms")
    return _over_time(layers, colours, title, times, unit)


@debug_mode(False)
def dollars_spec(frame: pd.DataFrame, *, guess: Any = None, paper: float | None = None, title: str) -> alt.LayerChart:
    """Draw the cost of each way to run a training, with intervals; the first row is the reference.

    Args:
        frame: columns name, usd_month, low and high; a column `note`, if there is one, stands beside the marks.
        guess: the participant's guess of how many times less than the reference: a number, or what `guess()` gave.
        paper: the same as predicted on paper.
        title: the finding.
    """
    parts.require(frame, "name", "usd_month", "low", "high")
    rows = [_bill_row(row, index == 0) for index, row in enumerate(frame.to_dict("records"))]
    ratios = (("your guess", parts.value_of(guess), parts.GUESS_DASH), ("on paper", paper, parts.PAPER_DASH))
    expected = [(text, rows[0]["usd_month"] / float(ratio), dash) for text, ratio, dash in ratios if ratio]
    top = max(1.08 * max(row["high"] for row in rows), *(1.05 * usd for _, usd, _ in expected), 0.0)
    x = parts.axis(alt.X, "usd_month", "$ a month, with 95% interval", alt.Scale(domain=[0, top], nice=False),
                   format="$~s")
    y = parts.names_axis("name", [row["name"] for row in rows])
    base = alt.Chart(alt.Data(values=rows))
    palette = parts.Palette("kind", ["reference", "candidate"], [REFERENCE_GREY, STRATEGY_COLOURS[0]])
    legend = alt.Legend(title="simulated: dashed diamonds", symbolType="diamond", symbolDash=parts.DASHED,
                        symbolFillColor="transparent")
    tooltip = parts.tooltips({field: field for field in ("name", "bill", "note", "provenance")})
    intervals = base.mark_rule(strokeWidth=1.5, strokeDash=parts.DASHED)
    layers = [intervals.encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y, color=palette.colour(legend)),
              palette.marks(base, tooltip, legend).encode(x=x, y=y),
              base.mark_text(align="left", x=4, dy=16, fontSize=11).encode(y=y, text=alt.Text("note:N"))]
    for number, (text, usd, dash) in enumerate(expected):
        layers += parts.rule("x", usd, f"{text}: {two(rows[0]['usd_month'] / usd)}x cheaper", dash=dash, row=number,
                       align="right")
    description = "; ".join(f"{row['name']}: {row['bill']}" + (f", {row['note']}" if row["note"] else "")
                            for row in rows)
    return parts.finished(layers, title, description, max(120, parts.rows_height([row["name"] for row in rows], 48)),
                          resolve=alt.Resolve(scale=alt.ScaleResolveMap(fill="independent")))


@debug_mode(False)
def break_even_spec(frame: pd.DataFrame, meeting: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Dollars a month against the share of time that a machine would be busy, both on log axes.

    Args:
        frame: columns duty, usd_month and offer, several duties an offer. The first offer is the reference.
        meeting: columns duty, usd_month and text: where lines meet.
        title: the finding.
    """
    parts.require(frame, "duty", "usd_month", "offer")
    parts.require(meeting, "duty", "usd_month", "text")
    x = parts.axis(alt.X, "duty", "share of the time that one machine would be busy", parts.log_scale(), format="~%")
    y = parts.axis(alt.Y, "usd_month", "$ a month", parts.log_scale(), format="$~s")
    colour = parts.Palette.of("offer", frame["offer"]).colour(parts.line_legend())
    lines = alt.Chart(alt.Data(values=frame.to_dict("records")))
    marks = alt.Chart(alt.Data(values=meeting.to_dict("records")))
    layers = [lines.mark_line(strokeWidth=2, strokeDash=parts.DASHED).encode(x=x, y=y, color=colour),
              marks.mark_point(shape="diamond", filled=False, stroke=STRATEGY_COLOURS[1], opacity=1)
              .encode(x=x, y=y, tooltip=alt.Tooltip("text:N")),
              marks.mark_text(align="right", dx=-8, dy=-10).encode(x=x, y=y, text=alt.Text("text:N"))]
    return parts.finished(layers, title, "; ".join(meeting["text"]), 320)


@debug_mode(False)
def scaling_spec(predicted: pd.DataFrame, measured: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """Speed-up of n workers over one: measured points on a predicted band, and the ideal in grey.

    Args:
        predicted: columns workers, speedup, speedup_low and speedup_high.
        measured: columns workers and speedup, and speedup_low and speedup_high where there is an interval.
        title: the finding.
    """
    parts.require(predicted, "workers", "speedup", "speedup_low", "speedup_high")
    parts.require(measured, "workers", "speedup")
    x = parts.axis(alt.X, "workers", "workers", parts.log_scale(base=2), values=list(predicted["workers"]), format="d")
    y = parts.axis(alt.Y, "speedup", "speed-up over one worker", parts.log_scale(base=2), format="~r", tickCount=6)
    most = [{"workers": n, "speedup": n, "kind": "ideal"} for n in predicted["workers"]]
    band = alt.Chart(alt.Data(values=[{**row, "kind": "on paper, with 95% band"}
                                      for row in predicted.to_dict("records")]))
    points = alt.Chart(alt.Data(values=[{**row, "kind": "measured"} for row in measured.to_dict("records")]))
    colour = parts.Palette("kind", ["measured", "on paper, with 95% band", "ideal"],
                     [STRATEGY_COLOURS[1], STRATEGY_COLOURS[0], REFERENCE_GREY]).colour(parts.line_legend())
    layers = [alt.Chart(alt.Data(values=most)).mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
              band.mark_area(opacity=0.2, color=STRATEGY_COLOURS[0])
              .encode(x=x, y=alt.Y("speedup_low:Q"), y2=alt.Y2("speedup_high:Q")),
              band.mark_line(strokeWidth=2, strokeDash=parts.DASHED).encode(x=x, y=y, color=colour),
              points.mark_point(filled=True, opacity=1).encode(x=x, y=y, color=colour)]
    if "speedup_low" in measured:
        layers.append(points.mark_rule(strokeWidth=1.5).encode(
            x=x, y=alt.Y("speedup_low:Q"), y2=alt.Y2("speedup_high:Q"), color=colour))
    figures = "; ".join(f"{int(row['workers'])} workers: {two(row['speedup'])} times"
                        for row in predicted.to_dict("records"))
    return parts.finished(layers, title, f"on paper {figures}", 320)


replicas_over_time = parts.drawn(replicas_spec, "replicas_over_time")
latency_over_time = parts.drawn(latency_spec, "latency_over_time")
dollars_a_month = parts.drawn(dollars_spec, "dollars_a_month")
break_even_chart = parts.drawn(break_even_spec, "break_even_chart")
scaling_chart = parts.drawn(scaling_spec, "scaling_chart")


def _bill_row(row: dict[str, Any], reference: bool) -> dict[str, Any]:
    given = interval(row["low"], row["high"])
    kind = "reference" if reference else "candidate"
    return {"name": row["name"], "usd_month": row["usd_month"], "low": row["low"], "high": row["high"],
            "note": row.get("note", ""), "kind": kind, "provenance": "simulated",
            "inside": parts.inside(kind, "simulated"),
            "bill": f"${two(row['usd_month'])} a month" + (f" (${given.replace(' to ', ' to $')})" if given else "")}


def _line(base: alt.Chart, y: alt.Y, label: str, x: alt.X, *, step: bool = False) -> alt.Chart:
    shape = "step-after" if step else "linear"
    return base.mark_line(strokeWidth=1.5, strokeDash=parts.DASHED, interpolate=shape).encode(
        x=x, y=y, color=alt.ColorDatum(label))


def _over_time(layers: Sequence[alt.Chart], colours: dict[str, str], title: str, times: pd.Series,
               unit: str) -> alt.LayerChart:
    """Lines of one colour each, which stand for their names in the legend."""
    legend = alt.Legend(title="simulated", titleOrient="left", symbolType="stroke", symbolStrokeWidth=2,
                        symbolDash=parts.DASHED)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    shared = alt.FacetedEncoding(color=alt.Color(scale=scale, legend=legend))
    return parts.finished(layers, title, f"{title}, over {times.iloc[-1]:.0f} {unit}", 150, encoding=shared)


def _clock(frame: pd.DataFrame) -> tuple[pd.Series, str]:
    """Times for the chart, and their unit."""
    if not len(frame):
        raise InputError("A chart over time needs at least one row.")
    minutes = frame["t_s"].iloc[-1] < 3600 * MAX_IN_MINUTES
    return frame["t_s"] / (60 if minutes else 3600), "minutes" if minutes else "hours"


def _time_axis(unit: str) -> alt.X:
    return parts.axis(alt.X, "t", unit, alt.Scale(nice=False), tickCount=6, grid=False)


def _text_data(rows: pd.DataFrame) -> alt.Data:
    """As CSV: Altair checks each row of a list against Vega's schema, and that takes longer than the simulation."""
    return alt.Data(values=rows.to_csv(index=False, float_format="%.4g", na_rep="NaN"), format={"type": "csv"})
