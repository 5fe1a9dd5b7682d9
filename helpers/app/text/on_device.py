"""Describe a run on the reader's device, beside the server's: answers, latency, bytes and dollars."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from helpers.app.text.figures import two
from helpers.app.text.verdicts import times
from helpers.lab.errors import InputError
from helpers.lab.machine import brief
from helpers.lab.money.scenario import Scenario

MAX_MS = 600_000  # of one answer; what takes longer has been asleep
MAX_MEMORY = 2**34  # bytes; a browser's memory for WebAssembly ends at a quarter of it
_UNREADABLE = "Your browser sent no readable results. Run it once more."


class Portable(Protocol):
    """The return value of `for_the_browser`, documented there."""

    graph: bytes
    pieces: Sequence[str]
    rules: dict[str, Any]
    labels: Sequence[str]
    texts: Sequence[str]
    logits: np.ndarray
    alone_s: np.ndarray
    texts_per_s: float
    machine: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class DeviceRun:
    """The browser's answer: (rounds, n) milliseconds and (n, classes) logits, seconds to load, bytes of memory."""

    ms: np.ndarray
    logits: np.ndarray
    load_s: float
    memory_bytes: int

    @classmethod
    def of_message(cls, message: Any, buffers: Sequence[Any], model: Portable) -> "DeviceRun":
        """The run that a browser's message holds.

        Raises:
            InputError: it holds something else; a page's visitor can send anything.
        """
        rows, classes = model.logits.shape
        sizes = [memoryview(buffer).nbytes for buffer in buffers]
        if not isinstance(message, dict) or len(sizes) != 2 or sizes[1] != 4 * rows * classes:
            raise InputError(_UNREADABLE)
        if not 0 < sizes[0] <= 8 * 100 * rows or sizes[0] % (8 * rows):
            raise InputError(_UNREADABLE)
        ms = np.frombuffer(buffers[0], "<f8").reshape(-1, rows)
        logits = np.frombuffer(buffers[1], "<f4").reshape(rows, classes)
        load_s, memory = message.get("load_s"), message.get("memory_bytes")
        if not (np.isfinite(logits).all() and (ms > 0).all() and (ms <= MAX_MS).all()
                and _is_number(load_s, MAX_MS) and _is_number(memory, MAX_MEMORY)):
            raise InputError(_UNREADABLE)
        return cls(ms, logits, float(load_s), int(memory))


def _is_number(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def ratio_to_server(model: Portable, run: DeviceRun) -> tuple[float, float, float]:
    """How many times faster the device answers one text: (ratio of medians, low, high), by bootstrap over the calls."""
    from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval  # with SciPy: a page opens without

    def ratio(server: np.ndarray, device: np.ndarray, axis: int) -> np.ndarray:
        return np.median(server, axis) / np.median(device, axis)

    server, device = 1000 * np.asarray(model.alone_s), run.ms.ravel()
    low, high = percentile_interval(bootstrap_draws(ratio, server, device, paired=False))
    return float(ratio(server, device, -1)), float(low), float(high)


def same_answers(model: Portable, run: DeviceRun) -> tuple[int, int]:
    """How many of how many texts get the server's label."""
    return int((model.logits.argmax(axis=1) == run.logits.argmax(axis=1)).sum()), len(run.logits)


def device_verdict(model: Portable, run: DeviceRun, runtime_bytes: int, scenario: Scenario) -> str:
    """The finding in three sentences, whichever way it fell.

    Args:
        runtime_bytes: of the program that a device loads beside the model.
        scenario: whose volume and machine the server's dollars are.
    """
    from helpers.lab.measuring.intervals import wilson

    same, rows = same_answers(model, run)
    low, _ = wilson(same, rows)
    p50, p95 = np.percentile(run.ms, [50, 95])
    server_p50, server_p95 = 1000 * np.percentile(model.alone_s, [50, 95])
    answers = (f"Your device gives the server's answer to {'all ' if same == rows else f'{same} of '}{rows} messages "
               f"({low:.0%} of such messages or more, 95%).")
    speed = (f"It takes {two(p50)} ms a message (p95 {two(p95)} ms), the server {two(server_p50)} ms "
             f"(p95 {two(server_p95)} ms) without the way there: your device is "
             f"{times(*ratio_to_server(model, run))}.")
    saved = scenario.volume / model.texts_per_s / 3600 * scenario.machine.on_demand_usd_hour
    loaded = loaded_bytes(model, runtime_bytes) / 1e6
    money = (f"Its answers cost nothing to serve: {scenario.volume / 1e6:,.12g} million a month are ${saved:,.0f} "
             f"of busy seconds on {scenario.offer}. But each device loads {loaded:.0f} MB first.")
    return f"{answers} {speed} {money}"


def device_figures(model: Portable, run: DeviceRun, runtime_bytes: int) -> list[tuple[str, str]]:
    """Figures with what each is: latency there and here, answers, bytes, memory."""
    same, rows = same_answers(model, run)
    largest = float(np.abs(run.logits - model.logits).max())
    p50, p95 = np.percentile(run.ms, [50, 95])
    server_p50, server_p95 = 1000 * np.percentile(model.alone_s, [50, 95])
    return [(f"{two(p50)} ms", f"a message on your device, median of {run.ms.size}; p95 {two(p95)} ms"),
            (f"{two(server_p50)} ms", f"on the server, {brief(model.machine)}; p95 {two(server_p95)} ms"),
            (f"{same} of {rows}", f"answers are the server's; logits differ by {two(largest)} at most"),
            (f"{loaded_bytes(model, runtime_bytes) / 1e6:.1f} MB", "loaded once: program, model and vocabulary; "
             f"ready {two(run.load_s)} s later"),
            (f"{run.memory_bytes / 1e6:,.0f} MB", "of the device's memory while it answers"),
            ("$0", "to serve an answer")]


def loaded_bytes(model: Portable, runtime_bytes: int) -> int:
    """Bytes that a device loads: program, graph and vocabulary."""
    return runtime_bytes + len(model.graph) + sum(len(piece.encode()) + 1 for piece in model.pieces)

