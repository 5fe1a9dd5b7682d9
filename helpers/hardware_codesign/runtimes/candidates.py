"""The same weights in every runtime and precision of this machine: what each costs to make, to start and to run."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.hardware_codesign.runtimes import conversions
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent

COLUMNS = ["name", "runtime", "precision", "rows_per_s", "speedup", "speedup_low", "speedup_high", "p50_ms", "p95_ms",
           "made_s", "cold_start_s", "peak_mb", "largest_difference", "same_answers", "worth_after", "note"]
# Largest difference of a logit from PyTorch's in fp32, as a share of the logits' range.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.1, "int8": 0.35}
_PATIENCE_S = 15.0  # of timing a candidate, beyond its first round


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A runtime, a precision and its settings, by the names that `make` knows.

    Settings: `padding`, the tokens that PyTorch's rows are all padded to, as many tutorials do; `streams` and
    `micro_batch` (see TextModel) for ONNX Runtime and OpenVINO; `hint` (latency or throughput) for OpenVINO.
    """

    runtime: str
    precision: str = "fp32"
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """As it stands in tables."""
        told = {"streams": "{} streams", "micro_batch": "rows by {}", "hint": "{} hint",
                "padding": "padded to {}"}
        parts = [told[key].format(value) for key, value in self.settings]
        return ", ".join([f"{conversions.TITLES[self.runtime]} {self.precision}", *parts])


def option(runtime: str, precision: str = "fp32", **settings: Any) -> Candidate:
    """A candidate from keyword settings."""
    return Candidate(runtime, precision, tuple(sorted(settings.items())))


CANDIDATES = (
    option("pytorch", padding=128), option("pytorch"), option("pytorch", "bf16"), option("pytorch", "int8"),
    option("compiled"),
    option("onnxruntime", micro_batch=64), option("onnxruntime"), option("onnxruntime", streams=2),
    option("onnxruntime", "bf16"), option("onnxruntime", "int8"), option("onnxruntime", "int8", streams=2),
    option("openvino", hint="latency"), option("openvino", hint="throughput"), option("openvino", streams=2),
    option("openvino", "bf16"), option("openvino", "int8", streams=2), option("cuda"), option("tensorrt"),
)


def make(base: TorchTextModel, candidate: Candidate, task: Task | None = None) -> Model:
    """The model in that runtime and precision, warm.

    Args:
        task: whose training rows fix the ranges of OpenVINO's 8-bit activations; nothing else needs it.

    Raises:
        InputError: this machine or this runtime cannot; the message is a sentence for the table.
    """
    if candidate.runtime not in conversions.TITLES:
        raise InputError(f"There is no runtime '{candidate.runtime}'. Known: {', '.join(conversions.TITLES)}.")
    try:
        model = conversions.convert(base, candidate.runtime, candidate.precision, dict(candidate.settings),
                                    candidate.name, task)
        model.predict(["a few words to warm up", "and some more of them, so that lengths differ"])
    except InputError:
        raise
    except Exception as error:  # exporters and runtimes raise dozens of kinds; one must not end the whole table
        said = (str(error).strip().splitlines() or ["no reason given"])[0][:160]
        raise InputError(f"{candidate.name} failed ({type(error).__name__}): {said}") from error
    return model


def compare_runtimes(base: TorchTextModel, task: Task, candidates: Sequence[Candidate] = CANDIDATES, *,
                     rows: int = 64, rounds: int = 5, batch: int = 16, cold: bool = True,
                     progress: Progress = silent) -> pd.DataFrame:
    """All candidates on the same test rows, in turns; the first one is the reference. One row each, COLUMNS.

    Speed is over raw texts in batches as they come, latency over single texts. `made_s` is the time to export,
    quantize or compile; `cold_start_s` is a fresh process until its first answer; `worth_after`, the number of
    texts after which the time to make it is repaid. A candidate that fails keeps its row, with a sentence in `note`;
    where the first one fails, the next one that works is the reference.

    Raises:
        InputError: none of them works here.
    """
    made: dict[str, Model] = {}
    frame = pd.DataFrame({"name": [one.name for one in candidates], "runtime": [one.runtime for one in candidates],
                          "precision": [one.precision for one in candidates]}).reindex(columns=COLUMNS)
    frame["note"] = ""
    for index, candidate in enumerate(candidates):
        progress(0.4 * index / len(candidates), f"making {candidate.name}")
        try:
            made[candidate.name] = make(base, candidate, task)
            frame.loc[index, "made_s"] = made[candidate.name].card.made_in_s - base.card.made_in_s
        except InputError as error:
            frame.loc[index, "note"] = str(error)
    if not made:
        raise InputError(f"None of the {len(frame)} candidates works here. The first one: {frame['note'].iloc[0]}")
    texts = _sample(task, rows)
    whole, single = _time(made, texts, batch, rounds, progress)
    _fill_speed(frame, whole, single, rows=len(texts))
    _fill_agreement(frame, made, base, texts)
    if cold:
        _fill_cold(frame, made, base, candidates, texts, progress)
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


