"""Write what notebook 3 opens on, from a real run on this machine.

python -m recording.hardware_codesign
"""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import helpers
from helpers.hardware_codesign import (
    BATCHES,
    batch_times,
    best_peaks,
    compare_layouts,
    compare_leaving,
    compare_padding,
    compare_runtimes,
    compare_switches,
    compare_with_load,
    encoder_work,
    graph_levels,
    group_layers,
    layer_roofline,
    make,
    option,
    peaks_by_threads,
    recorded_peaks,
    time_grid,
    tokenize_seconds,
)
from helpers.lab import Task, baseline, compare, load_task, write_recorded, write_table
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.comparison import in_processes
from helpers.lab.measuring.intervals import ratio_over_processes
from helpers.lab.measuring.recorded import read_table
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import printed

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
NAME = "3_hardware_codesign"
BEST = option("onnxruntime", "int8", streams=2)
PROCESSES = 3  # fresh ones; intervals of ratios are over them


def keep(what: str, frame: pd.DataFrame, data: str | None = None) -> pd.DataFrame:
    """Write one table, with the name of the data whose texts it is about."""
    write_table(FOLDER / f"{NAME}_{what}.json", frame, data)
    print(f"\n{what}\n{frame.round(4).to_string(index=False)}", flush=True)
    return frame


def calls_of(models: dict[str, Model]) -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    """Each model's call on token ids, without the tokenizer."""
    return {name: model._logits for name, model in models.items()}


def record_roofline(base: TorchTextModel, task: Task) -> None:
    """Peaks by threads, the model's layers under their roofline, and times over batch and length."""
    before, layers = peaks_by_threads(), {}
    for batch, length in ((1, 16), (8, 64), (16, 256)):
        ids = torch.randint(1, 1000, (batch, length))
        layers[batch, length] = layer_roofline(base.module, (ids, torch.ones_like(ids)), recorded_peaks(before),
                                               rounds=5)
    peaks = recorded_peaks(keep("peaks", best_peaks([before, peaks_by_threads()])))
    keep("layers", pd.concat([group_layers(rows, peaks).assign(batch=batch, length=length)
                              for (batch, length), rows in layers.items()]))
    work = encoder_work(base.module, (16, 64, 256))
    keep("work", work.assign(tokenize_s=tokenize_seconds(base, task.validation["text"][:])))
    shown = (option("pytorch"), option("onnxruntime"), option("onnxruntime", "int8"))
    models = {one.name: make(base, one) for one in shown}
    keep("times", time_grid(calls_of(models), BATCHES, (16, 32, 64, 128, 256), rounds=2, max_tokens=4096))


def record_runtimes(base: TorchTextModel, task: Task) -> None:
    """Every runtime and precision, the graph levels, and the libraries' switches."""
    texts = task.test["text"][:8]
    keep("runtimes", compare_runtimes(base, task, rows=96, rounds=3, processes=PROCESSES, progress=printed), task.name)
    levels = in_processes(functools.partial(_levels, texts=texts), {"base": base}, PROCESSES)
    keep("levels", _over_processes(levels, "speedup", lambda frame: frame["median_ms"].iloc[:1].repeat(len(frame)),
                                   "median_ms"), task.name)
    switches = in_processes(_switches, {"base": base}, PROCESSES)
    keep("switches", _over_processes(switches, "gain", lambda frame: frame["off_ms"], "on_ms"))


def record_leaving(base: TorchTextModel, task: Task) -> None:
    """Which runtime opens what another one saved, and what is left of its answers."""
    keep("leaving", compare_leaving(base, task, task.test["text"][:64], progress=printed), task.name)


def _levels(models: dict[str, Model], texts: list[str]) -> pd.DataFrame:
    return graph_levels(models["base"], texts, rounds=5)


def _switches(models: dict[str, Model]) -> pd.DataFrame:
    return compare_switches(models["base"], rounds=5)


def _over_processes(frames: list[pd.DataFrame], ratio: str, without: Callable[[pd.DataFrame], pd.Series],
                    timed: str) -> pd.DataFrame:
    """The rows of one process, with the ratio `without` / `timed` and its interval over all of them."""
    combined = frames[0].copy()
    reference, seconds = (np.array([of(frame).to_numpy(float) for frame in frames])
                          for of in (without, lambda frame: frame[timed]))  # (processes, rows)
    for row in np.flatnonzero(np.isfinite(seconds).all(axis=0)):
        combined.loc[row, [ratio, "low", "high"]] = ratio_over_processes(reference[:, row], seconds[:, row])
    for column in combined.columns[combined.columns.str.endswith("_ms")]:
        combined[column] = np.exp(np.mean([np.log(frame[column].to_numpy(float)) for frame in frames], axis=0))
    return combined.assign(processes=len(frames))


def record_batching(base: TorchTextModel, task: Task) -> None:
    """Padding, batch size, processes and threads, and the batcher under load."""
    texts, peaks = task.test["text"][:], recorded_peaks(read_table(FOLDER / f"{NAME}_peaks.json"))
    keep("padding", compare_padding(base, texts[:64], peaks, rounds=3), task.name)
    quick = make(base, BEST, task)
    times = {base.card.name: batch_times(base, texts, calls=10), quick.card.name: batch_times(quick, texts, calls=10)}
    keep("batches", pd.DataFrame([{"model": name, "batch": batch, "seconds": float(one)}
                                  for name, by_batch in times.items() for batch, seconds in by_batch.items()
                                  for one in seconds]), task.name)
    keep("load", compare_with_load(quick, texts, times[quick.card.name], targets_ms=(50, 150), seconds=20),
         task.name)
    keep("layouts", compare_layouts(make(base, option("onnxruntime", "int8"), task), texts[:64], seconds=1,
                                      rounds=PROCESSES), task.name)


def record_measurements(base: TorchTextModel, task: Task) -> None:
    """The records that the measuring panel opens on: padding, runtime, rows at a time, streams and bits one by one."""
    models = [make(base, option("pytorch", padding=128)), base, make(base, option("onnxruntime", micro_batch=64)),
              make(base, option("onnxruntime")), make(base, option("onnxruntime", streams=2)), make(base, BEST, task)]
    result = compare(models, task, rows=96, rounds=5, processes=PROCESSES, memory=False)
    write_recorded(FOLDER / f"{NAME}.jsonl", list(result.measurements))


def record() -> None:
    """Everything that notebook 3 opens on."""
    torch.set_num_threads(usable_cores())
    task = load_task("tickets")
    base = baseline(task)
    for part in (record_roofline, record_batching, record_runtimes, record_leaving, record_measurements):
        part(base, task)


if __name__ == "__main__":
    record()
