"""The reader's guess, before a result is shown."""

import html
import math

import ipywidgets
import traitlets
from IPython.display import HTML, display

from helpers.app.panels.frame import Names
from helpers.app.text.figures import two
from helpers.app.text.words import style
from helpers.lab.errors import InputError


class Guess(traitlets.HasTraits):
    """A participant's guess; `value` follows the slider."""

    value = traitlets.Float()

    def __init__(self, label: str, low: float, high: float):
        super().__init__(value=(low + high) / 2)
        self.label = label
        step = (high - low) / 100
        decimals = max(0, -math.floor(math.log10(step)))  # '20.5', never '2e+1'
        self.slider = ipywidgets.FloatSlider(value=self.value, min=low, max=high, step=step,
                                             readout_format=f".{decimals}f", layout={"width": "min(100%, 480px)"})
        self.slider.description_allow_html = False
        self.slider.tooltip = label
        traitlets.link((self.slider, "value"), (self, "value"))
        text = ipywidgets.HTML(f"<div class='app-status'>Your guess: {html.escape(label)}</div>")
        self.widget = ipywidgets.VBox([text, self.slider, Names()])

    def __repr__(self) -> str:
        return f"Your guess of {self.label}: {two(self.value)}"


def guess(label: str, low: float, high: float) -> Guess:
    """Ask the participant before the result is shown; the slider appears at once.

    Args:
        label: what is to be guessed, as in 'speed-up after zeroing half of the weights'.
        low, high: the ends of the slider, which stands in the middle at first.

    Returns:
        An object whose `value` is the guess. Hand it to a chart.
    """
    if not low < high:
        raise InputError(f"A guess needs low < high, not {low} and {high}.")
    slider = Guess(label, low, high)
    display(HTML(style()), slider.widget)
    return slider
