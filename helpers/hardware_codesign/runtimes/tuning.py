"""Choosing a configuration: every runtime's settings tried on validation rows, the fastest that agrees is taken."""

import dataclasses
import itertools
from collections.abc import Sequence

import pandas as pd

from helpers.hardware_codesign.runtimes.candidates import TOLERANCE, Candidate, compare_runtimes, option
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent


def settings_grid(precision: str = "fp32", runtimes: Sequence[str] = ("onnxruntime", "openvino"),
                  rows: Sequence[int] = (1, 4, 8)) -> list[Candidate]:
    """Streams (one, or a core each) and rows together, in each runtime."""
    streams = sorted({1, usable_cores()})
    return [option(runtime, precision, micro_batch=together, **({"streams": count} if count > 1 else {}))
            for runtime, count, together in itertools.product(runtimes, streams, rows)]


def tune(base: TorchTextModel, task: Task, candidates: Sequence[Candidate] | None = None, *, rows: int = 64,
         rounds: int = 3, batch: int = 64, progress: Progress = silent) -> tuple[Candidate, pd.DataFrame]:
    """The fastest candidate on validation rows whose logits agree with PyTorch's, and the table of all.

    Raises:
        InputError: no candidates, or none of them works here.
    """
    candidates = settings_grid() if candidates is None else list(candidates)
    if not candidates:
        raise InputError("There is nothing to choose from: give at least one candidate.")
    unseen = dataclasses.replace(task, test=task.validation)  # test rows choose nothing
    frame = compare_runtimes(base, unseen, candidates, rows=rows, rounds=rounds, batch=batch, cold=False,
                             progress=progress)
    able = frame[frame["largest_difference"] <= frame["precision"].map(TOLERANCE)]
    if able.empty:
        raise InputError(f"None of the {len(candidates)} candidates agrees with PyTorch: {frame['note'].iloc[0]}")
    return candidates[int(able["rows_per_s"].astype(float).idxmax())], frame
