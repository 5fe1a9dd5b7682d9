"""The two drawings that every experiment ends in: accuracy against cost, and speed-ups."""

from collections.abc import Mapping
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from helpers.app.charts.labels import Mark, places, short_names
from helpers.app.charts.vega import REFERENCE_GREY, STRATEGY_COLOURS, Chart
from helpers.app.export.records import listed
from helpers.app.panels.findings import short_finding
from helpers.app.text.figures import change, interval, two
from helpers.lab.measuring.measurement import Measurement

Paper = float | Mapping[str, float] | None
_PROVENANCES = ("measured", "recorded", "simulated")
_DASHES = [[1, 0], [1, 0], [3, 2]]
_SHAPES = ["circle", "circle", "diamond"]
_OUTLINED = "outlined"
_FAR = 0.2  # accuracy lost against the reference; beyond it a mark stands at the lower edge, with its figure


def chart(measurements: Any, *, guess: Any = None, paper: Paper = None,
                          title: str | None = None) -> Chart:
    """Each candidate by what it costs and how often it is right; better is up and left.

    Args:
        measurements: records, or the result of `compare`; the first is the reference.
        guess: the participant's guess of a speed-up: a number, or what `guess()` gave.
        paper: the speed-up predicted on paper: one number, or one for each model name.
        title: the finding; computed from the records by default.
    """
    return Chart(cost_spec(measurements, guess=guess, paper=paper, title=title))


def speedups(measurements: Any, *, guess: Any = None, paper: Paper = None, title: str | None = None) -> Chart:
    """How many predictions a second each candidate makes for one of the reference's, with intervals.

    The arguments are those of `chart`.
    """
    return Chart(speedup_spec(measurements, guess=guess, paper=paper, title=title))


@debug_mode(False)  # see Chart: the tests check what comes out
def cost_spec(measurements: Any, *, guess: Any = None, paper: Paper = None, title: str | None = None) -> alt.LayerChart:
    """What `chart` draws."""
    records = listed(measurements)
    rows = [_row(record, index == 0) for index, record in enumerate(records)]
    predictions = _predictions(records, guess, paper)
    for told in predictions:
        told["x"] = records[0].usd_per_million / told["speedup"]
    floor = _floor(rows)
    for row in rows:
        row["up"], row["far"] = max(row["accuracy"], floor), row["accuracy"] < floor
        row["up_low"], row["up_high"] = max(row["low"], floor), max(row["high"], floor)
    x_domain = _log_domain([row[k] for row in rows for k in ("usd", "usd_low", "usd_high")]
                           + [told["x"] for told in predictions])
    y_domain = _share_domain(rows)  # of what is drawn
    base = alt.Chart(alt.Data(values=rows))
    colour = _colour(rows)
    x = alt.X("usd:Q", title="$ per million predictions (log scale)",
              scale=alt.Scale(type="log", domain=list(x_domain), nice=False),
              axis=alt.Axis(format="$~g", tickCount=5, labelOverlap=True))
    share = alt.Scale(domain=list(y_domain), nice=False, zero=False)
    y = alt.Y("up:Q", title="accuracy, with 95 % interval", scale=share, axis=alt.Axis(format=".0%", tickCount=6))
    lines = base.mark_rule(strokeWidth=1.5).encode(color=colour)
    layers = [lines.encode(x=x.copy(), y=alt.Y("up_low:Q", scale=share), y2=alt.Y2("up_high:Q")),
              lines.encode(x=alt.X("usd_low:Q"), x2=alt.X2("usd_high:Q"), y=y),
              _marks(base, rows).encode(x=x, y=y)]
    layers += _told_lines(predictions, "x", top=True)
    names = [f"{name} ({row['accuracy']:.0%}, below)" if row["far"] else name
             for name, row in zip(short_names([row["model"] for row in rows]), rows, strict=True)]
    put = places([Mark(name, *(row[k] for k in ("usd", "usd_low", "usd_high", "up", "up_low", "up_high")))
                  for name, row in zip(names, rows, strict=True)], x_domain, y_domain)
    for name, row, (align, dx, dy) in zip(names, rows, put, strict=True):
        data = alt.Data(values=[{"usd": row["usd"], "up": row["up"], "text": name}])
        layers.append(alt.Chart(data).mark_text(align=align, dx=dx, dy=dy, baseline="alphabetic")
                      .encode(x=alt.X("usd:Q"), y=alt.Y("up:Q"), text=alt.Text("text:N")))
    return _finished(layers, records, title, 340)


