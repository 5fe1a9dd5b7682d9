"""The two drawings that every experiment ends in: accuracy against cost, and speed-ups."""

from collections.abc import Mapping
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from helpers.app.charts import parts
from helpers.app.records import listed
from helpers.app.text.figures import interval, percent, short_names, two
from helpers.app.text.findings import change, origins, short_finding
from helpers.lab.measuring.measurement import Measurement

Paper = float | Mapping[str, float] | None
MAX_LOSS = 0.2  # of accuracy against the reference; beyond it a mark stands at the lower edge, with its figure
_TOOLTIP = parts.tooltips({"model": "model", "right": "accuracy (95%)", "constant": "constant answer",
                           "macro_f1": "macro F1", "weakest": "weakest class", "change": "difference", "cost": "cost",
                           "times": "speed-up (95%)", "provenance": "provenance"})


@debug_mode(False)  # see Chart: the tests check what comes out
def cost_spec(measurements: Any, *, guess: Any = None, paper: Paper = None, title: str | None = None) -> alt.LayerChart:
    """Each candidate by its cost and its accuracy; better is up and left.

    Args:
        measurements: records, or the result of `compare`; the first is the reference.
        guess: the participant's guess of a speed-up: a number, or what `guess()` gave.
        paper: the speed-up predicted on paper: one number, or one for each model name.
        title: the finding; computed from the records by default.

    >>> from helpers import app
    >>> drawing = app.chart(app.recorded("1_model_optimization"), paper=4.0)
    """
    records = listed(measurements)
    rows, palette = _rows(records)
    expected = [{**one, "usd": records[0].usd_per_million / one["speedup"]}
                for one in _expected(records, guess, paper)]
    floor = _floor(rows)
    for row in rows:
        row["up"], row["far"] = max(row["accuracy"], floor), row["accuracy"] < floor
        row["up_low"], row["up_high"] = max(row["low"], floor), max(row["high"], floor)
    across = _cost_span([*(row[key] for row in rows for key in ("usd", "usd_low", "usd_high")),
                         *(one["usd"] for one in expected)])
    up = _accuracy_span(rows)
    base = alt.Chart(alt.Data(values=rows))
    x = parts.axis(alt.X, "usd", "$ per million predictions", parts.log_scale(domain=[across.low, across.high]),
                   format="$~r")
    share = alt.Scale(domain=[up.low, up.high], nice=False, zero=False)
    y = parts.axis(alt.Y, "up", "accuracy, with 95% interval", share, format=".0%", tickCount=6)
    legend = parts.line_legend("strategy")
    lines = base.mark_rule(strokeWidth=1.5).encode(color=palette.colour(legend))
    layers = [lines.encode(x=x.copy(), y=alt.Y("up_low:Q", scale=share), y2=alt.Y2("up_high:Q")),
              lines.encode(x=alt.X("usd_low:Q"), x2=alt.X2("usd_high:Q"), y=y),
              palette.marks(base, _TOOLTIP, legend).encode(x=x, y=y)]
    for one in expected:
        layers += _expected_rule(one["usd"], one)
    layers += _constant(records, up)
    names = [f"{name} ({row['accuracy']:.0%}, below)" if row["far"] else name
             for name, row in zip(short_names([row["model"] for row in rows]), rows, strict=True)]
    marks = [parts.Mark(name, *(row[key] for key in ("usd", "usd_low", "usd_high", "up", "up_low", "up_high")))
             for name, row in zip(names, rows, strict=True)]
    layers += parts.names_beside(marks, across, up, ("usd", "up"))
    return _finished(layers, records, title, 340)


@debug_mode(False)
def speedup_spec(measurements: Any, *, guess: Any = None, paper: Paper = None,
                 title: str | None = None) -> alt.LayerChart:
    """How many predictions a second each candidate makes for one of the reference's, with intervals.

    The arguments are those of `chart`.
    """
    records = listed(measurements)
    rows, palette = _rows(records)
    expected = _expected(records, guess, paper)
    base = alt.Chart(alt.Data(values=rows))
    legend = parts.line_legend("strategy")
    colour = palette.colour(legend)
    top = max([1.0, *(row["speedup_high"] for row in rows), *(one["speedup"] for one in expected)]) * 1.08
    x = parts.axis(alt.X, "speedup", "speed-up, with 95% interval", alt.Scale(domain=[0, top], nice=False),
                   format="~r", tickCount=6)
    y = parts.names_axis("model", [row["model"] for row in rows])
    no_gain = alt.Chart(alt.Data(values=[{"speedup": 1}]))
    layers = [no_gain.mark_rule(style="no-gain").encode(x=x),
              base.mark_bar(height=4, opacity=0.35).encode(x=alt.X("one:Q"), x2=alt.X2("speedup:Q"), y=y, color=colour),
              base.mark_rule(strokeWidth=1.5).encode(x=alt.X("speedup_low:Q"), x2=alt.X2("speedup_high:Q"), y=y,
                                                     color=colour),
              palette.marks(base, _TOOLTIP, legend).encode(x=x, y=y)]
    for one in (one for one in expected if "model" not in one):
        layers += _expected_rule(one["speedup"], one)
    if by_model := [one for one in expected if "model" in one]:
        ticks = alt.Chart(alt.Data(values=by_model))
        tip = alt.Tooltip("text:N")
        layers += [ticks.mark_tick(thickness=2, size=24, orient="vertical").encode(x=x, y=y, tooltip=tip),
                   ticks.mark_text(dy=-18, fontSize=11).encode(x=x, y=y, text=alt.Text("text:N"))]
    return _finished(layers, records, title, max(120, parts.rows_height([row["model"] for row in rows], 52)))