def _sample(task: Task, rows: int) -> list[str]:
    chosen = np.random.default_rng(0).permutation(len(task.test))[:rows]
    texts = task.test["text"][:]
    return [texts[int(row)] for row in chosen]


def _time(made: dict[str, Model], texts: list[str], batch: int, rounds: int,
          progress: Progress) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    whole: dict[str, list[float]] = {name: [] for name in made}
    single: dict[str, list[float]] = {name: [] for name in made}
    shares = np.array_split(np.arange(len(texts)), rounds)
    with timing_turn(progress):
        for number in range(rounds):
            for place, (name, model) in enumerate(made.items()):
                if sum(whole[name]) + sum(single[name]) > _PATIENCE_S:
                    continue
                progress(0.4 + 0.4 * (number + place / len(made)) / rounds, f"round {number + 1}: {name}")
                whole[name].append(sum(_seconds(model, texts[at:at + batch]) for at in range(0, len(texts), batch)))
                single[name] += [_seconds(model, [texts[row]]) for row in shares[number]]
    return whole, single


def _seconds(model: Model, texts: list[str]) -> float:
    began = time.perf_counter()
    model.predict(texts)
    return time.perf_counter() - began


def _fill_speed(frame: pd.DataFrame, whole: dict, single: dict, rows: int) -> None:
    reference = next(iter(whole.values()))
    for index, name in enumerate(frame["name"]):
        if name in whole:
            # A slow one had fewer rounds, the first ones: compared with the reference's in just these.
            ratio, low, high = ratio_of_medians(reference[:len(whole[name])], whole[name])
            p50, p95 = np.percentile(np.array(single[name]) * 1000, [50, 95])
            frame.loc[index, ["rows_per_s", "speedup", "speedup_low", "speedup_high", "p50_ms", "p95_ms"]] = [
                rows / float(np.median(whole[name])), ratio, low, high, p50, p95]
            if len(whole[name]) < len(reference):
                frame.loc[index, "note"] = f"Slow: timed in {len(whole[name])} of {len(reference)} rounds."


def _fill_agreement(frame: pd.DataFrame, made: dict[str, Model], base: TorchTextModel, texts: list[str]) -> None:
    reference = base.predict(texts)
    for index, name in enumerate(frame["name"]):
        if name in made:
            difference, same = agreement(reference, made[name].predict(texts))
            frame.loc[index, ["largest_difference", "same_answers"]] = [difference, same]
            limit = TOLERANCE[frame.loc[index, "precision"]]
            if difference > limit:
                frame.loc[index, "note"] = f"Its logits differ by up to {difference:.2g} of their range, not {limit:g}."


def _fill_cold(frame: pd.DataFrame, made: dict[str, Model], base: TorchTextModel, candidates: Sequence[Candidate],
               texts: list[str], progress: Progress) -> None:
    for index, candidate in enumerate(candidates):
        if candidate.name not in made:
            continue
        progress(0.8 + 0.2 * index / len(candidates), f"cold start of {candidate.name}")
        try:
            started = cold_start(made[candidate.name], base, candidate, texts[:16])
            frame.loc[index, ["cold_start_s", "peak_mb"]] = started
        except subprocess.SubprocessError:
            frame.loc[index, "note"] = "A fresh process of it did not come to an answer within two minutes."


def cold_start(model: Model, base: TorchTextModel, candidate: Candidate, texts: list[str]) -> tuple[float, float]:
    """(seconds, peak megabytes) of a fresh process that loads the model and answers once.

    What a runtime cannot save (a compiled module, PyTorch's 8-bit layers) is loaded in fp32 and made again.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved = conversions.is_saved_as_it_runs(candidate.runtime, candidate.precision)
        (model if saved else base).save(Path(folder))
        told = {"folder": folder, "texts": texts, "make": None if saved else [candidate.runtime, candidate.precision]}
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-W", "ignore", "-m", "helpers.hardware_codesign.runtimes.cold_start"],
                              input=json.dumps(told), capture_output=True, text=True, timeout=120, check=True)
        return time.perf_counter() - began, float(done.stdout.split()[-1]) / 1e6
