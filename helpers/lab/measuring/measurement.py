"""The one record of all notebooks: what a candidate is worth and what it costs."""

import dataclasses
import datetime
import functools
import hashlib
import json
import math
import uuid
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

from helpers.lab.errors import InputError
from helpers.lab.paths import write_atomically

Provenance = Literal["measured", "recorded", "simulated"]

COLUMNS = ("model", "strategy", "accuracy", "accuracy_low", "accuracy_high", "accuracy_delta", "accuracy_delta_low",
           "accuracy_delta_high", "majority", "macro_f1", "weakest_recall", "speedup", "speedup_low", "speedup_high",
           "p50_ms", "p95_ms", "p99_ms", "throughput_per_s", "artefact_mb", "parameters", "macs", "peak_mb",
           "joules_low", "joules", "joules_high", "usd_per_million", "provenance")


class BesideTheConstant:
    """A record of an accuracy with its interval, and of the share of rows that the most frequent label has."""

    accuracy_low: float
    majority: float | None

    @property
    def learned(self) -> bool | None:
        """Whether it is significantly more accurate than always giving the most frequent label (95%).

        None where that label's share was not recorded.
        """
        return None if self.majority is None else self.accuracy_low > self.majority


@dataclasses.dataclass(frozen=True)
class Score(BesideTheConstant):
    """How often answers are right, and whom they fail; fractions, the interval is Wilson's of 95%.

    majority: the accuracy of always giving the most frequent label of these rows; weakest_recall: of the class whose
    rows are least often answered correctly; weakest_class: its name.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    majority: float
    macro_f1: float
    weakest_recall: float
    weakest_class: str


def score(answers: Sequence[int], labels: Sequence[int], names: Sequence[str] | None = None) -> Score:
    """Accuracy beside the constant answer's, macro F1 and the weakest class.

    Args:
        answers, labels: (n,) numbers of classes.
        names: of the classes; their numbers by default.

    Macro F1 is over the classes that occur among labels or answers; a class without test rows has no recall. Of several
    weakest classes the most frequent one is named.

    >>> from helpers.lab import score
    >>> found = score([0] * 100, [0] * 99 + [1], names=["no", "yes"])
    >>> found.accuracy, found.majority, found.learned, found.weakest_class, found.weakest_recall
    (0.99, 0.99, False, 'yes', 0.0)
    """
    import numpy as np  # a page of recorded results opens without them
    from sklearn.metrics import f1_score

    from helpers.lab.measuring.intervals import wilson

    answers, labels = np.asarray(answers), np.asarray(labels)
    right = answers == labels
    present, counts = np.unique(labels, return_counts=True)
    recalls = np.array([right[labels == label].mean() for label in present])
    weakest = np.lexsort((-counts, recalls))[0]
    return Score(float(right.mean()), *wilson(int(right.sum()), len(right)), float(counts.max() / len(labels)),
                 float(f1_score(labels, answers, average="macro", zero_division=0)), float(recalls[weakest]),
                 str(names[present[weakest]] if names is not None else present[weakest]))


@dataclasses.dataclass(frozen=True)
class Measurement(BesideTheConstant):
    """One candidate on one task on one machine.

    Fractions, not percent; 95% intervals; seconds, bytes and joules per prediction unless the
    name says otherwise. `accuracy_delta` and `speedup` are against the first model of the same run.

    `majority`, `weakest_recall` and `weakest_class` are as in `Score`; `unknown`, `rows_cut` and `tokens_cut` as in
    `Coverage`, of the model's encoder on the test rows. None in older records, and where a model has no encoder.
    `calibration_error` is None where answers come without probabilities. `settings["slots"]`: the requests that are
    answered together, in whose company the latencies were measured; 1 where it is missing.
    """

    task: str
    model: str
    strategy: str
    settings: dict[str, Any]
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    accuracy_delta: float
    accuracy_delta_low: float
    accuracy_delta_high: float
    macro_f1: float
    calibration_error: float | None
    rows: int
    speedup: float
    speedup_low: float
    speedup_high: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    throughput_per_s: float
    batch_size: int
    threads: int
    artefact_bytes: int
    parameters: int | None
    macs: int | None
    peak_bytes: int | None
    joules_low: float | None
    joules: float | None
    joules_high: float | None
    energy_method: str
    made_in_s: float
    usd_per_million: float
    reference: str
    machine: dict[str, Any]
    key: str
    provenance: Provenance = "measured"
    measured_at: str = dataclasses.field(
        default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"))
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    majority: float | None = None
    weakest_recall: float | None = None
    weakest_class: str | None = None
    unknown: float | None = None
    rows_cut: float | None = None
    tokens_cut: float | None = None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Measurement":
        """The record that `to_json` wrote."""
        return cls(**json.loads(line))

    def least_delta(self, candidates: int) -> float:
        """The lower bound of `accuracy_delta` that holds for all of so many candidates at once, with 95% confidence.

        Bonferroni's, with the shape of a normal estimate.
        """
        alone, together = (NormalDist().inv_cdf(1 - 0.025 / count) for count in (1, candidates))
        return self.accuracy_delta - (self.accuracy_delta - self.accuracy_delta_low) * together / alone

    def row(self) -> dict[str, Any]:
        """The record under the column names that tables use; megabytes are 10^6 bytes."""
        values = dataclasses.asdict(self)
        values["artefact_mb"] = self.artefact_bytes / 1e6
        values["peak_mb"] = self.peak_bytes / 1e6 if self.peak_bytes is not None else None
        return {name: values[name] for name in COLUMNS}


def ratio_of_speedups(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """Factor by which one change multiplied a speed-up: (after / before, low, high).

    Args:
        before, after: speed-ups over one and the same reference, each as (value, low, high), all above 0.

    The bounds combine those of the two logarithms as Zou and Donner do for a difference (MOVER; Statistics in Medicine
    27:1693, 2008). What slows the reference moves both alike, which is left out: rather too wide than too narrow.

    Raises:
        InputError: a speed-up or a bound of 0 or less.

    >>> from helpers.lab.measuring.measurement import ratio_of_speedups
    >>> [round(bound, 2) for bound in ratio_of_speedups((1.0, 1.0, 1.0), (2.0, 1.5, 2.5))]
    [2.0, 1.5, 2.5]
    """
    if min(*before, *after) <= 0:
        raise InputError(f"Speed-ups and their bounds are above 0, not {min(*before, *after):g}: measure them again.")
    first, first_low, first_high = map(math.log, before)
    last, last_low, last_high = map(math.log, after)
    step = last - first
    return (math.exp(step), math.exp(step - math.hypot(last - last_low, first_high - first)),
            math.exp(step + math.hypot(last_high - last, first - first_low)))


def key_of(task_digest: str, model: str, settings: dict[str, Any], machine_id: str) -> str:
    """Same settings, data, code and machine give the same 64 hex digits."""
    parts = [task_digest, model, settings, machine_id, code_version()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def code_version() -> str:
    """Digest of this package's sources (12 hex digits): a changed experiment is another experiment."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def read_recorded(path: Path) -> list[Measurement]:
    """Records of another run, one JSON line each, with provenance `recorded`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [dataclasses.replace(Measurement.from_json(line), provenance="recorded") for line in lines if line.strip()]


def write_recorded(path: Path, measurements: list[Measurement]) -> None:
    """Write records to be shipped, one JSON line each."""
    write_atomically(path, "".join(m.to_json() + "\n" for m in measurements))


def coverage_notes(measurements: Sequence[Measurement]) -> list[str]:
    """List test rows that encoders cut off or could not read; models that read alike share a sentence."""
    alike: dict[tuple[float | None, ...], list[str]] = {}
    for one in measurements:
        if one.rows_cut is not None:
            alike.setdefault((one.rows_cut, one.tokens_cut, one.unknown), []).append(one.model)
    return [f"{'Every model' if len(models) == len(measurements) else ', '.join(models)}: {rows:.1%} of the rows are "
            f"longer than its token limit; of all tokens {tokens:.1%} are cut off and {unknown:.1%} unknown."
            for (rows, tokens, unknown), models in alike.items()]