@debug_mode(False)
def speedup_spec(measurements: Any, *, guess: Any = None, paper: Paper = None,
                 title: str | None = None) -> alt.LayerChart:
    """What `speedups` draws."""
    records = listed(measurements)
    rows = [_row(record, index == 0) for index, record in enumerate(records)]
    predictions = _predictions(records, guess, paper)
    names = [row["model"] for row in rows]
    base = alt.Chart(alt.Data(values=rows))
    colour = _colour(rows)
    top = max([1.0, *(row["speedup_high"] for row in rows), *(told["speedup"] for told in predictions)]) * 1.08
    x = alt.X("speedup:Q", title="speed-up, with 95 % interval",
              scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(format="~g", tickCount=6))
    y = alt.Y("model:N", sort=names, title=None, axis=alt.Axis(labelLimit=150, ticks=False, domain=False))
    one = alt.Chart(alt.Data(values=[{"speedup": 1, "text": "no gain"}]))
    layers = [one.mark_rule(style="one").encode(x=x),
              base.mark_bar(height=4, opacity=0.35).encode(x=alt.X("one:Q"), x2=alt.X2("speedup:Q"), y=y, color=colour),
              base.mark_rule(strokeWidth=1.5).encode(x=alt.X("speedup_low:Q"), x2=alt.X2("speedup_high:Q"), y=y,
                                                     color=colour),
              _marks(base, rows).encode(x=x, y=y)]
    layers += _told_lines([told for told in predictions if "model" not in told], "speedup", top=True)
    own = [told for told in predictions if "model" in told]
    if own:
        ticks = alt.Chart(alt.Data(values=own))
        tip = alt.Tooltip("text:N")
        layers += [ticks.mark_tick(thickness=2, size=24, orient="vertical").encode(x=x, y=y, tooltip=tip),
                   ticks.mark_text(dy=-18, fontSize=11).encode(x=x, y=y, text=alt.Text("text:N"))]
    return _finished(layers, records, title, max(120, 52 * len(rows)))


def _row(record: Measurement, reference: bool) -> dict[str, Any]:
    kind = "reference" if reference else record.strategy
    return {"model": record.model, "kind": kind, "inside": kind if record.provenance == "measured" else _OUTLINED,
            "provenance": record.provenance, "one": 1,
            "accuracy": record.accuracy, "low": record.accuracy_low, "high": record.accuracy_high,
            "usd": record.usd_per_million, "usd_low": record.usd_per_million * record.speedup / record.speedup_high,
            "usd_high": record.usd_per_million * record.speedup / record.speedup_low,
            "speedup": record.speedup, "speedup_low": record.speedup_low, "speedup_high": record.speedup_high,
            "cost": f"${two(record.usd_per_million)} per million",
            "right": f"{two(100 * record.accuracy)} % "
                     f"({interval(100 * record.accuracy_low, 100 * record.accuracy_high)})",
            "change": "the reference" if reference else change(record),
            "times": f"{two(record.speedup)}x ({two(record.speedup_low)} to {two(record.speedup_high)})"}


def _marks(base: alt.Chart, rows: list[dict[str, Any]]) -> alt.Chart:
    """Filled: measured; outlined: recorded; dashed diamond: simulated. Readable in grey."""
    tips = [alt.Tooltip(f"{field}:N", title=name) for field, name in
            (("model", "model"), ("right", "accuracy (95 %)"), ("change", "difference"), ("cost", "cost"),
             ("times", "speed-up (95 %)"), ("provenance", "provenance"))]
    kinds, colours = _kinds(rows)
    inside = alt.Scale(domain=[*kinds, _OUTLINED], range=[*colours, "transparent"])
    return base.mark_point(opacity=1).encode(
        color=_colour(rows), fill=alt.Fill("inside:N", scale=inside, legend=None),
        strokeDash=_by_provenance(alt.StrokeDash, _DASHES, None), shape=_by_provenance(alt.Shape, _SHAPES, None),
        tooltip=tips)


def _provenance_legend() -> alt.Chart:
    """A layer without marks: the marks' own fill is by strategy, so it cannot show filled and outlined in grey."""
    legend = alt.Legend(title="provenance")
    return alt.Chart(alt.Data(values=[])).mark_point(opacity=1, aria=False).encode(
        fill=_by_provenance(alt.Fill, [REFERENCE_GREY, "transparent", "transparent"], legend),
        stroke=_by_provenance(alt.Stroke, [REFERENCE_GREY] * 3, legend),
        strokeDash=_by_provenance(alt.StrokeDash, _DASHES, legend), shape=_by_provenance(alt.Shape, _SHAPES, legend))


