"""Parts that all panels share: layout, status line, downloads, a job's buttons, a notice of an ended session."""

import html
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from helpers.app.jobs.job import BUSY, Job
from helpers.app.problems import guarded
from helpers.app.text.figures import seconds

_STATIC = Path(__file__).parents[1] / "static"
MIN_WIDTHS = {"controls": "280px", "results": "440px"}  # below these, one stands under the other


def source(name: str) -> str:
    """A file that browsers run or apply."""
    return (_STATIC / name).read_text(encoding="utf-8")


class Download(anywidget.AnyWidget):
    """One button for each file.

    Args:
        makers: format name -> (file name, mime type, function that gives the text when pressed).
        tell: is given a sentence when making a file fails.
    """

    _esm = source("download.js")
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, makers: Mapping[str, tuple[str, str, Callable[[], str]]], tell: Callable[[str], None]):
        super().__init__(names=list(makers))
        self._makers = makers
        self._tell = tell
        self._making: set[str] = set()
        self.on_msg(self._save)

    def _save(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        """In a thread: the first drawing of a report takes a second, and Cancel must not wait for it.

        A file that is being made is not made a second time: whoever asks a thousand times gets no thousand threads.
        """
        name = str(message.get("make"))
        if name in self._makers and name not in self._making:
            self._making.add(name)
            threading.Thread(target=guarded(self._tell)(self._make), args=(name,), daemon=True).start()

    def _make(self, name: str) -> None:
        file, mime, make = self._makers[name]
        try:
            self.send({"file": file, "mime": mime}, [make().encode()])
        finally:
            self._making.discard(name)


class CopyCode(anywidget.AnyWidget):
    """A button that copies a script and shows it.

    Args:
        make: gives the script when pressed.
        tell: is given a sentence when making it fails.
    """

    _esm = source("copy_code.js")

    def __init__(self, make: Callable[[], str], tell: Callable[[str], None]):
        super().__init__()
        self._make = make
        self.on_msg(guarded(tell)(self._answer))

    def _answer(self, _widget: Any, _message: Any, _buffers: Any) -> None:
        self.send({"code": self._make()})


class Names(anywidget.AnyWidget):
    """Names the sliders and progress bars of the panel that it stands in; ipywidgets leaves them nameless."""

    _esm = source("names.js")


class Liveness(anywidget.AnyWidget):
    """A banner 'Session ended' once the page's kernel is gone, and the style sheet of all that we show."""

    _esm = source("liveness.js")
    _css = source("app.css")


class PanelFrame(ipywidgets.VBox):
    """A panel's parts one under the other, as wide as the page, with the style sheet and the banner."""

    def __init__(self, parts: Sequence[ipywidgets.Widget]) -> None:
        super().__init__([*parts, Names(), Liveness()], layout={"width": "100%"})
        self.add_class("app-panel")


class Status(ipywidgets.HTML):
    """A line under the controls, read out by screen readers when it changes."""

    def __init__(self) -> None:
        super().__init__(layout={"width": "100%"})

    def say(self, sentence: str, error: bool = False) -> None:
        """Show a sentence; markup in it is shown, not obeyed."""
        kind = "app-status error" if error else "app-status"
        self.value = f"<div class='{kind}' role='status' aria-live='polite'>{html.escape(sentence)}</div>"

    def fail(self, sentence: str) -> None:
        """Show what went wrong."""
        self.say(sentence, error=True)


class JobButtons(ipywidgets.VBox):
    """Run and Cancel for a job; a bar and the status line follow it.

    Args:
        job: what is run.
        label: of the button that starts it.
        settings: gives the job's settings when that button is pressed.
        status: shows progress, failure and cancelling; what it shows of a job that is done is up to the panel.
    """

    def __init__(self, job: Job, label: str, settings: Callable[[], dict[str, Any]], status: Status) -> None:
        self._job, self._status = job, status
        self.run = ipywidgets.Button(description=label, button_style="primary",
                                     layout={"width": "auto", "flex": "1 1 auto"})
        self.cancel = ipywidgets.Button(description="Cancel", disabled=True, layout={"width": "auto"})
        self._bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0, layout={"width": "100%", "visibility": "hidden"})
        self.run.on_click(guarded(status.fail)(lambda _button: job.start(**settings())))
        self.cancel.on_click(guarded(status.fail)(lambda _button: job.cancel()))
        job.observe(guarded(status.fail)(self._follow))
        super().__init__([row([self.run, self.cancel]), self._bar])

    def _follow(self, _change: Any) -> None:
        job, busy = self._job, self._job.state in BUSY
        self.run.disabled, self.cancel.disabled = busy, not busy
        self._bar.layout.visibility = "visible" if busy else "hidden"
        self._bar.value = job.progress
        if busy:
            left = f", about {seconds(job.seconds_left)} left" if job.seconds_left is not None else ""
            done = "waiting" if job.state == "waiting" else f"{100 * job.progress:.0f}%"
            self._status.say(f"{done}: {job.message}{left}")
        elif job.state == "failed":
            self._status.fail(job.error)
        elif job.state == "cancelled":
            self._status.say("Cancelled. What had been measured by then is shown.")


def row(children: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Side by side while there is room."""
    return ipywidgets.Box(children, layout={"display": "flex", "flex_flow": "row wrap", "width": "100%"})


def beside(controls: ipywidgets.Widget, results: ipywidgets.Widget) -> ipywidgets.Box:
    """Controls on the left, what they show on the right; on a narrow page under each other."""
    for widget, flex in ((controls, f"0 1 {MIN_WIDTHS['controls']}"), (results, f"1 1 {MIN_WIDTHS['results']}")):
        widget.layout.flex, widget.layout.min_width = flex, "0"
    results.add_class("app-results")
    box = row([controls, results])
    box.add_class("app-row")
    return box


def take_away(files: Mapping[str, tuple[str, str, Callable[[], str]]], code: Callable[[], str],
              tell: Callable[[str], None]) -> ipywidgets.Box:
    """Buttons for files (see Download) and for the result as code."""
    box = row([Download(files, tell), CopyCode(code, tell)])
    box.add_class("app-take-away")
    return box
