"""One process with all cores, or many with one each: the same model served both ways, for a few seconds."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Model
from helpers.lab.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class Layout:
    """So many processes, each with so many threads; pinned: each process is bound to other cores."""

    processes: int
    threads: int
    pinned: bool = False

    @property
    def name(self) -> str:
        """As it stands in tables."""
        parts = [f"{self.processes} process{'es' * (self.processes > 1)}",
                 f"{self.threads} thread{'s' * (self.threads > 1)} each"]
        return ", ".join(parts + ["pinned"] * self.pinned)


def usual_layouts(cores: int) -> list[Layout]:
    """All cores in one process, a process a core (pinned and not), and twice too many threads."""
    layouts = [Layout(1, cores), Layout(cores, 1), Layout(cores, 1, pinned=True), Layout(cores, cores), Layout(1, 1)]
    return list(dict.fromkeys(layouts))  # on one core most of them are the same


def compare_layouts(model: Model, texts: Sequence[str], layouts: Sequence[Layout] | None = None, *, batch: int = 4,
                    seconds: float = 3.0, rounds: int = 2, progress: Progress = silent) -> pd.DataFrame:
    """Texts answered a second, and latency of a call, by each layout; the layouts take turns.

    Returns:
        Columns: layout, processes, threads, pinned, rows_per_s, low, high (over the rounds), p95_ms, peak_mb (summed
        over the processes: each holds the weights).

    Raises:
        InputError: more pinned processes than cores, or a worker that failed.
        Cancelled: `progress` cancelled the work; asked before each layout.
    """
    layouts = usual_layouts(usable_cores()) if layouts is None else list(layouts)
    for layout in layouts:
        if layout.pinned and layout.processes * layout.threads > usable_cores():
            raise InputError(f"{layout.name} needs {layout.processes * layout.threads} cores, and this process may use "
                             f"{usable_cores()}: take fewer, or do not pin them.")
    runs_of: dict[Layout, list[list[dict]]] = {layout: [] for layout in layouts}
    with tempfile.TemporaryDirectory() as folder, timing_turn(progress):
        model.save(Path(folder))
        for number in range(rounds):
            for place, layout in enumerate(layouts):
                progress((number + place / len(layouts)) / rounds, f"round {number + 1} of {rounds}: {layout.name}")
                runs_of[layout].append(_run(layout, folder, texts, batch, seconds))
    progress(1.0, "done")
    rows = []
    for layout, runs in runs_of.items():
        rates = [sum(one["rows_per_s"] for one in run) for run in runs]
        calls = np.concatenate([one["calls_s"] for run in runs for one in run])
        rows.append({"layout": layout.name, **dataclasses.asdict(layout), "rows_per_s": float(np.mean(rates)),
                     "low": min(rates), "high": max(rates), "p95_ms": 1000 * float(np.quantile(calls, 0.95)),
                     "peak_mb": sum(one["peak_bytes"] for one in runs[0]) / 1e6})
    return pd.DataFrame(rows)


def _run(layout: Layout, folder: str, texts: Sequence[str], batch: int, seconds: float) -> list[dict]:
    """Start the workers, let them load, start all at once, and read the result of each."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    workers = []
    for number in range(layout.processes):
        pinned_to = cores[number * layout.threads:(number + 1) * layout.threads] if layout.pinned else []
        settings = {"folder": folder, "threads": layout.threads, "cores": pinned_to, "batch": batch,
                    "seconds": seconds, "texts": list(texts)}
        command = [sys.executable, "-W", "ignore", "-m", "helpers.hardware_codesign.batching.layout_worker"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        worker.stdin.write(json.dumps(settings) + "\n")
        worker.stdin.flush()
        workers.append(worker)
    try:
        for worker in workers:
            if worker.stdout.readline().strip() != "ready":
                raise InputError(f"A worker of '{layout.name}' did not start; there may be too little memory for it.")
        for worker in workers:
            worker.stdin.write("go\n")
            worker.stdin.flush()
        return [json.loads(worker.communicate(timeout=seconds + 60)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
