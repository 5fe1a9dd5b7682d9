"""What the benchmarks measured: stored in benchmarks/results.json, and written out in benchmarks/README.md."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import Budget, Row, written
from helpers.lab.machine import describe
from helpers.lab.paths import write_atomically

FOLDER = Path(__file__).parent
INTRODUCTION = """# Benchmarks

This project held against what it was to show, and beside its peers: each run as its own documentation does it, in the \
same run and with the same budget. `make bench` measures and writes this page; nothing on it is written by hand. The \
targets were set before the first run, and one holds if it does at the worse end of the interval (95%). "FALLS SHORT" \
stays in.

Times depend on the machine, and hold for the one named above each table; so figures of two tables can differ by more \
than their intervals. On another machine, `make bench` measures all of it again."""


@dataclasses.dataclass(frozen=True)
class Result:
    """The rows of one part of a benchmark, with where, when, how and by which code (`code_version`) they came about."""

    command: str
    seconds: int
    date: str
    code: str
    machine: Mapping[str, Any]
    budgets: Sequence[Budget]
    rows: Sequence[Row]


def read_results(folder: Path = FOLDER) -> dict[str, Result]:
    """The stored results by the name of their part, in the order in which they were stored."""
    path = folder / "results.json"
    if not path.exists():
        return {}
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {name: Result(**{**one, "budgets": [Budget(**budget) for budget in one["budgets"]],
                            "rows": [Row(**row) for row in one["rows"]]}) for name, one in stored.items()}


def store(name: str, result: Result, order: Sequence[str], folder: Path = FOLDER) -> None:
    """Put a part's result in the place of its last one, and write the page anew.

    Args:
        order: the names of all parts there are; what is stored of any other goes.
    """
    results = {**read_results(folder), name: result}
    results = {part: results[part] for part in order if part in results}
    stored = {part: dataclasses.asdict(one) for part, one in results.items()}
    write_atomically(folder / "results.json", json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    write_atomically(folder / "README.md", as_page(results, order))


def as_page(results: Mapping[str, Result], order: Sequence[str]) -> str:
    """The page in Markdown: what holds and what does not, then a table for each part."""
    return "\n\n".join(_page(results, order)) + "\n"


def _page(results: Mapping[str, Result], order: Sequence[str]) -> Iterator[str]:
    yield INTRODUCTION
    judged = [(name, row) for name, result in results.items() for row in result.rows if row.holds is not None]
    short = [(name, row) for name, row in judged if not row.holds]
    yield (f"Of {len(judged)} figures with a target, {len(judged) - len(short)} hold and {len(short)} fall short"
           + (":" if short else "."))
    if short:
        yield "\n".join(f"- {name}: {_escaped(row.name)}: {written(row)[1].strip()}, target {row.target}"
                        for name, row in short)
    if missing := [name for name in order if name not in results]:
        yield f"Not run yet: {'; '.join(missing)}."
    for name, result in results.items():
        yield f"## {name}"
        yield (f"`{result.command}`, {result.date}, {max(1, round(result.seconds / 60))} min, code {result.code}, on "
               f"{describe(dict(result.machine))}.")
        if result.budgets:
            yield "\n".join(_table(("given to", "rows", "epochs", "teacher", "settings"), [
                (budget.name, f"{budget.rows:,}", budget.epochs, budget.teacher, budget.settings)
                for budget in result.budgets]))
        yield "\n".join(_table(("figure", "value (interval)", "target", ""), [written(row) for row in result.rows]))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (titles, ["---"] * len(titles), *rows):
        yield f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