def _by_provenance(channel: type, values: list[Any], legend: alt.Legend | None) -> Any:
    return channel("provenance:N", legend=legend, scale=alt.Scale(domain=list(_PROVENANCES), range=values))


def _colour(rows: list[dict[str, Any]]) -> alt.Color:
    kinds, colours = _kinds(rows)
    return alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=colours),
                     legend=alt.Legend(title="strategy", symbolType="stroke", symbolStrokeWidth=4, symbolOpacity=1))


def _kinds(rows: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    colours = [REFERENCE_GREY, *(STRATEGY_COLOURS[i % len(STRATEGY_COLOURS)] for i in range(len(kinds) - 1))]
    return kinds, colours[:len(kinds)]


def _predictions(records: list[Measurement], guess: Any, paper: Paper) -> list[dict[str, Any]]:
    """What was expected before the measurement, each with its label; those of one model name it."""
    told = []
    guess = getattr(guess, "value", guess)
    if guess is not None and records:
        told.append({"speedup": float(guess), "text": f"your guess {two(guess)}x", "level": 0})
    if isinstance(paper, Mapping):
        shown = {record.model for record in records}
        told += [{"speedup": float(value), "text": f"on paper {two(value)}x", "model": model, "level": 1}
                 for model, value in paper.items() if model in shown]
    elif paper is not None and records:
        told.append({"speedup": float(paper), "text": f"on paper {two(paper)}x", "level": 1})
    return [item for item in told if item["speedup"] > 0]


def _told_lines(predictions: list[dict[str, Any]], field: str, top: bool) -> list[alt.Chart]:
    layers = []
    for told in predictions:
        text = f"{told['text']} for {told['model']}" if "model" in told else told["text"]
        data = alt.Chart(alt.Data(values=[{**told, "text": text}]))
        dash = [6, 4] if told["level"] == 0 else [2, 3]
        layers += [data.mark_rule(style="told", strokeDash=dash, strokeWidth=1.5)
                   .encode(x=alt.X(f"{field}:Q"), tooltip=alt.Tooltip("text:N")),
                   data.mark_text(align="left", dx=5, dy=0, baseline="top", fontSize=11, fontStyle="italic")
                   .encode(x=alt.X(f"{field}:Q"), y=alt.YValue(2 + 15 * told["level"]), text=alt.Text("text:N"))]
    return layers


def _finished(layers: list[alt.Chart], records: list[Measurement], title: str | None, height: int) -> alt.LayerChart:
    title = short_finding(records) if title is None else title
    said = "; ".join(f"{r.model}: {two(100 * r.accuracy)} % right, ${two(r.usd_per_million)} per million predictions, "
                     f"{two(r.speedup)} times the reference's speed ({r.provenance})" for r in records)
    # In one go: each `.properties` and `.resolve_scale` of a chart of layers copies all of it.
    own = alt.ScaleResolveMap(fill="independent", stroke="independent", strokeDash="independent", shape="independent")
    return alt.layer(*layers, _provenance_legend(), width="container", height=height, title=_wrapped(title),
                     description=f"{title}. {said}", resolve=alt.Resolve(scale=own))


def _wrapped(title: str, letters: int = 62) -> list[str]:
    """Lines short enough for a chart; Vega does not break a title by itself."""
    lines = [""]
    for word in title.split():
        if len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _log_domain(values: list[float]) -> tuple[float, float]:
    values = [value for value in values if value > 0] or [1.0]
    return min(values) / 1.25, max(values) * 1.25


def _floor(rows: list[dict[str, Any]]) -> float:
    """Accuracy below which a mark is drawn at the lower edge, so that the others are not squeezed together."""
    near = [row["low"] for row in rows if row["accuracy"] >= rows[0]["accuracy"] - _FAR]
    return min(near) - 0.02 if 0 < len(near) < len(rows) else 0.0


def _share_domain(rows: list[dict[str, Any]]) -> tuple[float, float]:
    low = min((row["up_low"] for row in rows), default=0.0)
    high = max((row["up_high"] for row in rows), default=1.0)
    room = max(0.02, 0.12 * (high - low))
    return max(0.0, low - room), min(1.0, high + room)
