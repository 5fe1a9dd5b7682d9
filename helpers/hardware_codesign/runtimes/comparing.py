"""Candidates measured side by side: what each costs to make, to start and to run; and the fastest that agrees."""

import dataclasses
import functools
import itertools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.hardware_codesign.runtimes.candidates import CANDIDATES, Candidate, make, option
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.comparison import best_batch_size, in_fresh_process, in_processes, sample_inputs, time_models
from helpers.lab.measuring.intervals import ratio_of_medians, ratio_over_processes
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent

COLUMNS = ["name", "runtime", "precision", "rows_per_s", "speedup", "speedup_low", "speedup_high", "p50_ms", "p95_ms",
           "made_s", "cold_start_s", "peak_mb", "largest_difference", "same_answers", "worth_after", "note"]
# Largest difference of a logit from PyTorch's in fp32, as a share of the logits' range.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.1, "int8": 0.35}
_PATIENCE_S = 15.0  # of timing a candidate, beyond its first two rounds


def compare_runtimes(base: TorchTextModel, task: Task, candidates: Sequence[Candidate] = CANDIDATES, *,
                     rows: int = 64, rounds: int = 5, processes: int = 0, cold: bool = True,
                     progress: Progress = silent) -> pd.DataFrame:
    """All candidates on the same test rows, in turns; the first one is the reference. One row each, COLUMNS.

    Speed is over raw texts as they come, so many at a time as suit each candidate best, and latency over single texts,
    in this process or in several fresh `processes`, over which the interval of the speed-up is then: both as `compare`
    does it, so that tables agree. `made_s` is the time to export,
    quantize or compile; `cold_start_s` is a fresh process until its first answer; `worth_after`, the number of
    texts after which the time to make it is repaid. A candidate that fails keeps its row, with a sentence in `note`;
    where the first one fails, the next one that works is the reference.

    Raises:
        InputError: none of them works here.
    """
    models: dict[str, Model] = {}
    frame = pd.DataFrame({"name": [one.name for one in candidates], "runtime": [one.runtime for one in candidates],
                          "precision": [one.precision for one in candidates]}).reindex(columns=COLUMNS)
    frame["note"] = ""
    for index, candidate in enumerate(candidates):
        progress(0.4 * index / len(candidates), f"making {candidate.name}")
        try:
            models[candidate.name] = make(base, candidate, task)
            frame.loc[index, "made_s"] = models[candidate.name].card.made_in_s - base.card.made_in_s
        except InputError as error:
            frame.loc[index, "note"] = str(error)
    if not models:
        raise InputError(f"None of the {len(frame)} candidates works here. The first one: {frame['note'].iloc[0]}")
    texts = sample_inputs(task, rows)
    _fill_speed(frame, _time(models, texts, rounds, processes, progress.part(0.4, 0.8)), len(texts), rounds)
    _fill_agreement(frame, models, base, texts)
    if cold:
        _fill_cold(frame, models, candidates, texts, progress)
    reference = frame["rows_per_s"].dropna().iloc[0]
    frame["worth_after"] = [worth_making_after(row.made_s, reference, row.rows_per_s) for row in frame.itertuples()]
    progress(1.0, "done")
    return frame


def worth_making_after(made_s: float, reference_per_s: float, candidate_per_s: float) -> float:
    """Texts after which the seconds that went into making a candidate are repaid; infinite where it is no faster."""
    saved = 1 / reference_per_s - 1 / candidate_per_s
    return made_s / saved if saved > 0 else (float("inf") if np.isfinite(candidate_per_s) else float("nan"))


