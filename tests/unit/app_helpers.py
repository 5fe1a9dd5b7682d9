"""What the tests of helpers.app share: a made-up record, and waiting for another thread or process."""

import contextlib
import time

import psutil

from helpers.lab.measuring.measurement import Measurement


def record(model: str = "base", speedup: float = 1.0, accuracy: float = 0.9, *, strategy: str = "baseline",
           provenance: str = "recorded", **changed: object) -> Measurement:
    """A made-up record; its reference is right 90% of the time and has speed-up 1."""
    delta = accuracy - 0.9
    is_reference = speedup == 1
    fields = {
        "task": "made up", "model": model, "strategy": strategy, "settings": {}, "accuracy": accuracy,
        "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02, "accuracy_delta": delta,
        "accuracy_delta_low": delta - 0.01, "accuracy_delta_high": delta + 0.01, "macro_f1": accuracy,
        "calibration_error": 0.01, "rows": 800, "speedup": speedup, "speedup_low": 1 if is_reference else speedup * 0.8,
        "speedup_high": 1 if is_reference else speedup * 1.25, "p50_ms": 8.0, "p95_ms": 9.0, "p99_ms": 10.0,
        "throughput_per_s": 100.0 * speedup, "batch_size": 8, "threads": 2, "artefact_bytes": 90_000_000,
        "parameters": 22_700_000, "macs": None, "peak_bytes": None, "joules_low": None, "joules": None,
        "joules_high": None, "energy_method": "none", "made_in_s": 3600.0, "usd_per_million": 0.2 / speedup,
        "reference": "base", "machine": {}, "key": "0" * 64, "provenance": provenance,
        "measured_at": "2026-01-02T00:00:00+00:00",
    }
    return Measurement(**{**fields, **changed})


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def commands_of(processes: list[psutil.Process]) -> str:
    """Their command lines, without those of processes that have ended."""
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too
            lines += process.cmdline()
    return " ".join(lines)
