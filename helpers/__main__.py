"""The bill and the strategies from a command line, for scripts and CI.

Exit status 1 when a budget is broken, 2 when something asked for cannot be.

python -m helpers bill scenario.toml [--beside today.toml] [--json out.json]
python -m helpers run STRATEGY --task my.csv [--text COLUMN] [--label COLUMN] [--json out.json] [budgets]
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.lab import InputError
from helpers.lab.money.scenario import Scenario, read_scenario
from helpers.lab.paths import write_atomically

MAX_CALLS = 64  # answers that are timed one by one for the simulated fleet
Rows = list[dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0, or 1 where a budget is broken. What cannot be ends as a wrong argument does, with 2."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def bill(options: argparse.Namespace) -> int:
    """Print the bill as Markdown, alone or beside today's, and write it as JSON: the figures of the landing page."""
    from helpers import app
    from helpers.app.export.bill_report import as_json, as_markdown
    from helpers.app.export.two_bills_report import two_bills_json, two_bills_markdown

    asked = read_scenario(options.scenario)
    answer = app.monthly_bill(asked)
    if options.beside:
        both = app.two_bills(read_scenario(options.beside), asked)
        text, written = two_bills_markdown(both), two_bills_json(both)
    else:
        text, written = as_markdown(answer), as_json(answer)
    print(text, end="")
    if options.json:
        write_atomically(options.json, written + "\n")
    return 1 if answer.broken else 0


def run(options: argparse.Namespace) -> int:
    """Print what a strategy does with a task as CSV, write it as JSON, and hold each row against the budgets.

    A budget is kept where at least one row keeps them all, by the lower end of its accuracy's interval.
    """
    from helpers.app.records import explored_json, rows_csv
    from helpers.lab import load_task

    budgets = {name: value for name in BUDGETS if (value := getattr(options, name)) is not None}
    if not 0 <= budgets.get("min_accuracy", 0) <= 1:
        raise InputError(f"--min-accuracy is a share from 0 to 1, not {budgets['min_accuracy']:g}: "
                         "write 0.85 for 85%.")
    task = load_task(options.task, test=options.test, text=options.text, label=options.label)
    rows = STRATEGIES[options.strategy](task)
    if missing := [name for name in budgets if not any(BUDGETS[name][0] in row for row in rows)]:
        raise InputError(f"'run {options.strategy}' has no column {BUDGETS[missing[0]][0]} to hold against "
                         f"--{missing[0].replace('_', '-')}: leave it out.")
    broken = broken_budgets(rows, budgets)
    print(rows_csv(rows) if rows else "There is nothing to list.\n", end="")
    for sentence in broken:
        print(sentence, file=sys.stderr)
    if options.json:
        settings = {"strategy": options.strategy, "task": str(options.task), "budgets": budgets, "broken": broken}
        write_atomically(options.json, explored_json(rows, settings) + "\n")
    return 1 if broken else 0


# Budget -> the column it holds, and whether it is the least or the most that this may be.
BUDGETS = {"min_accuracy": ("accuracy_low", min), "max_usd_per_million": ("usd_per_million", max),
           "max_usd_month": ("usd_month", max), "max_p95_ms": ("p95_ms", max)}


def broken_budgets(rows: Rows, budgets: dict[str, float]) -> list[str]:
    """The sentence that says that no row keeps all budgets; nothing where one does.

    >>> broken_budgets([{"p95_ms": 9.0}], {"max_p95_ms": 5.0})
    ['No row keeps all budgets: p95_ms at most 5.']
    """
    def kept(row: dict[str, Any]) -> bool:
        columns = {name: BUDGETS[name] for name in budgets}
        return all(row.get(column) is not None and worse(row[column], budgets[name]) == budgets[name]
                   for name, (column, worse) in columns.items())

    if not budgets or any(kept(row) for row in rows):
        return []
    limits = [f"{BUDGETS[name][0]} at {'least' if BUDGETS[name][1] is min else 'most'} {value:g}"
              for name, value in budgets.items()]
    return [f"No row keeps all budgets: {', '.join(limits)}."]


