"""Write what notebook 3 opens on, from a real run on this machine.

python -m recording.hardware_codesign
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import helpers
from helpers.hardware_codesign import (
    BATCHES,
    batch_times,
    compare_layouts,
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
from helpers.lab.facts import Peaks
from helpers.lab.machine import usable_cores
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import printed

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
NAME = "3_hardware_codesign"
BEST = option("onnxruntime", "int8", streams=2)


def keep(what: str, frame: pd.DataFrame, data: str | None = None) -> pd.DataFrame:
    """Write one table, with the name of the data whose texts it is about."""
    write_table(FOLDER / f"{NAME}_{what}.json", frame, data)
    print(f"\n{what}\n{frame.round(4).to_string(index=False)}", flush=True)
    return frame


def calls_of(models: dict[str, Model]) -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    """Each model's call on token ids, without the tokenizer."""
    return {name: model._logits for name, model in models.items()}


def record_roofline(base: TorchTextModel, task: Task) -> Peaks:
    """Peaks by threads, the model's layers under their roofline, and times over batch and length."""
    peaks = recorded_peaks(keep("peaks", peaks_by_threads()))
    layers = []
    for batch, length in ((1, 16), (8, 64), (16, 256)):
        ids = torch.randint(1, 1000, (batch, length))
        rows = group_layers(layer_roofline(base.module, (ids, torch.ones_like(ids)), peaks, rounds=5), peaks)
        layers.append(rows.assign(batch=batch, length=length))
    keep("layers", pd.concat(layers))
    work = encoder_work(base.module, (16, 64, 256))
    keep("work", work.assign(tokenize_s=tokenize_seconds(base, task.validation["text"][:])))
    shown = (option("pytorch"), option("onnxruntime"), option("onnxruntime", "int8"))
    models = {one.name: make(base, one) for one in shown}
    keep("times", time_grid(calls_of(models), BATCHES, (16, 32, 64, 128, 256), rounds=2, max_tokens=4096))
    return peaks


def record_runtimes(base: TorchTextModel, task: Task, texts: list[str]) -> None:
    """Every runtime and precision, the graph levels, the libraries' switches."""
    keep("runtimes", compare_runtimes(base, task, rows=32, rounds=3, progress=printed), task.name)
    keep("levels", graph_levels(base, texts[:8]), task.name)
    keep("switches", compare_switches(base, rounds=4))


def record_batching(base: TorchTextModel, task: Task, texts: list[str], peaks: Peaks) -> None:
    """Padding, batch size, processes and threads, and the batcher under load."""
    keep("padding", compare_padding(base, texts[:64], peaks, rounds=3), task.name)
    quick = make(base, BEST, task)
    times = {base.card.name: batch_times(base, texts, calls=4), quick.card.name: batch_times(quick, texts, calls=10)}
    keep("batches", pd.DataFrame([{"model": name, "batch": batch, "seconds": float(one)}
                                  for name, by_batch in times.items() for batch, seconds in by_batch.items()
                                  for one in seconds]), task.name)
    keep("load", compare_with_load(quick, texts, times[quick.card.name], targets_ms=(50, 150), seconds=20),
         task.name)
    keep("layouts", compare_layouts(make(base, option("onnxruntime", "int8"), task), texts[:64], seconds=1), task.name)


def record_measurements(base: TorchTextModel, task: Task) -> None:
    """The records that the measuring panel opens on: padding, runtime, rows at a time, streams and bits one by one."""
    models = [make(base, option("pytorch", padding=128)), base, make(base, option("onnxruntime", micro_batch=64)),
              make(base, option("onnxruntime")), make(base, option("onnxruntime", streams=2)), make(base, BEST, task)]
    result = compare(models, task, rows=96, memory=False)
    write_recorded(FOLDER / f"{NAME}.jsonl", list(result.measurements))


def record() -> None:
    """Everything that notebook 3 opens on."""
    torch.set_num_threads(usable_cores())
    task = load_task("tickets")
    base = baseline(task)
    texts = task.test["text"][:]
    peaks = record_roofline(base, task)
    record_batching(base, task, texts, peaks)
    record_runtimes(base, task, texts)
    record_measurements(base, task)


if __name__ == "__main__":
    record()