def agreement(reference: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """(largest difference as a share of the reference's range, share of rows with the same answer)."""
    spread = float(reference.max() - reference.min()) or 1.0
    same = float((reference.argmax(axis=1) == logits.argmax(axis=1)).mean())
    return float(np.abs(reference - logits).max()) / spread, same


SHAPES = ((1, 1), (64, 1), (3, 40), (64, 40), (1, 600), (4, 600))  # texts, and words in each


def check_shapes(base: TorchTextModel, model: Model, shapes: Sequence[tuple[int, int]] = SHAPES) -> float:
    """The largest difference (as in `agreement`) over shapes of (texts, words); what is too long is cut by both."""
    worst = 0.0
    for rows, words in shapes:
        texts = [" ".join(["parcel", "refund", "late", "please"][(row + word) % 4] for word in range(words))
                 for row in range(rows)]
        worst = max(worst, agreement(base.predict(texts), model.predict(texts))[0])
    return worst


def _time(models: dict[str, Model], texts: list[str], rounds: int, processes: int, progress: Progress
          ) -> list[tuple[dict[str, np.ndarray], ...]]:
    """`time_models` of each process; what is slow sits the later rounds out."""
    with timing_turn(progress):
        sizes = {}
        for index, (name, model) in enumerate(models.items()):
            progress(0.3 * index / len(models), f"finding the batch size of {name}")
            sizes[name] = best_batch_size(model, texts, progress)
        work = functools.partial(time_models, sample=texts, batch_sizes=sizes, rounds=rounds, patience_s=_PATIENCE_S)
        if not processes:
            return [work(models, progress=progress.part(0.3, 1.0))]
        return in_processes(work, models, processes, progress.part(0.3, 1.0))


def _fill_speed(frame: pd.DataFrame, timed: list[tuple[dict[str, np.ndarray], ...]], rows: int, rounds: int) -> None:
    first = next(iter(timed[0][0]))
    for index, name in enumerate(frame["name"]):
        if name not in timed[0][0]:
            continue
        # A slow one, be it the reference, had fewer rounds, the first ones: two are compared in those that both had.
        pairs = [tuple(whole[one][:min(len(whole[first]), len(whole[name]))] for one in (first, name))
                 for whole, _ in timed]
        medians = np.array([[np.median(reference), np.median(candidate)] for reference, candidate in pairs])
        speedup = ((1.0, 1.0, 1.0) if name == first else ratio_of_medians(*pairs[0]) if len(pairs) == 1
                   else ratio_over_processes(*medians.T))
        p50, p95 = np.percentile(1000 * np.concatenate([single[name] for _, single in timed]), [50, 95])
        frame.loc[index, ["rows_per_s", "speedup", "speedup_low", "speedup_high", "p50_ms", "p95_ms"]] = [
            rows / float(np.exp(np.log(medians[:, 1]).mean())), *speedup, p50, p95]
        if (least := min(len(whole[name]) for whole, _ in timed)) < rounds:
            frame.loc[index, "note"] = f"Slow: timed in {least} of {rounds} rounds."


def _fill_agreement(frame: pd.DataFrame, models: dict[str, Model], base: TorchTextModel, texts: list[str]) -> None:
    reference = base.predict(texts)
    for index, name in enumerate(frame["name"]):
        if name in models:
            difference, same = agreement(reference, models[name].predict(texts))
            frame.loc[index, ["largest_difference", "same_answers"]] = [difference, same]
            limit = TOLERANCE[frame.loc[index, "precision"]]
            if difference > limit:
                frame.loc[index, "note"] = f"Its logits differ by up to {difference:.2g} of their range, not {limit:g}."


def _fill_cold(frame: pd.DataFrame, models: dict[str, Model], candidates: Sequence[Candidate], texts: list[str],
               progress: Progress) -> None:
    for index, candidate in enumerate(candidates):
        if candidate.name not in models:
            continue
        progress(0.8 + 0.2 * index / len(candidates), f"cold start of {candidate.name}")
        try:
            frame.loc[index, ["cold_start_s", "peak_mb"]] = cold_start(models[candidate.name], texts[:16])
        except subprocess.SubprocessError:
            frame.loc[index, "note"] = "A fresh process of it did not come to an answer within two minutes."


def cold_start(model: Model, texts: list[str]) -> tuple[float, float]:
    """(seconds, peak megabytes) of a fresh process that loads the model and answers once.

    What a runtime cannot save (a compiled module, PyTorch's 8-bit layers) is made again when it is loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        seconds, peak = in_fresh_process(Path(folder), texts, timeout_s=120)
        return seconds, peak / 1e6


def settings_grid(precision: str = "fp32", runtimes: Sequence[str] = ("onnxruntime", "openvino"),
                  rows: Sequence[int] = (1, 4, 8)) -> list[Candidate]:
    """Streams (one, or a core each) and rows together, in each runtime."""
    streams = sorted({1, usable_cores()})
    return [option(runtime, precision, micro_batch=together, **({"streams": count} if count > 1 else {}))
            for runtime, count, together in itertools.product(runtimes, streams, rows)]


def tune(base: TorchTextModel, task: Task, candidates: Sequence[Candidate] | None = None, *, rows: int = 64,
         rounds: int = 3, progress: Progress = silent) -> tuple[Candidate, pd.DataFrame]:
    """The fastest candidate on validation rows whose logits agree with PyTorch's, and the table of all.

    Raises:
        InputError: no candidates, or none of them works here.
    """
    candidates = settings_grid() if candidates is None else list(candidates)
    if not candidates:
        raise InputError("There is nothing to choose from: give at least one candidate.")
    unseen = dataclasses.replace(task, test=task.validation)  # test rows choose nothing
    frame = compare_runtimes(base, unseen, candidates, rows=rows, rounds=rounds, cold=False, progress=progress)
    able = frame[frame["largest_difference"] <= frame["precision"].map(TOLERANCE)]
    if able.empty:
        raise InputError(f"None of the {len(candidates)} candidates agrees with PyTorch: {frame['note'].iloc[0]}")
    return candidates[int(able["rows_per_s"].astype(float).idxmax())], frame
