"""The reader's guess, before a result is shown."""

import html
import math

import ipywidgets
import traitlets
from IPython.display import HTML, display

from helpers.app.panels.frame import Names
from helpers.app.text.words import style
from helpers.lab.errors import InputError


class Guess(traitlets.HasTraits):
    """A participant's guess. `value` follows the slider, and is NaN until somebody has moved it: nobody has guessed."""

    value = traitlets.Float(math.nan)

    def __init__(self, label: str, low: float, high: float):
        super().__init__()
        self.label = label
        step = (high - low) / 100
        decimals = max(0, -math.floor(math.log10(step)))  # '20.5', never '2e+1'
        self.slider = ipywidgets.FloatSlider(value=(low + high) / 2, min=low, max=high, step=step,
                                             readout_format=f".{decimals}f", layout={"width": "min(100%, 480px)"})
        self.slider.description_allow_html = False
        self.slider.tooltip = label
        self._text = ipywidgets.HTML(self._asked(" Move the slider: until then you have none."))
        self.widget = ipywidgets.VBox([self._text, self.slider, Names()])
        self.slider.observe(self._moved, "value")

    def said(self, form: str) -> str:
        """The guess in a clause, as in 'your guess was {:.1f}'; that there is none where nobody moved the slider."""
        return form.format(self.value) if math.isfinite(self.value) else "you have not guessed"

    def _asked(self, then: str) -> str:
        return f"<div class='app-status'>Your guess: {html.escape(self.label)}.{then}</div>"

    def _moved(self, change: dict) -> None:
        self.value = change["new"]
        self._text.value = self._asked("")

    def __repr__(self) -> str:
        return f"{self.label}: {self.said('your guess is {:.3g}')}"


def guess(label: str, low: float, high: float) -> Guess:
    """Ask the participant before the result is shown; the slider appears at once.

    Args:
        label: what is to be guessed, as in 'speed-up after zeroing half of the weights'.
        low, high: the ends of the slider, which stands in the middle at first: that is no guess yet.

    Returns:
        An object whose `value` is the guess, NaN before there is one. Hand it to a chart, and `said` to a sentence.
    """
    if not low < high:
        raise InputError(f"A guess needs low < high, not {low} and {high}.")
    slider = Guess(label, low, high)
    display(HTML(style()), slider.widget)
    return slider
