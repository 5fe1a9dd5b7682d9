"""Charts of plain frames: what happens over time, what it costs a month, where two prices meet, how work scales.

Dashed lines and diamonds are simulated or computed on paper, filled circles are measured. The `_spec` functions give
what `Explore` takes: it has a place for the chart already. The tests check them; the page need not.
"""

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode
from IPython.display import HTML

from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS, Chart
from helpers.app.text.figures import interval, two
from helpers.app.text.words import shown
from helpers.lab.errors import InputError

DASHED = [6, 3]  # simulated, as in every legend
_TITLE_LETTERS = 62  # of a line; Vega does not break a title by itself
_IN_MINUTES = 12.0  # hours; a chart over a shorter time has its axis in minutes


def tiles(pairs: Iterable[tuple[str, str]]) -> HTML:
    """Big figures side by side, each with what it is under it: tiles([("$1,200", "a month")])."""
    body = "".join(f"<div class='app-figure'><b>{html.escape(big)}</b><span>{html.escape(small)}</span></div>"
                    for big, small in pairs)
    # Two dollar signs would be taken for a formula.
    return shown(f"<div class='app-figures mathjax_ignore'>{body}</div>")


def replicas_over_time(frame: pd.DataFrame, *, title: str | None = None) -> Chart:
    """How many replicas are ready, and how many the policy wants.

    Args:
        frame: a simulated run's time series with the columns t_s, ready and target (`Run.frame()`).
        title: the finding; computed by default.
    """
    return Chart(replicas_spec(frame, title=title))


def latency_over_time(frame: pd.DataFrame, *, deadline_s: float | None = None, title: str | None = None) -> Chart:
    """Median and 95th percentile of latency, on a log axis, and the promise that was made.

    Args:
        frame: with the columns t_s, p50_s and p95_s; NaN where nothing was answered.
        deadline_s: the promise, drawn as a line.
        title: the finding; computed by default.
    """
    return Chart(latency_spec(frame, deadline_s=deadline_s, title=title))


def dollars_a_month(frame: pd.DataFrame, *, guess: Any = None, paper: float | None = None,
                    title: str | None = None) -> Chart:
    """What each way to run it costs, with intervals; the first row is the reference.

    Args:
        frame: columns name, usd_month, low and high; a column `note`, if there is one, stands beside the marks.
        guess: the participant's guess of how many times less than the reference: a number, or what `guess()` gave.
        paper: the same as predicted on paper.
        title: the finding; computed by default.
    """
    return Chart(dollars_spec(frame, guess=guess, paper=paper, title=title))


def break_even_chart(frame: pd.DataFrame, meeting: pd.DataFrame, *, title: str) -> Chart:
    """Dollars a month against the share of time that a machine would be busy, both on log axes.

    Args:
        frame: columns duty, usd_month and offer, several duties an offer. The first offer is the reference.
        meeting: columns duty, usd_month and text: where lines meet.
        title: the finding.
    """
    return Chart(break_even_spec(frame, meeting, title=title))


def scaling_chart(predicted: pd.DataFrame, measured: pd.DataFrame, *, title: str) -> Chart:
    """What n workers do in the time of one: measured points on a predicted band, and the ideal in grey.

    Args:
        predicted: columns workers, speedup, speedup_low and speedup_high.
        measured: columns workers and speedup, and speedup_low and speedup_high where there is an interval.
        title: the finding.
    """
    return Chart(scaling_spec(predicted, measured, title=title))


@debug_mode(False)
def replicas_spec(frame: pd.DataFrame, *, title: str | None = None) -> alt.LayerChart:
    """What `replicas_over_time` draws."""
    _require(frame, "t_s", "ready", "target")
    times, unit = _clock(frame)
    low, high = int(frame["ready"].min()), int(frame["ready"].max())
    title = title or (f"{low} to {high} replicas ready" if low < high else f"{low} replicas, always")
    base = alt.Chart(_text_data(pd.DataFrame({"t": times, "ready": frame["ready"], "target": frame["target"]})))
    x = alt.X("t:Q", title=unit, axis=_few_ticks(), scale=alt.Scale(nice=False))
    y = alt.Y("ready:Q", title="replicas", axis=alt.Axis(tickMinStep=1, tickCount=4, format="d"),
              scale=alt.Scale(domainMin=0))
    colours = {"ready": STRATEGY_COLOURS[0], "wanted": REFERENCE_GREY}
    layers = [base.mark_area(interpolate="step-after", opacity=0.25, color=STRATEGY_COLOURS[0]).encode(x=x, y=y),
              _line(base, alt.Y("target:Q"), "wanted", x, step=True),
              _line(base, alt.Y("ready:Q"), "ready", x, step=True)]
    return _over_time(layers, colours, title, f"{title}, over {times.iloc[-1]:.0f} {unit}")


