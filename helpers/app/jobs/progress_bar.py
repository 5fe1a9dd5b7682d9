"""A bar for a long cell; the kernel's stop button is the way out."""

import html
import time

import ipywidgets
from IPython.display import display

from helpers.app.text.figures import seconds
from helpers.lab.progress import Progress

EVERY_S = 0.1  # more messages than ten a second only slow the work down


def progress(label: str) -> Progress:
    """Show a bar, and return what long functions report to: (fraction or None while waiting, message)."""
    bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "min(100%, 480px)"})
    text = ipywidgets.HTML(f"{html.escape(label)}: starting")
    display(ipywidgets.VBox([bar, text]))
    began, last = time.monotonic(), 0.0

    def report(fraction: float | None, message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY_S and fraction != 1.0:
            return
        last = now
        bar.value = fraction or 0.0
        left = ""
        if fraction and 0.05 < fraction < 1:
            left = f", about {seconds((now - began) * (1 - fraction) / fraction)} left"
        text.value = f"{html.escape(label)}: {html.escape(message)}{left}"

    return Progress(report)
