"""Parts that all benchmarks share: arguments, rows with targets, peers, budgets, the front, the table, the JSON."""

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.recipes import loadable_peers
from helpers.lab import Comparison, InputError, Measurement, Task, compare, fingerprint, load_task
from helpers.lab.machine import describe
from helpers.lab.measuring.intervals import bootstrap_interval, ratio_of_medians
from helpers.lab.measuring.measurement import BesideTheConstant, code_version
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import Model
from helpers.lab.paths import write_atomically

PAR = 1.0  # ours over a peer: what is less than the peer is behind it, by however little
COLUMNS = ["model", "accuracy", "accuracy_delta", "accuracy_delta_low", "accuracy_delta_high", "majority", "speedup",
           "speedup_low", "speedup_high", "p50_ms", "p95_ms", "artefact_mb", "parameters", "macs", "usd_per_million"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure that the benchmark is asked to show, whether it holds or not."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    target: str
    holds: bool | None


def at_least(name: str, value: float, target: float, unit: str, low: float | None = None,
             high: float | None = None, of: BesideTheConstant | None = None) -> Row:
    """A figure that should be `target` or more, at the lower end of its interval where it has one.

    Args:
        of: the model that the figure is of: nothing holds of one that is no better than the most frequent label.

    >>> at_least("twice as fast", 2.1, 2.0, "x", low=1.9, high=2.3).holds
    False
    """
    return _judged(Row(name, value, low, high, unit, f">= {target:g}", None), value if low is None else low, target, of)


def at_most(name: str, value: float, target: float, unit: str, low: float | None = None,
            high: float | None = None, of: BesideTheConstant | None = None) -> Row:
    """A figure that should be `target` or less, at the upper end of its interval where it has one; see `at_least`."""
    row = Row(name, value, low, high, unit, f"<= {target:g}", None)
    return _judged(row, -(value if high is None else high), -target, of)


def _judged(row: Row, worst: float, least: float, of: BesideTheConstant | None) -> Row:
    if of is not None and not of.learned:
        return dataclasses.replace(row, holds=False, target=f"{row.target}, by a model better than the majority class")
    return dataclasses.replace(row, holds=bool(worst >= least))


def shown(name: str, value: float | None, unit: str, low: float | None = None, high: float | None = None) -> Row:
    """A figure without a target."""
    return Row(name, value, low, high, unit, "", None)


def beside(what: str, peer: str, ratio: float, low: float, high: float, of: BesideTheConstant | None = None) -> Row:
    """Ours over a peer, called what it is: ahead, behind, or not significantly different.

    >>> row = beside("texts a second", "X", 0.93, 0.91, 0.96)
    >>> row.unit, row.holds
    ('of X: behind', False)
    """
    standing = "ahead" if low > PAR else "behind" if high < PAR else "no significant difference"
    return at_least(f"{what}, over {peer}", ratio, PAR, f"of {peer}: {standing}", low, high, of)


def distance(value: float, low: float, high: float, expected: float) -> tuple[float, float, float]:
    """How far a value is from what was expected: (distance, the least and the most over the interval)."""
    near, far = sorted((abs(low - expected), abs(high - expected)))
    return abs(value - expected), 0.0 if low <= expected <= high else near, far


def p95(values: Sequence[float]) -> tuple[float, float, float]:
    """The value that 95% do not exceed: (value, low, high) by the bootstrap."""
    return bootstrap_interval(lambda drawn, axis: np.quantile(drawn, 0.95, axis=axis, method="inverted_cdf"), values)


@dataclasses.dataclass(frozen=True)
class Learner(BesideTheConstant):
    """A baseline that is not measured: the lower end of its accuracy, the share of the most frequent label."""

    accuracy_low: float
    majority: float


def majority_of(task: Task) -> float:
    """The share of the most frequent label among the test rows."""
    return float(np.bincount(task.test["label"][:]).max() / len(task.test))


@dataclasses.dataclass(frozen=True)
class Budget:
    """A candidate's budget: epochs over so many training rows, a teacher, calibration rows; whose settings.

    What is timed beside each other gets the same rows and rounds, since one call of `compare` times them all.
    """

    name: str
    settings: str
    rows: int
    epochs: str = "0"
    teacher: str = "none"


@dataclasses.dataclass(frozen=True)
class Point:
    """A candidate in the plane of quality (more is better) and cost (less is better)."""

    name: str
    quality: float
    cost: float


def points(records: Sequence[Measurement]) -> list[Point]:
    """Accuracy and dollars per million predictions of the models that are better than the most frequent label."""
    return [Point(record.model, record.accuracy, record.usd_per_million) for record in records if record.learned]


def front_rows(ours: Sequence[Point], peers: Sequence[Point], cost: str) -> list[Row]:
    """For each peer whether one of ours has no lower quality at no higher cost, and which comes nearest to that.

    The value is the cost of ours over the peer's, ours being the cheapest of no lower quality; None where all are
    worse. By the figures themselves: `against` tells how sure the difference from each peer is.

    Args:
        cost: its unit.

    >>> mine = [Point("small", 0.90, 1.0), Point("large", 0.95, 4.0)]
    >>> [row.holds for row in front_rows(mine, [Point("a", 0.89, 2.0), Point("b", 0.92, 2.0)], "$")]
    [True, False]
    """
    rows = []
    for peer in peers:
        best = min((point for point in ours if point.quality >= peer.quality), key=lambda point: point.cost,
                   default=None)
        words = f"front at {peer.name} ({peer.quality:.1%}, {plain(peer.cost)} {cost}): "
        words += "all of ours are worse" if best is None else f"{best.name} ({best.quality:.1%}, {plain(best.cost)})"
        rows.append(Row(words, best and best.cost / peer.cost, None, None, "of its cost", "<= 1",
                        best is not None and best.cost <= peer.cost))
    return rows


def compared(models: Sequence[Model], task: Task, timing: Mapping[str, Any], energy: bool = False) -> Comparison:
    """Models side by side on the test rows, printed. `timing`: see `compare`."""
    with loadable_peers():
        result = compare(models, task, energy=energy, memory=False, **timing)
    frame = result.frame()[[*COLUMNS, *(["joules"] if energy else [])]]
    print(frame.assign(batch=[m.batch_size for m in result.measurements]).round(4).to_string(index=False), flush=True)
    return result


def against(ours: Model, peers: Sequence[Model], task: Task, timing: Mapping[str, Any]) -> list[Row]:
    """Ours over each peer, timed in one more run with ours as the reference, so that each ratio has its interval."""
    first, *others = compared([ours, *peers], task, timing).measurements
    rows = []
    for peer in others:
        rows += [beside(f"{first.model}: throughput", peer.model, 1 / peer.speedup, 1 / peer.speedup_high,
                        1 / peer.speedup_low, first),
                 shown(f"{first.model}: accuracy above {peer.model}'s", -100 * peer.accuracy_delta, "points",
                       -100 * peer.accuracy_delta_high, -100 * peer.accuracy_delta_low)]
    return rows


def raced(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[
        float, float, tuple[float, float, float]]:
    """Median seconds of ours and of theirs, timed in turns, and (theirs over ours, low, high): times ours is faster."""
    with timing_turn():
        seconds = seconds_in_turns({"ours": ours, "theirs": theirs}, rounds)
    ratio = ratio_of_medians(seconds["theirs"], seconds["ours"])
    return float(np.median(seconds["ours"])), float(np.median(seconds["theirs"])), ratio


def on_validation(task: Task) -> Task:
    """The task with its validation rows as test rows: to choose on."""
    return dataclasses.replace(task, name=f"{task.name} (validation)", test=task.validation)


def arguments(description: str, parts: Sequence[str] = ()) -> argparse.Namespace:
    """The command line that all benchmarks take; with `parts`, `only` lists the requested ones."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--task", default="tickets", help="built-in task, file, or hub:owner/name")
    parser.add_argument("--test", help="file with the test rows")
    parser.add_argument("--text", default="text", help="column of the texts")
    parser.add_argument("--label", default="label", help="column of the labels")
    parser.add_argument("--quick", action="store_true", help="fewer rows and settings: a look, not a claim")
    parser.add_argument("--json", type=Path, help="write machine and rows to this file")
    if parts:
        parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="parts to run; all by default")
    return parser.parse_args()


def task_of(options: argparse.Namespace) -> Task:
    """The task that the command line names; a wrong one ends the program with its sentence."""
    try:
        task = load_task(options.task, test=options.test, text=options.text, label=options.label)
    except InputError as error:
        sys.exit(str(error))
    return task.take(train=600, test=240) if options.quick else task


def finish(rows: list[Row], path: Path | None, budgets: Sequence[Budget] = ()) -> None:
    """Print the table, and above it what each candidate was given; write the JSON where asked."""
    machine = fingerprint()
    print(f"\n{describe(machine)}")
    for budget in budgets:
        print(f"given to {budget.name:<55} rows {budget.rows:>7,}  epochs {budget.epochs:<18} teacher "
              f"{budget.teacher:<10} settings: {budget.settings}")
    for row in rows:
        name, figure, target, verdict = written(row)
        print(f"{name:<72} {figure} {target:<9} {verdict}")
    if path:
        content = {"date": datetime.date.today().isoformat(), "code": code_version(), "machine": machine,
                   "budgets": [dataclasses.asdict(budget) for budget in budgets],
                   "rows": [dataclasses.asdict(row) for row in rows]}
        write_atomically(path, json.dumps(content, indent=1))


def written(row: Row) -> tuple[str, str, str, str]:
    """A row in words: its name; the figure with its interval and unit; the target; whether it holds.

    >>> written(at_least("twice as fast", 2.1, 2.0, "x", low=1.9, high=2.3))
    ('twice as fast', '2.1 (1.9 to 2.3) x', '>= 2', 'FALLS SHORT')
    """
    value = "-" if row.value is None else plain(row.value)
    interval = "" if row.low is None else f" ({plain(row.low)} to {plain(row.high)})"
    verdict = {True: "holds", False: "FALLS SHORT", None: ""}[row.holds]
    return row.name, f"{value}{interval} {row.unit}", row.target, verdict


def plain(value: float) -> str:
    """Four significant digits, never with an exponent: '12350', '0.04562'."""
    return np.format_float_positional(value + 0.0, precision=4, fractional=False, trim="-")  # -0 is 0