@debug_mode(False)
def latency_spec(frame: pd.DataFrame, *, deadline_s: float | None = None,
                 title: str | None = None) -> alt.LayerChart:
    """What `latency_over_time` draws."""
    _require(frame, "t_s", "p50_s", "p95_s")
    times, unit = _clock(frame)
    worst = float(frame["p95_s"].max())
    title = title or f"p95 latency: at worst {f'{two(1e3 * worst)} ms' if worst < 1 else f'{two(worst)} s'}"
    base = alt.Chart(_text_data(pd.DataFrame({"t": times, "p50": 1e3 * frame["p50_s"], "p95": 1e3 * frame["p95_s"]})))
    x = alt.X("t:Q", title=unit, axis=_few_ticks(), scale=alt.Scale(nice=False))
    colours = {"p95": STRATEGY_COLOURS[1], "p50": STRATEGY_COLOURS[4]}
    log, axis = alt.Scale(type="log"), alt.Axis(tickCount=4, format="~s", grid=False)
    layers = [_line(base, alt.Y(f"{name}:Q", title="latency, ms (log scale)", scale=log, axis=axis), name, x)
              for name in colours]
    if deadline_s:
        limit = 1e3 * deadline_s
        promise = alt.Chart(alt.Data(values=[{"promise": limit, "text": f"promise: {limit:g} ms"}]))
        layers += [promise.mark_rule(style="told", strokeWidth=1.5).encode(y=alt.Y("promise:Q")),
                   promise.mark_text(align="right", baseline="bottom", dy=-3, fontStyle="italic", fontSize=11)
                   .encode(y=alt.Y("promise:Q"), x=alt.XValue("width"), text=alt.Text("text:N"))]
    return _over_time(layers, colours, title, f"{title}, over {times.iloc[-1]:.0f} {unit}")


@debug_mode(False)
def dollars_spec(frame: pd.DataFrame, *, guess: Any = None, paper: float | None = None,
                 title: str | None = None) -> alt.LayerChart:
    """What `dollars_a_month` draws."""
    _require(frame, "name", "usd_month", "low", "high")
    rows = [_bill_row(row, index == 0) for index, row in enumerate(frame.to_dict("records"))]
    title = title or cheapest_said(frame)
    top = 1.08 * max(row["high"] for row in rows)
    told = [(text, rows[0]["usd_month"] / float(value), dash) for text, value, dash in
            (("your guess", getattr(guess, "value", guess), [6, 4]), ("on paper", paper, [2, 3])) if value]
    x = alt.X("usd_month:Q", title="$ a month, with 95 % interval", axis=alt.Axis(format="$~s", tickCount=5),
              scale=alt.Scale(domain=[0, max([top, *(1.05 * usd for _, usd, _ in told)])], nice=False))
    y = alt.Y("name:N", sort=[row["name"] for row in rows], title=None,
              axis=alt.Axis(labelLimit=150, ticks=False, domain=False))
    base = alt.Chart(alt.Data(values=rows))
    colour = alt.Color("kind:N", legend=alt.Legend(title="simulated: dashed diamonds", symbolType="diamond",
                                                   symbolDash=[3, 2]),
                       scale=alt.Scale(domain=["reference", "candidate"],
                                       range=[REFERENCE_GREY, STRATEGY_COLOURS[0]]))
    tips = [alt.Tooltip(f"{field}:N", title=field) for field in ("name", "bill", "note", "provenance")]
    layers = [base.mark_rule(strokeWidth=1.5, strokeDash=[3, 2]).encode(x=alt.X("low:Q"), x2=alt.X2("high:Q"), y=y,
                                                                        color=colour),
              base.mark_point(shape="diamond", filled=False, strokeDash=[3, 2], opacity=1)
              .encode(x=x, y=y, color=colour, tooltip=tips),
              base.mark_text(align="left", x=4, dy=16, fontSize=11).encode(y=y, text=alt.Text("note:N"))]
    for level, (text, usd, dash) in enumerate(told):
        line = alt.Chart(alt.Data(values=[{"usd_month": usd, "text": f"{text}: {two(rows[0]['usd_month'] / usd)}x "
                                                                     "cheaper"}]))
        layers += [line.mark_rule(style="told", strokeDash=dash, strokeWidth=1.5).encode(x=alt.X("usd_month:Q")),
                   line.mark_text(align="right", dx=-5, baseline="top", fontSize=11, fontStyle="italic")
                   .encode(x=alt.X("usd_month:Q"), y=alt.YValue(2 + 15 * level), text=alt.Text("text:N"))]
    said = "; ".join(f"{row['name']}: {row['bill']}" + (f", {row['note']}" if row["note"] else "") for row in rows)
    return _finished(layers, title, said, max(120, 48 * len(rows)))


