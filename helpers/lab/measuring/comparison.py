"""Several models on the same rows, in turns: quality, speed, size, memory, energy and money."""

import dataclasses
import functools
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.machine import fingerprint, usable_cores
from helpers.lab.measuring.energy import Power, measure_power
from helpers.lab.measuring.intervals import paired_difference, ratio_of_medians
from helpers.lab.measuring.ledger import Ledger
from helpers.lab.measuring.measurement import COLUMNS, Measurement, coverage_notes, key_of, score
from helpers.lab.measuring.timing import seconds_in_turns, seconds_of, timing_turn
from helpers.lab.models.model import MAX_BATCH, Model, folder_bytes
from helpers.lab.money import costs
from helpers.lab.progress import Progress, silent

BATCH_SIZES = (1, 2, 4, 8, 16, 32, MAX_BATCH)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Measurements of one run; the first is the reference."""

    measurements: tuple[Measurement, ...]

    def frame(self) -> pd.DataFrame:
        """One row a model, the columns of Measurement.row(); `attrs["notes"]` says what encoders cut or cannot read."""
        frame = pd.DataFrame([m.row() for m in self.measurements], columns=list(COLUMNS))
        frame.attrs["notes"] = coverage_notes(self.measurements)
        return frame

    def of(self, model: Model | str) -> Measurement:
        """The record of one model."""
        name = model if isinstance(model, str) else model.card.name
        return next(m for m in self.measurements if m.model == name)

    def speedup(self, model: Model | str) -> float:
        """How many times the reference's throughput."""
        return self.of(model).speedup

    def interval(self, model: Model | str) -> str:
        """The speed-up's 95 % interval in words."""
        record = self.of(model)
        return f"{record.speedup_low:.2f} to {record.speedup_high:.2f}"

    def ties(self, model: Model | str) -> bool:
        """Whether the speed-up's interval holds 1."""
        record = self.of(model)
        return record.speedup_low <= 1 <= record.speedup_high


@dataclasses.dataclass
class _Candidate:
    """What is gathered of one model: `round_s` are seconds for all sampled rows once, `single_s` for one row each."""

    model: Model
    logits: np.ndarray
    batch_size: int = 1
    round_s: np.ndarray | None = None
    single_s: np.ndarray | None = None
    power: Power | None = None
    artefact_bytes: int = 0
    peak_bytes: int | None = None


def compare(models: Sequence[Model], task: Task, *, rows: int = 192, rounds: int = 7, energy: bool = True,
            memory: bool = True, ledger: Ledger | None = None, progress: Progress = silent) -> Comparison:
    """Measure models side by side on the task's test rows; the first is the reference.

    Quality is over all test rows. Speed is over `rows` of them, tokenizing included, in `rounds`
    interleaved rounds (A B C A B C ...), each model at the batch size up to 64 that suits it best;
    latency is at batch 1. Only one timing runs on a machine at a time: others wait.

    Args:
        energy: estimate joules (about 3 s more a model).
        memory: start a fresh process for each model to read its peak memory (some 3 s a model).
        ledger: where the records are kept as well.

    Raises:
        Cancelled: `progress` was told to end; asked between batches.
        InputError: two models with one name.
    """
    if len({model.card.name for model in models}) < len(models):
        raise InputError("Two of the models have the same name; records could not be told apart.")

    candidates = []
    for index, model in enumerate(models):
        progress(0.3 * index / len(models), f"quality of {model.card.name}")
        candidates.append(_Candidate(model, _predict_all(model, task, progress)))
    sample = sample_inputs(task, rows)
    with timing_turn(progress):
        _time(candidates, sample, rounds, progress)
        for candidate in candidates if energy else ():
            candidate.power = _power(candidate, sample, progress)
    for candidate in candidates:
        _measure_size(candidate, sample, memory, progress)
    records = [_record(candidate, candidates[0], task, len(sample)) for candidate in candidates]
    for record in records:
        if ledger:
            ledger.put(record)
    progress(1.0, "done")
    return Comparison(tuple(records))


def sample_inputs(task: Task, rows: int) -> list:
    """So many test inputs: the same ones for every model and every run, in a fixed random order."""
    chosen = np.random.default_rng(0).permutation(len(task.test))[:rows]
    inputs = task.test[task.input]
    return [inputs[int(row)] for row in chosen]


def _predict_all(model: Model, task: Task, progress: Progress) -> np.ndarray:
    inputs = task.test[task.input][:]
    parts = []
    for start in range(0, len(inputs), 4 * MAX_BATCH):
        progress.check()
        parts.append(model.predict(inputs[start:start + 4 * MAX_BATCH]))
    return np.concatenate(parts)


def _time(candidates: list[_Candidate], sample: list, rounds: int, progress: Progress) -> None:
    for index, candidate in enumerate(candidates):
        progress(0.3 + 0.2 * index / len(candidates), f"finding the batch size of {candidate.model.card.name}")
        candidate.batch_size = _best_batch_size(candidate.model, sample, progress)
    works, repeats = {}, {}
    for candidate in candidates:
        name = candidate.model.card.name
        works[name, "all rows"] = functools.partial(predict_in_batches, candidate.model, sample, candidate.batch_size,
                                                    progress)
        works[name, "one row"] = one_by_one(candidate.model, sample)
        repeats[name, "one row"] = math.ceil(max(len(sample), 100) / rounds)
    seconds = seconds_in_turns(works, rounds, warm_up=0, repeats=repeats, progress=progress.part(0.5, 0.9))
    for candidate in candidates:
        name = candidate.model.card.name
        candidate.round_s, candidate.single_s = seconds[name, "all rows"], seconds[name, "one row"]


