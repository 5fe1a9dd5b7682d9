"""A model in the visitor's own browser: loaded on request, in parts, and measured there beside the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from helpers.app.jobs.job import Job
from helpers.app.panels.frame import JobButtons, PanelFrame, Status, source
from helpers.app.problems import guarded
from helpers.app.text.on_device import DeviceRun, Portable, device_figures, device_verdict
from helpers.app.text.words import notes_html, tiles_html, verdict_html
from helpers.lab.errors import InputError
from helpers.lab.money.scenario import Scenario

_STATIC = Path(__file__).parents[1] / "static"
# ONNX Runtime for browsers, gzip: `python -m recording.onnx_web` writes both.
RUNTIME_SCRIPT, RUNTIME_WASM = _STATIC / "onnx-web.js.gz", _STATIC / "onnx-web.wasm.gz"
PART_BYTES = 2_000_000  # of one message, between which the line is free for others
ROUNDS = 3  # of all texts, timed in the browser
NOT_YET = "Nothing has run on this device yet: press the button. Until then nothing is loaded."


class Device(anywidget.AnyWidget):
    """The part of the panel that lives in the browser: it asks for what it needs, runs it and sends what it measured.

    Args:
        take: is given a run's message and buffers.
        fail: is given a sentence when something goes wrong there or here.

    What it is sent goes over the line to this kernel, which belongs to one visitor; no address leads to it.
    """

    _esm = source("on_device.js")
    worker = traitlets.Unicode().tag(sync=True)

    def __init__(self, take: Callable[[dict[str, Any], list[memoryview]], None], fail: Callable[[str], None]) -> None:
        super().__init__(worker=source("wordpiece.js") + source("on_device_worker.js"))
        self._take, self._fail = take, fail
        self._files: dict[str, bytes] = {}
        self._left: set[tuple[str, int]] = set()  # parts that may be asked for: each once a run
        self.on_msg(guarded(fail)(self._answer))

    def begin(self, model: Portable) -> None:
        """Let the browser load the model and answer its texts."""
        self._files = {"script": RUNTIME_SCRIPT.read_bytes(), "wasm": RUNTIME_WASM.read_bytes(), "graph": model.graph,
                       "pieces": "\n".join(model.pieces).encode()}
        counts = {name: -(-len(content) // PART_BYTES) for name, content in self._files.items()}
        self._left = {(name, number) for name, count in counts.items() for number in range(count)}
        self.send({"begin": {"counts": counts, "rules": model.rules, "labels": list(model.labels),
                             "texts": list(model.texts), "rounds": ROUNDS}})

    def _answer(self, _widget: Any, message: Any, buffers: list[memoryview]) -> None:
        if not isinstance(message, dict):
            raise InputError("Your browser sent something that this page does not know. Reload it.")
        if "part" in message:
            self._send_part(message.get("part"), message.get("number"))
        elif "failed" in message:
            self._fail(f"It does not run in this browser: {str(message['failed'])[:300]}")
        else:
            self._take(message, buffers)

    def _send_part(self, name: Any, number: Any) -> None:
        if not isinstance(name, str) or not isinstance(number, int) or (name, number) not in self._left:
            return  # asked for twice, as by a second tab on the same kernel, which hears each answer as well
        self._left.discard((name, number))
        start = number * PART_BYTES
        self.send({"part": name, "number": number}, [self._files[name][start:start + PART_BYTES]])


class OnDevice(PanelFrame):
    """A button that brings a model to the reader's own device, and what it answers and needs there.

    Args:
        prepare: `prepare(report)` gives the model as `for_the_browser` does; it runs in another process (see Job).
        scenario: gives the reader's numbers, by which the server's dollars are counted; by default the default ones.

    `run` is the latest run, None before the first; `verdict` is its sentence.
    """

    def __init__(self, prepare: Callable[..., Portable], scenario: Callable[[], Scenario] = Scenario) -> None:
        self.job, self._scenario = Job(prepare), scenario
        self.run: DeviceRun | None = None
        self._model: Portable | None = None  # that the browser has, or loads
        self._status = Status()
        self._top, self._figures = (ipywidgets.HTML(layout={"width": "100%"}) for _ in range(2))
        self._top.value = notes_html([NOT_YET.rstrip(".")])
        self._device = Device(self._take, self._status.fail)
        buttons = JobButtons(self.job, "Run it on my device", dict, self._status)
        self.job.observe(guarded(self._status.fail)(self._follow), "state")
        super().__init__([self._top, buttons, self._status, self._device, self._figures])

    @property
    def verdict(self) -> str:
        """Verdict on the latest run."""
        if self._model is None or self.run is None:
            return NOT_YET
        return device_verdict(self._model, self.run, _runtime_bytes(), self._scenario())

    def _follow(self, _change: Any) -> None:
        if self.job.state == "done":
            self._model, self.run = self.job.result, None
            self._status.say("Made. Your browser loads it now.")
            self._device.begin(self._model)

    def _take(self, message: dict[str, Any], buffers: list[memoryview]) -> None:
        if self._model is None:
            raise InputError("Nothing was sent to your browser yet: press the button first.")
        self.run = DeviceRun.of_message(message, buffers, self._model)
        self._status.say("Measured on your device just now.")
        self._top.value = verdict_html(self.verdict)
        self._figures.value = tiles_html(device_figures(self._model, self.run, _runtime_bytes()))


def _runtime_bytes() -> int:
    return sum(path.stat().st_size for path in (RUNTIME_SCRIPT, RUNTIME_WASM))
