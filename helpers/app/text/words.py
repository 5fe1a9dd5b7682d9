"""Sentences, big figures and checks: the words between the charts."""

import functools
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from IPython.display import HTML

from helpers.app.records import listed
from helpers.app.text.figures import count, percent, signed, two, with_minus
from helpers.app.text.findings import beside_the_constant, chosen, finding, no_verdict, origins, ratio
from helpers.app.text.glossary import explained
from helpers.lab.measuring.measurement import Measurement, Score
from helpers.lab.money.costs import DEFAULT_OFFER, break_even, offer


@functools.cache
def style() -> str:
    """The style sheet of everything that is shown, as an element."""
    css = (Path(__file__).parents[1] / "static" / "app.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def shown(body: str) -> HTML:
    """Our HTML with its style, as something that a cell displays."""
    return HTML(style() + body)


def verdict(text: str, of: Sequence[Measurement | Score] = (), origin: str = "") -> HTML:
    """The answer in one big sentence; markup in it is shown, not obeyed.

    Args:
        text: the sentence.
        of: the records or scores that it rests on. If one of them has learned no more than the constant answer, that is
            said in the sentence's place; what was not measured here is named under it, with its data and machine.
        origin: the same of a recorded table (`attrs["origin"]`).

    >>> from helpers import app
    >>> from helpers.lab import score
    >>> said = app.verdict("99% right.", of=[score([0] * 100, [0] * 99 + [1], names=["no", "yes"])])
    >>> "99% right." in said.data, "learned no more than the constant answer" in said.data
    (False, True)
    """
    elsewhere = [one for one in of if isinstance(one, Measurement) and one.provenance != "measured"]
    return shown(explained_html(beside_the_constant(of) or text) + notes_html([*origins(elsewhere), origin]))


def verdict_html(text: str) -> str:
    """The verdict's element without its style."""
    return _sentence(html.escape(with_minus(text)))


def explained_html(text: str) -> str:
    """The same, with the glossary's terms as buttons and after it what they open."""
    body, meanings = explained(with_minus(text))
    return _sentence(body) + meanings


def _sentence(body: str) -> str:
    return f"<div class='app-verdict mathjax_ignore'>{body}</div>"


def check_html(passed: bool, yes: str, no: str, hints: Sequence[str] = ()) -> str:
    """Whether an exercise is solved: `yes` says what was understood, `no` what is wrong, and then hints."""
    kind, word, text = ("yes", "Right.", yes) if passed else ("no", "Not yet.", no)
    items = "".join(f"<div>{html.escape(hint)}</div>" for hint in hints)
    return (f"<div class='app-check {kind} mathjax_ignore' role='status'><b>{word}</b> {html.escape(text)}{items}"
            "</div>")


def tiles(pairs: Iterable[tuple[str, str]], origin: str = "") -> HTML:
    """Big figures side by side, each with what it is under it; `origin` says where they were recorded, if they were.

    >>> from helpers import app
    >>> figures = app.tiles([("$1,200", "a month"), ("0.5%", "later than the target")])
    """
    return shown(tiles_html(pairs) + notes_html([origin]))


def tiles_html(pairs: Iterable[tuple[str, str]]) -> str:
    """The figures' elements without their style."""
    body = "".join(f"<div class='app-figure'><b>{html.escape(with_minus(big))}</b>"
                   f"<span>{html.escape(with_minus(small))}</span></div>" for big, small in pairs)
    # Two dollar signs would be taken for a formula.
    return f"<div class='app-figures mathjax_ignore'>{body}</div>"


def headline(measurements: Any) -> HTML:
    """The finding and its three figures: times cheaper, points of accuracy, break-even.

    The figures are those of the cheapest candidate that is significantly cheaper and loses at most 2 points of
    accuracy, both at 95%, or of the fastest one when there is none; the sentence says which. The break-even counts
    the computing that made the candidate, at the price of the default offer, and no hours of work.

    >>> from helpers import app
    >>> opening = app.headline(app.recorded("1_model_optimization"))
    """
    return shown(headline_html(listed(measurements)))


def notes(lines: Iterable[str]) -> HTML:
    """Small sentences under a chart, such as why a row is missing from it.

    >>> from helpers import app
    >>> why = app.notes(["bf16: the runtime has no such products."])
    """
    return shown(notes_html(line.removesuffix(".") for line in lines))


def notes_html(lines: Iterable[str]) -> str:
    """Small lines under what they are about, such as where it was recorded; empty ones are left out."""
    return "".join(f"<div class='app-note mathjax_ignore'>{html.escape(with_minus(line))}.</div>"
                   for line in lines if line)


def headline_html(records: Sequence[Measurement]) -> str:
    """The headline's elements without their style."""
    body = explained_html(finding(records)) + notes_html(origins(records))
    if len(records) < 2:
        return body
    if no_verdict(records):
        first = next(record for record in records if record.learned is False)
        return body + tiles_html([
            (percent(first.accuracy), f"of the rows right: {first.model}"),
            (percent(first.majority), "right by always giving the most frequent label"),
            (percent(first.weakest_recall), f"of the weakest class found: {first.weakest_class}")])
    candidate = chosen(records)
    after = break_even(records[0], candidate, offer(DEFAULT_OFFER))
    if after is None:
        figure = ("never", f"break-even: no cheaper to run on {DEFAULT_OFFER}")
    elif after < 1:
        figure = ("at once", f"break-even: it took no extra work (on {DEFAULT_OFFER})")
    else:
        figure = (count(after), f"predictions to break even, on {DEFAULT_OFFER}")
    low, high = 100 * candidate.accuracy_delta_low, 100 * candidate.accuracy_delta_high
    times, times_low, times_high, word = ratio(candidate)
    return body + tiles_html([
        (f"{two(times)}x", f"{word} ({two(times_low)} to {two(times_high)})"),
        (signed(100 * candidate.accuracy_delta), f"points of accuracy ({signed(low)} to {signed(high)})"), figure])