@debug_mode(False)
def break_even_spec(frame: pd.DataFrame, meeting: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """What `break_even_chart` draws."""
    _require(frame, "duty", "usd_month", "offer")
    _require(meeting, "duty", "usd_month", "text")
    offers = list(dict.fromkeys(frame["offer"]))
    colours = [REFERENCE_GREY, *(STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)] for i in range(len(offers) - 1))]
    x = alt.X("duty:Q", title="share of the time that one machine would be busy (log scale)",
              scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~%", tickCount=5))
    y = alt.Y("usd_month:Q", title="$ a month (log scale)", scale=alt.Scale(type="log", nice=False),
              axis=alt.Axis(format="$~s", tickCount=5))
    colour = alt.Color("offer:N", title=None, scale=alt.Scale(domain=offers, range=colours),
                       legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3, labelLimit=240))
    lines = alt.Chart(alt.Data(values=frame.to_dict("records")))
    marks = alt.Chart(alt.Data(values=meeting.to_dict("records")))
    layers = [lines.mark_line(strokeWidth=2, strokeDash=DASHED).encode(x=x, y=y, color=colour),
              marks.mark_point(shape="diamond", filled=False, stroke=STRATEGY_COLOURS[1], opacity=1)
              .encode(x=x, y=y, tooltip=alt.Tooltip("text:N")),
              marks.mark_text(align="right", dx=-8, dy=-10).encode(x=x, y=y, text=alt.Text("text:N"))]
    return _finished(layers, title, "; ".join(meeting["text"]), 320)


@debug_mode(False)
def scaling_spec(predicted: pd.DataFrame, measured: pd.DataFrame, *, title: str) -> alt.LayerChart:
    """What `scaling_chart` draws."""
    _require(predicted, "workers", "speedup", "speedup_low", "speedup_high")
    _require(measured, "workers", "speedup")
    x = alt.X("workers:Q", title="workers (log scale)", axis=alt.Axis(values=list(predicted["workers"]), format="d"),
              scale=alt.Scale(type="log", base=2, nice=False))
    y = alt.Y("speedup:Q", title="times as much as one worker (log scale)", axis=alt.Axis(format="~g", tickCount=6),
              scale=alt.Scale(type="log", base=2, nice=False))
    most = [{"workers": n, "speedup": n, "kind": "ideal"} for n in predicted["workers"]]
    band = alt.Chart(alt.Data(values=[{**row, "kind": "on paper, with 95 % band"}
                                      for row in predicted.to_dict("records")]))
    points = alt.Chart(alt.Data(values=[{**row, "kind": "measured"} for row in measured.to_dict("records")]))
    colours = alt.Scale(domain=["measured", "on paper, with 95 % band", "ideal"],
                        range=[STRATEGY_COLOURS[1], STRATEGY_COLOURS[0], REFERENCE_GREY])
    colour = alt.Color("kind:N", title=None, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3), scale=colours)
    layers = [alt.Chart(alt.Data(values=most)).mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
              band.mark_area(opacity=0.2, color=STRATEGY_COLOURS[0])
              .encode(x=x, y=alt.Y("speedup_low:Q"), y2=alt.Y2("speedup_high:Q")),
              band.mark_line(strokeWidth=2, strokeDash=DASHED).encode(x=x, y=y, color=colour),
              points.mark_point(filled=True, opacity=1).encode(x=x, y=y, color=colour)]
    if "speedup_low" in measured:
        layers.append(points.mark_rule(strokeWidth=1.5).encode(
            x=x, y=alt.Y("speedup_low:Q"), y2=alt.Y2("speedup_high:Q"), color=colour))
    said = "; ".join(f"{int(row['workers'])} workers: {two(row['speedup'])} times"
                     for row in predicted.to_dict("records"))
    return _finished(layers, title, f"on paper {said}", 320)


