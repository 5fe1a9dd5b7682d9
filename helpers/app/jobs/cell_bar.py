"""Long computations in a cell: a bar under it that never stands still."""

import html
import threading
import time
from typing import Any

import ipywidgets
from IPython import get_ipython
from IPython.display import display

from helpers.app.jobs.job import EVERY_S, TimeLeft
from helpers.app.text.figures import seconds
from helpers.lab.progress import Progress

TICK_S = 1.0


def progress(label: str) -> Progress:
    """Show a bar under the cell, and return what long functions report to; the kernel's stop button is the way out.

    The seconds of a step are counted until the cell ends, so that a step which reports nothing is seen to go on.

    >>> from helpers import app
    >>> report = app.progress("Simulating")  # doctest: +SKIP
    >>> report(0.5, "hour 12 of 24")  # doctest: +SKIP
    """
    return Progress(_Bar(label).report)


class _Bar:
    """A bar with a sentence: what is done, for how long, and how long it will take."""

    def __init__(self, label: str) -> None:
        self._bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "min(100%, 480px)"})
        self._text = ipywidgets.HTML()
        self._label, self._message, self._rest = label, "starting", ""
        self._time_left, self._change, self._ended = TimeLeft(), threading.Lock(), threading.Event()
        self._began = self._since = time.monotonic()
        self._done_at: float | None = None
        self._write()
        display(ipywidgets.VBox([self._bar, self._text]))
        if (shell := get_ipython()) is not None:  # a cell says when it ends, a script does not
            self._events = shell.events
            self._events.register("post_run_cell", self._end)
            threading.Thread(target=self._tick, daemon=True).start()

    def report(self, fraction: float | None, message: str) -> None:
        """Show how far it is; of more than ten reports a second, some."""
        with self._change:
            left, now = self._time_left(fraction), time.monotonic()
            if message != self._message:
                self._message, self._since = message, now
            self._rest = f", about {seconds(left)} left" if left else ""
            self._done_at = now if fraction == 1.0 else None
            if now - self._drawn >= EVERY_S or fraction == 1.0:
                self._bar.value = fraction or 0.0
                self._write()

    def _tick(self) -> None:
        while not self._ended.wait(TICK_S):
            with self._change:
                if time.monotonic() - self._drawn >= TICK_S and not self._ended.is_set():
                    self._write()

    def _write(self) -> None:
        self._drawn = time.monotonic()
        for_s = 0.0 if self._done_at else self._drawn - self._since
        counted = f", for {int(for_s)} s" if for_s >= 2 * TICK_S else ""
        self._text.value = html.escape(f"{self._label}: {self._message}{counted}{self._rest}")

    def _end(self, result: Any = None) -> None:
        self._events.unregister("post_run_cell", self._end)
        with self._change:
            self._ended.set()
            took = seconds((self._done_at or time.monotonic()) - self._began)
            if result is None or result.success:
                self._bar.value = 1.0
                self._text.value = html.escape(f"{self._label}: done in {took}")
            else:
                self._text.value = html.escape(f"{self._label}: ended after {took}, at '{self._message}'")