def one_by_one(model: Model, sample: list) -> Callable[[], object]:
    """Each call predicts the next row alone; after the last the first comes again."""
    rows = itertools.cycle(sample)
    return lambda: model.predict([next(rows)])


def _best_batch_size(model: Model, sample: list, progress: Progress) -> int:
    """All are tried: with streams, throughput falls and rises again over the batch size."""
    part = sample[:MAX_BATCH]
    model.predict(part)  # warm-up: memory is allocated, kernels are chosen
    seconds: dict[int, float] = {}
    for size in (size for size in BATCH_SIZES if size <= len(part)):
        run = functools.partial(predict_in_batches, model, part, size, progress)
        seconds[size] = min(seconds_of(run) for _ in range(2))
    return min(seconds, key=seconds.__getitem__)


def predict_in_batches(model: Model, sample: list, batch_size: int, progress: Progress = silent) -> None:
    """Predict the inputs as they come, so many at a time; the answers are of no interest."""
    for start in range(0, len(sample), batch_size):
        progress.check()
        model.predict(sample[start:start + batch_size])


def _power(candidate: _Candidate, sample: list, progress: Progress) -> Power:
    progress(0.92, f"energy of {candidate.model.card.name}")
    return measure_power(lambda: candidate.model.predict(sample[:candidate.batch_size]), usable_cores())


def _measure_size(candidate: _Candidate, sample: list, memory: bool, progress: Progress) -> None:
    progress.check()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        candidate.model.save(path)
        candidate.artefact_bytes = folder_bytes(path)
        candidate.peak_bytes = peak_bytes(path, sample[:MAX_BATCH]) if memory else None


def peak_bytes(model: Path, inputs: list) -> int | None:
    """Peak resident bytes of a fresh process that loads a saved model and predicts once.

    The runtime's own libraries are part of it: that is what a server has to hold. None where the
    inputs are not text.
    """
    if not inputs or not isinstance(inputs[0], str):
        return None
    return in_fresh_process(model, inputs)[1]


def in_fresh_process(model: Path, texts: list[str], timeout_s: float = 300) -> tuple[float, int]:
    """(seconds, peak resident bytes) of a fresh process that loads a saved model and answers once.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than `timeout_s`.
    """
    code = "\n".join(["import sys, json", "from helpers.lab.models.model import load",
                      "from helpers.lab.machine import peak_resident_bytes", "model = load(sys.argv[1])",
                      "model.predict(json.load(sys.stdin))", "print(peak_resident_bytes())"])
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(model)], input=json.dumps(texts),
                          capture_output=True, text=True, timeout=timeout_s, check=True)
    return time.perf_counter() - began, int(done.stdout.split()[-1])


def _record(candidate: _Candidate, reference: _Candidate, task: Task, rows: int) -> Measurement:
    from helpers.lab.measuring.metrics import quality  # its first import takes some ten seconds

    card, power, is_reference = candidate.model.card, candidate.power, candidate is reference
    labels = np.asarray(task.test["label"][:])
    answers = candidate.logits.argmax(axis=1)
    right = answers == labels
    reference_right = reference.logits.argmax(axis=1) == labels
    delta = (0.0, 0.0, 0.0) if is_reference else paired_difference(reference_right, right)
    speedup = (1.0, 1.0, 1.0) if is_reference else ratio_of_medians(reference.round_s, candidate.round_s)
    p50, p95, p99 = np.percentile(candidate.single_s * 1000, [50, 95, 99])
    throughput = rows / float(np.median(candidate.round_s))
    scored = score(answers, labels, task.labels)
    settings = {**card.settings, "rows_timed": rows, "rounds": len(candidate.round_s)}
    record = Measurement(
        task=task.name, model=card.name, strategy=card.strategy, settings=settings,
        **dataclasses.asdict(scored), **_coverage(candidate.model, task),
        accuracy_delta=delta[0], accuracy_delta_low=delta[1], accuracy_delta_high=delta[2],
        calibration_error=quality(candidate.logits, labels)["calibration_error"], rows=len(right),
        speedup=speedup[0], speedup_low=speedup[1], speedup_high=speedup[2], p50_ms=float(p50), p95_ms=float(p95),
        p99_ms=float(p99), throughput_per_s=throughput, batch_size=candidate.batch_size, threads=usable_cores(),
        artefact_bytes=candidate.artefact_bytes,
        parameters=card.parameters, macs=card.macs, peak_bytes=candidate.peak_bytes,
        joules_low=power and power.low / throughput, joules=power and power.mid / throughput,
        joules_high=power and power.high / throughput, energy_method=power.method if power else "not measured",
        made_in_s=card.made_in_s, usd_per_million=0.0, reference=reference.model.card.name, machine=fingerprint(),
        key=key_of(task.digest, card.name, settings, fingerprint()["id"]))
    return dataclasses.replace(record, usd_per_million=costs.cost(record, costs.offer(costs.DEFAULT_OFFER)).usd)


def _coverage(model: Model, task: Task) -> dict[str, float]:
    """How much of the test rows the model's encoder cuts off or cannot read; nothing where it has none."""
    encoder = getattr(model, "encoder", None)
    return dataclasses.asdict(encoder.coverage(task.test["text"][:])) if isinstance(encoder, TextEncoder) else {}