def cheapest_said(frame: pd.DataFrame) -> str:
    """The cheapest row against the first one, and whether their intervals are apart."""
    first, rest = frame.iloc[0], frame.iloc[1:]
    if rest.empty:
        return f"{first['name']} costs ${two(first['usd_month'])} a month"
    best = rest.loc[rest["usd_month"].idxmin()]
    if best["high"] >= first["low"]:
        return f"None of these is surely cheaper than {first['name']}"
    return f"{best['name']} costs {two(first['usd_month'] / best['usd_month'])} times less than {first['name']}"


def _bill_row(row: dict[str, Any], reference: bool) -> dict[str, Any]:
    given = interval(row["low"], row["high"])
    return {"name": row["name"], "usd_month": row["usd_month"], "low": row["low"], "high": row["high"],
            "note": row.get("note", ""), "kind": "reference" if reference else "candidate",
            "provenance": "simulated",
            "bill": f"${two(row['usd_month'])} a month" + (f" (${given.replace(' to ', ' to $')})" if given else "")}


def _line(base: alt.Chart, y: alt.Y, label: str, x: alt.X, *, step: bool = False) -> alt.Chart:
    return base.mark_line(strokeWidth=1.5, strokeDash=DASHED, interpolate="step-after" if step else "linear").encode(
        x=x, y=y, color=alt.ColorDatum(label))


def _over_time(layers: Sequence[alt.Chart], colours: dict[str, str], title: str, said: str) -> alt.LayerChart:
    """Lines of one colour each, which stand for their names in the legend."""
    legend = alt.Legend(title="simulated", titleOrient="left", symbolType="stroke", symbolStrokeWidth=2,
                        symbolDash=DASHED)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    shared = alt.FacetedEncoding(color=alt.Color(scale=scale, legend=legend))
    return _finished(layers, title, said, 150, encoding=shared)


def _finished(layers: Sequence[alt.Chart], title: str, said: str, height: int, **more: Any) -> alt.LayerChart:
    # In one go: each `.properties` and `.encode` of a chart of layers copies all of it.
    return alt.layer(*layers, width="container", height=height, description=f"{title}. {said}.",
                     title=textwrap.wrap(title, _TITLE_LETTERS), **more)


def _clock(frame: pd.DataFrame) -> tuple[pd.Series, str]:
    """Times for the chart, and their unit."""
    if not len(frame):
        raise InputError("A chart over time needs at least one row.")
    minutes = frame["t_s"].iloc[-1] < 3600 * _IN_MINUTES
    return frame["t_s"] / (60 if minutes else 3600), "minutes" if minutes else "hours"


def _text_data(rows: pd.DataFrame) -> alt.Data:
    """As CSV: Altair checks each row of a list against Vega's schema, and that takes longer than the simulation."""
    return alt.Data(values=rows.to_csv(index=False, float_format="%.4g", na_rep="NaN"), format={"type": "csv"})


def _few_ticks() -> alt.Axis:
    return alt.Axis(tickCount=6, grid=False)


def _require(frame: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        raise InputError(f"The chart needs a column '{missing[0]}'; the frame has "
                         f"{', '.join(map(str, frame.columns))}.")
