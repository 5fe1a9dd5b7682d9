"""The bill as it is shown and sent on: on the page, as one HTML file, as Markdown and as JSON."""

import dataclasses
import html
import json
from collections.abc import Iterator

from helpers.app.export.documents import now, page, pairs_html
from helpers.app.text.billing.amounts import grams, months, usd, usd_range
from helpers.app.text.billing.bills import Answer, Step
from helpers.app.text.figures import signed
from helpers.app.text.words import tiles_html, verdict_html
from helpers.lab.money.bill import Range, repaid_in
from helpers.lab.money.scenario import Scenario

TITLE = "What it costs, and what it could cost"


def bill_html(answer: Answer) -> str:
    """The answer's elements without their style: sentences, figures, the waterfall, what does not multiply, sources."""
    broken = "".join(f"<div class='app-check no'>{html.escape(one)}</div>" for one in answer.broken)
    overlaps = _items(answer.overlaps)
    return (f"{verdict_html(answer.headline)}{broken}<p><b>{html.escape(answer.advice)}</b></p>"
            f"{tiles_html(tiles_of(answer))}{f'<p>{html.escape(answer.beside)}</p>' if answer.beside else ''}"
            f"<h2>From today to all steps, dollars a month</h2>{waterfall_html(answer)}"
            + (f"<h2>What does not multiply or save</h2>{overlaps}" if overlaps else "")
            + f"<details class='app-how'><summary>How was this computed?</summary>{_items(answer.sources)}</details>")


def tiles_of(answer: Answer) -> list[tuple[str, str]]:
    """The big figures, each with what it is: today, with all steps, points, grams, months."""
    busy = [f"; {usd(one.value)} of it for busy seconds" for one in answer.busy_usd or ()] or ["", ""]
    then = answer.then
    spread = f" ({usd(then.low)} to {usd(then.high)})" if then.low != then.high else ""
    tiles = [(usd(answer.today.value), f"a month today{busy[0]}"),
             (usd(then.value), f"a month with all steps{spread}{busy[1]}")]
    if answer.points is not None:
        tiles.append((signed(answer.points.value),
                      f"points of accuracy ({signed(answer.points.low)} to {signed(answer.points.high)})"))
    if answer.gco2e is not None:
        today, later = answer.gco2e
        tiles.append((grams(later.value), f"CO2e of busy seconds a month ({grams(later.low)} to {grams(later.high)}), "
                                          f"{grams(today.value)} today"))
    return [*tiles, (months(answer.repaid_months), _to_repay(answer))] if answer.spent_usd else tiles


def _to_repay(answer: Answer) -> str:
    soonest, latest = (months(repaid_in(answer.spent_usd, answer.today.value - bound))
                       for bound in (answer.then.low, answer.then.high))
    number, _, unit = soonest.partition(" ")
    first = number if unit and latest.endswith(f" {unit}") else soonest  # 18 to 23 months
    spread = "" if soonest == latest else f" ({first} to {latest})"
    return f"to repay {usd(answer.spent_usd)} of work and computing for all steps{spread}"


def waterfall_html(answer: Answer) -> str:
    """A bar a line, from zero: today, what each step leaves, and all steps; it draws without a script."""
    counted = [step.usd for step in answer.steps if step.usd is not None]
    scale = max(one.high for one in (answer.today, answer.then, *counted)) or 1.0
    rows, before = [_bar("Today", "", answer.today, None, scale)], answer.today
    for step in answer.steps:
        rows.append(_bar(f"{step.strategy}: {step.name}", step.note, step.usd, before, scale))
        before = step.usd or before
    rows.append(_bar("With all steps", "", answer.then, None, scale))
    return (f"<ol class='app-waterfall'>{''.join(rows)}</ol><div class='app-note'>The number is the page. Green is "
            f"saved, orange is added; a line through the end is the 95% interval. Full width is {usd(scale)}.</div>")


def _bar(name: str, note: str, figure: Range | None, before: Range | None, scale: float) -> str:
    """One line; `before` is what the bill was, None for a bar from zero."""
    parts, amount = "", "not counted"
    if figure is not None:
        start, end = sorted((0.0 if before is None else before.value, figure.value))
        kind = "whole" if before is None else "saved" if figure.value <= before.value else "added"
        parts, amount = _part(kind, start, end, scale), usd_range(figure)
        if figure.low != figure.high:
            parts += _part("interval", figure.low, figure.high, scale)
    small = f"<small>{html.escape(note)}</small>" if note else ""
    return (f"<li><b>{html.escape(name)}</b><span class='bar' aria-hidden='true'>{parts}</span>"
            f"<span class='figure'>{html.escape(amount)}</span>{small}</li>")


def _part(kind: str, start: float, end: float, scale: float) -> str:
    return f"<i class='{kind}' style='left:{100 * start / scale:.2f}%;width:{100 * (end - start) / scale:.2f}%'></i>"


def _items(lines: tuple[str, ...]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def settings_of(scenario: Scenario) -> dict[str, str]:
    """Each field as it is labelled, with its value and unit."""
    settings = {}
    for field in dataclasses.fields(scenario):
        value, unit = getattr(scenario, field.name), field.metadata.get("unit", "")
        number = value if isinstance(value, str) or value is None else f"{value:,.12g}"
        settings[field.metadata["label"]] = (
            "not set" if number is None else f"${number}{unit[1:]}" if unit.startswith("$") else
            f"{number}{'' if unit == '%' else ' '}{unit}".rstrip())
    return settings


def report(answer: Answer) -> str:
    """One HTML file: title, sentence, figures, bars, settings, machine, sources and dates."""
    shown = bill_html(answer).replace("<details", "<details open")
    return page(TITLE, [f"<h1>{TITLE}</h1>", shown, f"<h2>The numbers behind it</h2>"
                        f"{pairs_html(settings_of(answer.scenario))}"])


def as_markdown(answer: Answer) -> str:
    """The same for a mail or a wiki."""
    return "\n".join(_markdown(answer)) + "\n"


def _markdown(answer: Answer) -> Iterator[str]:
    yield from (f"# {TITLE}", "", answer.headline, "", f"**{answer.advice}**", "")
    yield from (f"- Budget broken: {one}" for one in answer.broken)
    yield from (f"- {big} {small}" for big, small in tiles_of(answer))
    yield from ([f"- {answer.beside}"] if answer.beside else [])
    yield from ("", "| page | step | a month after it | |", "| --- | --- | --- | --- |",
                _row("", "today", usd_range(answer.today), ""))
    yield from (_row(step.strategy, step.name, _after(step), step.note) for step in answer.steps)
    yield from (_row("", "with all steps", usd_range(answer.then), ""), "")
    yield from (f"- {one}" for one in answer.overlaps)
    yield from ("", "## The numbers behind it", "")
    yield from (f"- {name}: {value}" for name, value in settings_of(answer.scenario).items())
    yield from ("", "## Sources", "")
    yield from (f"- {one}" for one in answer.sources)
    yield from ("", f"Written {now()}.")


def _after(step: Step) -> str:
    return "not counted" if step.usd is None else usd_range(step.usd)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def as_json(answer: Answer) -> str:
    """Every figure and sentence; a figure that is not known is null."""
    return json.dumps({**dataclasses.asdict(answer), "written": now()}, ensure_ascii=False, indent=1, allow_nan=False)