chart = parts.drawn(cost_spec, "chart")
speedups = parts.drawn(speedup_spec, "speedups")


def _rows(records: list[Measurement]) -> tuple[list[dict[str, Any]], parts.Palette]:
    rows = [_row(record, index == 0) for index, record in enumerate(records)]
    return rows, parts.Palette.of("kind", [row["kind"] for row in rows])


def _row(record: Measurement, reference: bool) -> dict[str, Any]:
    kind = "reference" if reference else record.strategy
    return {"model": record.model, "kind": kind, "inside": parts.inside(kind, record.provenance),
            "provenance": record.provenance, "one": 1,
            "accuracy": record.accuracy, "low": record.accuracy_low, "high": record.accuracy_high,
            "usd": record.usd_per_million, "usd_low": record.usd_per_million * record.speedup / record.speedup_high,
            "usd_high": record.usd_per_million * record.speedup / record.speedup_low,
            "speedup": record.speedup, "speedup_low": record.speedup_low, "speedup_high": record.speedup_high,
            "cost": f"${two(record.usd_per_million)} per million",
            "right": f"{percent(record.accuracy)} "
                     f"({interval(100 * record.accuracy_low, 100 * record.accuracy_high)})",
            "constant": percent(record.majority), "macro_f1": two(record.macro_f1), "weakest": _weakest(record),
            "change": "the reference" if reference else change(record),
            "times": f"{two(record.speedup)}x ({two(record.speedup_low)} to {two(record.speedup_high)})"}


def _weakest(record: Measurement) -> str:
    recall = percent(record.weakest_recall)
    return f"{record.weakest_class}: {recall} found" if record.weakest_class else recall


def _constant(records: list[Measurement], up: parts.Span) -> list[alt.Chart]:
    """The accuracy of always giving the most frequent label: a line, at the lower edge where it lies below."""
    layers = []
    for majority in dict.fromkeys(record.majority for record in records if record.majority is not None):
        below = "" if majority >= up.low else ", below"
        layers += parts.rule("y", min(max(majority, up.low), up.high), f"constant answer: {percent(majority)}{below}",
                             dash=parts.CONSTANT_DASH)
    return layers


def _expected(records: list[Measurement], guess: Any, paper: Paper) -> list[dict[str, Any]]:
    """Draw the guesses made before the measurement, each with its label; those for one model name it."""
    expected = []
    guess = parts.value_of(guess)
    if guess is not None and records:
        expected.append({"speedup": float(guess), "text": f"your guess {two(guess)}x", "row": 0})
    by_model = paper if isinstance(paper, Mapping) else {} if paper is None else {None: paper}
    models = {None, *(record.model for record in records)} if records else set()
    for model, value in by_model.items():
        if model in models:
            expected.append({"speedup": float(value), "text": f"on paper {two(value)}x", "row": 1,
                             **({"model": model} if model else {})})
    return [one for one in expected if one["speedup"] > 0]


def _expected_rule(value: float, one: dict[str, Any]) -> list[alt.Chart]:
    text = f"{one['text']} for {one['model']}" if "model" in one else one["text"]
    return parts.rule("x", value, text, dash=(parts.GUESS_DASH, parts.PAPER_DASH)[one["row"]], row=one["row"])


def _finished(layers: list[alt.Chart], records: list[Measurement], title: str | None, height: int) -> alt.LayerChart:
    title = short_finding(records) if title is None else title
    description = "; ".join(
        f"{r.model}: accuracy {percent(r.accuracy)}{_beside(r)}, ${two(r.usd_per_million)} per million predictions, "
        f"{two(r.speedup)} times the reference's speed ({r.provenance})" for r in records)
    separate = alt.ScaleResolveMap(fill="independent", stroke="independent", strokeDash="independent",
                                   shape="independent")
    return parts.finished([*layers, parts.provenance_legend()], title, description, height,
                          subtitle=origins(records, brief=True), resolve=alt.Resolve(scale=separate))


def _beside(record: Measurement) -> str:
    return "" if record.majority is None else (f" (constant answer {percent(record.majority)}, macro F1 "
                                               f"{two(record.macro_f1)}, {_weakest(record)})")


def _cost_span(values: list[float]) -> parts.Span:
    values = [value for value in values if value > 0] or [1.0]
    return parts.Span(min(values) / 1.25, max(values) * 1.25, log=True)


def _floor(rows: list[dict[str, Any]]) -> float:
    """Accuracy below which a mark is drawn at the lower edge, so that the others are not squeezed together."""
    near = [row["low"] for row in rows if row["accuracy"] >= rows[0]["accuracy"] - MAX_LOSS]
    return min(near) - 0.02 if 0 < len(near) < len(rows) else 0.0


def _accuracy_span(rows: list[dict[str, Any]]) -> parts.Span:
    """Of what is drawn."""
    low = min((row["up_low"] for row in rows), default=0.0)
    high = max((row["up_high"] for row in rows), default=1.0)
    room = max(0.02, 0.12 * (high - low))
    return parts.Span(max(0.0, low - room), min(1.0, high + room))