def _compared(models: Sequence[Any], task: Any) -> Rows:
    from helpers.lab import compare

    return [record.row() for record in compare(models, task).measurements]


def optimization(task: Any) -> Rows:
    """The reference, and int8 in ONNX Runtime."""
    from helpers.lab import baseline
    from helpers.model_optimization import quantize

    base = baseline(task)
    return _compared([base, quantize(base, task, "dynamic-int8")], task)


def architectures(task: Any) -> Rows:
    """The steps of the ladder that train in seconds, beside the fine-tuned model."""
    from helpers.efficient_architectures import ladder

    return _compared(ladder(task, ("fine-tuned", "majority", "tfidf", "static", "frozen")), task)


def codesign(task: Any) -> Rows:
    """The same weights in PyTorch and in ONNX Runtime, with one stream and with two."""
    from helpers.lab import baseline, export

    base = baseline(task)
    return _compared([base, export(base, "onnxruntime"), export(base, "onnxruntime", streams=2)], task)


def data(task: Any) -> Rows:
    """The rows whose label is probably wrong, most doubtful first."""
    from helpers.data_efficiency import find_label_errors

    return find_label_errors(task).to_dict("records")


def cloud(task: Any) -> Rows:
    """An hour of a scenario's default traffic, simulated, on fleets of 1 to 16 machines that run the reference."""
    from helpers.cloud_distributed import Fleet, ServiceTimes, poisson, simulate
    from helpers.cloud_distributed import bill as billed
    from helpers.lab import baseline

    scenario, base = Scenario(), baseline(task)
    machine, places = scenario.machine, max(1, (scenario.machine.vcpus or 1) // 2)
    arrivals = poisson(scenario.per_second, 3600.0)
    service = ServiceTimes({1: _seconds(base.predict, task.test["text"][:MAX_CALLS])})
    rows = []
    for replicas in (1, 2, 4, 8, 16):
        done = simulate(arrivals, service, Fleet(replicas=replicas, concurrency=places, queue_limit=1000))
        rows.append({"machines": replicas, "usd_month": billed(done, machine).usd_month,
                     "p95_ms": 1e3 * float(done.latency_quantiles_s([0.95])[0]),
                     "late": done.late(scenario.deadline_ms / 1e3)})
    return rows


def _seconds(predict: Callable[[list[str]], Any], texts: Sequence[str]) -> list[float]:
    """Seconds of one answer at a time, while nobody else on this machine times anything."""
    from helpers.lab.measuring.timing import timing_turn

    seconds = []
    with timing_turn():
        predict(list(texts[:1]))  # warm
        for text in texts:
            began = time.perf_counter()
            predict([text])
            seconds.append(time.perf_counter() - began)
    return seconds


STRATEGIES: dict[str, Callable[[Any], Rows]] = {
    "optimization": optimization, "architectures": architectures, "codesign": codesign, "data": data, "cloud": cloud}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("bill", help=bill.__doc__, description=bill.__doc__)
    one.add_argument("scenario", type=Path, help="a TOML file with fields of helpers.lab.money.scenario.Scenario")
    one.add_argument("--beside", type=Path, metavar="TODAY", help="today's scenario, to hold the first against")
    one.set_defaults(command=bill)
    other = commands.add_parser("run", help=run.__doc__.splitlines()[0], description=run.__doc__.splitlines()[0])
    other.add_argument("strategy", choices=STRATEGIES)
    other.add_argument("--task", default="tickets", help="built-in task, file, or hub:owner/name")
    other.add_argument("--test", help="file with the test rows")
    other.add_argument("--text", default="text", help="column of the texts")
    other.add_argument("--label", default="label", help="column of the labels")
    for name, (column, worse) in BUDGETS.items():
        other.add_argument(f"--{name.replace('_', '-')}", type=float, metavar="NUMBER",
                           help=f"the {'least' if worse is min else 'most'} that {column} may be")
    other.set_defaults(command=run)
    for command in (one, other):
        command.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
