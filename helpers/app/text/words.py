"""Sentences, checks and guesses: the words between the numbers."""

import functools
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import traitlets
from IPython.display import HTML, display

from helpers.app.export.records import listed
from helpers.app.panels.findings import best, finding
from helpers.app.panels.page_widgets import Names
from helpers.app.text.figures import count, ratio, signed, two
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.money.costs import DEFAULT_OFFER, break_even, offer


@functools.cache
def style() -> str:
    """The style sheet of everything that is shown, as an element."""
    css = (Path(__file__).parents[1] / "static" / "app.css").read_text(encoding="utf-8")
    return f"<style>{css}</style>"


def shown(body: str) -> HTML:
    """Our HTML with its style, as something that a cell displays."""
    return HTML(style() + body)


class Guess(traitlets.HasTraits):
    """A participant's guess; `value` follows the slider."""

    value = traitlets.Float()

    def __init__(self, label: str, low: float, high: float, value: float):
        super().__init__(value=value)
        self.label = label
        self.slider = ipywidgets.FloatSlider(value=value, min=low, max=high, step=(high - low) / 100,
                                             readout_format=".2g", layout={"width": "min(100%, 480px)"})
        self.slider.description_allow_html = False
        self.slider.tooltip = label
        traitlets.link((self.slider, "value"), (self, "value"))
        text = ipywidgets.HTML(f"<div class='app-status'>Your guess: {html.escape(label)}</div>")
        self.widget = ipywidgets.VBox([text, self.slider, Names()])

    def __repr__(self) -> str:
        return f"Your guess of {self.label}: {two(self.value)}"


def guess(label: str, low: float, high: float, value: float | None = None) -> Guess:
    """Ask the participant before the result is shown; the slider appears at once.

    Args:
        label: what is to be guessed, as in 'speed-up after zeroing half of the weights'.
        low, high: the ends of the slider.
        value: where it stands first; the middle by default.

    Returns:
        An object whose `value` is the guess. Hand it to a chart.
    """
    if not low < high:
        raise InputError(f"A guess needs low < high, not {low} and {high}.")
    asked = Guess(label, low, high, (low + high) / 2 if value is None else min(high, max(low, value)))
    display(HTML(style()), asked.widget)
    return asked


def verdict(text: str) -> HTML:
    """The answer in one big sentence; markup in it is shown, not obeyed."""
    return shown(verdict_html(text))


def verdict_html(text: str) -> str:
    """The verdict's element without its style."""
    return f"<div class='app-verdict mathjax_ignore'>{html.escape(text)}</div>"


def status_html(sentence: str, error: bool = False) -> str:
    """A line under the controls, read out by screen readers when it changes."""
    kind = "app-status error" if error else "app-status"
    return f"<div class='{kind}' role='status' aria-live='polite'>{html.escape(sentence)}</div>"


def check(passed: bool, yes: str, no: str) -> HTML:
    """Whether an exercise is solved: `yes` says what was understood, `no` what to look at."""
    kind, word, text = ("yes", "Right.", yes) if passed else ("no", "Not yet.", no)
    return shown(f"<div class='app-check {kind} mathjax_ignore' role='status'><b>{word}</b> {html.escape(text)}</div>")


def headline(measurements: Any, *, offer_name: str = DEFAULT_OFFER, hours_of_work: float = 0.0,
             usd_per_hour_of_work: float = 0.0) -> HTML:
    """The finding and its three figures: times cheaper, points of accuracy, break-even.

    The figures are those of the cheapest candidate that surely is cheaper and surely loses at most
    2 points, or of the fastest one when there is none; the sentence says which.
    """
    return shown(headline_html(listed(measurements), offer_name, hours_of_work, usd_per_hour_of_work))


def headline_html(records: Sequence[Measurement], offer_name: str = DEFAULT_OFFER, hours_of_work: float = 0.0,
                  usd_per_hour_of_work: float = 0.0) -> str:
    """The headline's elements without their style."""
    body = verdict_html(finding(records))
    if len(records) < 2:
        return body
    chosen = best(records) or max(records[1:], key=lambda record: record.speedup)
    after = break_even(records[0], chosen, offer(offer_name), hours_of_work, usd_per_hour_of_work)
    if after is None:
        repaid = ("never", f"repaid: no cheaper to run on {offer_name}")
    elif after < 1:
        repaid = ("at once", f"repaid: it took no extra work (on {offer_name})")
    else:
        repaid = (count(after), f"predictions until its making is repaid, on {offer_name}")
    low, high = 100 * chosen.accuracy_delta_low, 100 * chosen.accuracy_delta_high
    times, times_low, times_high, word = ratio(chosen)
    figures = [
        (f"{two(times)}x", f"{word} ({two(times_low)} to {two(times_high)})"),
        (f"{signed(100 * chosen.accuracy_delta)}", f"points of accuracy ({signed(low)} to {signed(high)})"),
        repaid,
    ]
    tiles = "".join(f"<div class='app-figure'><b>{html.escape(big)}</b><span>{html.escape(small)}</span></div>"
                    for big, small in figures)
    return f"{body}<div class='app-figures mathjax_ignore'>{tiles}</div>"
