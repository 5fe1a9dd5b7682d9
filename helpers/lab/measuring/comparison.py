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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.machine import fingerprint, usable_cores
from helpers.lab.measuring.energy import Power, measure_power
from helpers.lab.measuring.intervals import paired_difference, ratio_of_medians, ratio_over_processes
from helpers.lab.measuring.ledger import Ledger
from helpers.lab.measuring.measurement import COLUMNS, Measurement, coverage_notes, key_of, score
from helpers.lab.measuring.timing import seconds_in_turns, seconds_of, settle, timing_turn
from helpers.lab.models.model import MAX_BATCH, Model, folder_bytes, load, rest
from helpers.lab.money import costs
from helpers.lab.progress import Progress, silent

BATCH_SIZES = (1, 2, 4, 8, 16, 32, MAX_BATCH)
Result = TypeVar("Result")
_BATCH_PATIENCE_S = 15.0  # of finding one model's batch size
_ASK_S = 0.2  # how often a process is asked for its result, and the caller whether to go on


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
        """The speed-up's 95% interval in words."""
        record = self.of(model)
        return f"{record.speedup_low:.2f} to {record.speedup_high:.2f}"

    def ties(self, model: Model | str) -> bool:
        """Whether the speed-up's interval holds 1."""
        record = self.of(model)
        return record.speedup_low <= 1 <= record.speedup_high


@dataclasses.dataclass
class _Candidate:
    """Timings and answers gathered for one model.

    `round_s`: (processes, rounds) seconds for all sampled rows once; `single_s`: (calls,) for one row each.
    """

    model: Model
    logits: np.ndarray
    batch_size: int = 1
    round_s: np.ndarray | None = None
    single_s: np.ndarray | None = None
    power: Power | None = None
    artefact_bytes: int = 0
    peak_bytes: int | None = None


def compare(models: Sequence[Model], task: Task, *, rows: int = 192, rounds: int = 7, processes: int = 0,
            energy: bool = True, memory: bool = True, ledger: Ledger | None = None,
            progress: Progress = silent) -> Comparison:
    """Measure models side by side on the task's test rows; the first is the reference.

    Quality is over all test rows. Speed is over `rows` of them, tokenizing included, in `rounds`
    interleaved rounds (A B C A B C ...), each model at the batch size up to 64 that suits it best;
    latency is at batch 1. Only one timing runs on a machine at a time: others wait.

    Args:
        processes: so many fresh processes, one after another, load the saved models and time them in `rounds` rounds
            each; the speed-up's interval is then over processes and covers a second recording. 0 times here, and the
            interval is over the rounds of this process alone.
        energy: measure or estimate joules (about a second more a model).
        memory: start a fresh process for each model to read its peak memory (some 3 s a model).
        ledger: where the records are kept as well.

    Raises:
        Cancelled: `progress` cancelled the work; asked between batches.
        InputError: two models with one name, a single process, or a model that cannot be saved for others.
    """
    if processes == 1 or processes < 0:
        raise InputError(f"processes must be 0 (time here), or 2 or more for an interval over them, not {processes}.")
    if len({model.card.name for model in models}) < len(models):
        raise InputError("Two of the models have the same name; records could not be distinguished.")

    candidates = []
    for index, model in enumerate(models):
        part = progress.part(0.3 * index / len(models), 0.3 * (index + 1) / len(models))
        candidates.append(_Candidate(model, _predict_all(model, task, part)))
    sample = sample_inputs(task, rows)
    with timing_turn(progress):
        _time(candidates, sample, rounds, processes, progress)
        for candidate in candidates if energy else ():
            candidate.power = _power(candidate, sample, progress)
    for candidate in candidates:
        rest(candidate.model)
        _measure_size(candidate, sample, memory, progress)
    records = [_record(candidate, candidates[0], task, len(sample)) for candidate in candidates]
    if ledger:
        ledger.put_all(records)
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
        progress(start / len(inputs), f"quality of {model.card.name}")
        parts.append(model.predict(inputs[start:start + 4 * MAX_BATCH]))
    rest(model)
    return np.concatenate(parts)


def _time(candidates: list[_Candidate], sample: list, rounds: int, processes: int, progress: Progress) -> None:
    for index, candidate in enumerate(candidates):
        progress(0.3 + 0.2 * index / len(candidates), f"finding the batch size of {candidate.model.card.name}")
        candidate.batch_size = best_batch_size(candidate.model, sample, progress)
    sizes = {candidate.model.card.name: candidate.batch_size for candidate in candidates}
    models, part = {candidate.model.card.name: candidate.model for candidate in candidates}, progress.part(0.5, 0.9)
    if processes:
        timed = in_processes(functools.partial(time_models, sample=sample, batch_sizes=sizes, rounds=rounds), models,
                             processes, part)
    else:
        timed = [time_models(models, sample, sizes, rounds, progress=part)]
    for candidate in candidates:
        name = candidate.model.card.name
        candidate.round_s = np.array([whole[name] for whole, _ in timed])
        candidate.single_s = np.concatenate([single[name] for _, single in timed])


