"""What all benchmarks share: arguments, rows, the table and the JSON file."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.lab import InputError, Task, fingerprint, load_task
from helpers.lab.machine import describe


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
             high: float | None = None) -> Row:
    """A figure that should be `target` or more."""
    return Row(name, value, low, high, unit, f">= {target:g}", bool(value >= target))


def at_most(name: str, value: float, target: float, unit: str, low: float | None = None,
            high: float | None = None) -> Row:
    """A figure that should be `target` or less."""
    return Row(name, value, low, high, unit, f"<= {target:g}", bool(value <= target))


def shown(name: str, value: float | None, unit: str, low: float | None = None, high: float | None = None) -> Row:
    """A figure without a target."""
    return Row(name, value, low, high, unit, "", None)


def arguments(description: str, parts: Sequence[str] = ()) -> argparse.Namespace:
    """The command line that all benchmarks take; where there are `parts`, `only` has those that are asked for."""
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


def finish(rows: list[Row], path: Path | None) -> None:
    """Print the table; write the JSON where asked."""
    machine = fingerprint()
    print(f"\n{describe(machine)}")
    for row in rows:
        value = "-" if row.value is None else _plain(row.value)
        interval = "" if row.low is None else f" ({_plain(row.low)} to {_plain(row.high)})"
        verdict = {True: "holds", False: "FALLS SHORT", None: ""}[row.holds]
        print(f"{row.name:<72} {value}{interval} {row.unit:<12} {row.target:<9} {verdict}")
    if path:
        path.write_text(json.dumps({"machine": machine, "rows": [dataclasses.asdict(row) for row in rows]}, indent=1),
                        encoding="utf-8")


def _plain(value: float) -> str:
    """Four significant digits, never with an exponent: '12350', '0.04562'."""
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")