def time_models(models: Mapping[str, Model], sample: Sequence, batch_sizes: Mapping[str, int], rounds: int, *,
                patience_s: float = math.inf, progress: Progress = silent) -> tuple[dict[str, np.ndarray], ...]:
    """Seconds of all rows once in each round, and of single rows: two dictionaries, name -> (calls,), in turns.

    Args:
        sample: the inputs, as they come; `batch_sizes` says how many at a time for each model.
        patience_s: see `seconds_in_turns`.

    Hold `timing_turn` around it.
    """
    works, repeats = {}, {}
    for name, model in models.items():
        works[name, "all rows"] = functools.partial(predict_in_batches, model, sample, batch_sizes[name], progress)
        works[name, "one row"] = one_by_one(model, sample)
        repeats[name, "one row"] = math.ceil(max(len(sample), 100) / rounds)
    seconds = seconds_in_turns(works, rounds, warm_up=0, repeats=repeats, patience_s=patience_s, progress=progress)
    return tuple({name: seconds[name, what] for name in models} for what in ("all rows", "one row"))


def in_processes(work: Callable[[dict[str, Model]], Result], models: Mapping[str, Model], processes: int,
                 progress: Progress = silent) -> list[Result]:
    """`work(name -> model)` in so many fresh processes, one after another, each with the models loaded from disk.

    What differs from process to process (where memory lies, which kernels were chosen) differs from result to result.

    Raises:
        InputError: a model that cannot be saved, or a process that failed.
        Cancelled: `progress` cancelled the work; the process is killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        folders = {name: Path(folder) / str(number) for number, name in enumerate(models)}
        for name, model in models.items():
            model.save(folders[name])
        return in_fresh_processes([functools.partial(_with_loaded, work, folders)] * processes, progress)


def in_fresh_processes(works: Sequence[Callable[[], Result]], progress: Progress = silent) -> list[Result]:
    """The result of each work, in a fresh process, one after another.

    Raises:
        InputError: a process that failed.
        Cancelled: `progress` cancelled the work; the process is killed.

    >>> import functools, operator
    >>> from helpers.lab.measuring.comparison import in_fresh_processes
    >>> in_fresh_processes([functools.partial(operator.add, 1, 2)])
    [3]
    """
    from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor, wait

    results = []
    for number, work in enumerate(works):
        progress(number / len(works), f"process {number + 1} of {len(works)}")
        pool = ProcessPoolExecutor(1)
        try:
            future = pool.submit(work)
            while not wait([future], timeout=_ASK_S).done:
                progress.check()
            results.append(future.result())
        except BrokenProcessPool as error:
            raise InputError(f"Process {number + 1} of {len(works)} ended before its result; there may be too "
                             "little memory for all models at once.") from error
        finally:
            pool.shutdown(kill_workers=True)
    return results


def _with_loaded(work: Callable[[dict[str, Model]], Result], folders: dict[str, Path]) -> Result:
    return work({name: load(folder) for name, folder in folders.items()})


def one_by_one(model: Model, sample: list) -> Callable[[], object]:
    """Each call predicts the next row alone; after the last the first comes again."""
    rows = itertools.cycle(sample)
    return lambda: model.predict([next(rows)])


def best_batch_size(model: Model, sample: list, progress: Progress) -> int:
    """The inputs at a time at which the model answers fastest; hold `timing_turn` around it.

    All of BATCH_SIZES are tried, since with streams throughput falls and rises again; of a slow model the ones
    before its patience is over.
    """
    part = sample[:MAX_BATCH]
    settle()
    model.predict(part)  # warm-up: memory is allocated, kernels are chosen
    seconds: dict[int, float] = {}
    for size in (size for size in BATCH_SIZES if size <= len(part)):
        run = functools.partial(predict_in_batches, model, part, size, progress)
        seconds[size] = min(seconds_of(run) for _ in range(2))
        if sum(seconds.values()) > _BATCH_PATIENCE_S:
            break
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
    speedup = (1.0, 1.0, 1.0) if is_reference else _speedup(reference.round_s, candidate.round_s)
    p50, p95, p99 = np.percentile(candidate.single_s * 1000, [50, 95, 99])
    throughput = rows / float(np.exp(np.log(np.median(candidate.round_s, axis=1)).mean()))
    scored = score(answers, labels, task.labels)
    processes, rounds = candidate.round_s.shape
    settings = {**card.settings, "rows_timed": rows, "rounds": rounds, "processes": processes}
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


def _speedup(reference_s: np.ndarray, candidate_s: np.ndarray) -> tuple[float, float, float]:
    """Of (processes, rounds) seconds; over the rounds where there is one process only."""
    if len(reference_s) == 1:
        return ratio_of_medians(reference_s[0], candidate_s[0])
    return ratio_over_processes(np.median(reference_s, axis=1), np.median(candidate_s, axis=1))


def _coverage(model: Model, task: Task) -> dict[str, float]:
    """How much of the test rows the model's encoder cuts off or cannot read; nothing where it has none."""
    encoder = getattr(model, "encoder", None)
    return dataclasses.asdict(encoder.coverage(task.test["text"][:])) if isinstance(encoder, TextEncoder) else {}
