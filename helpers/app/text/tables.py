"""The result table: two significant digits, units in the header, intervals and provenance in each row."""

import html
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import HTML

from helpers.app.records import listed
from helpers.app.text.figures import NAMED, NONE, in_percent, interval, origins, signed, two
from helpers.app.text.words import shown
from helpers.lab.measuring.measurement import Measurement, coverage_notes

Cell = tuple[str, str]  # the figure and, smaller, its interval


def table(measurements: Any) -> HTML:
    """Records as a table that scrolls inside itself on a narrow page; the first row is the reference."""
    return shown(table_html(listed(measurements)))


def table_html(records: Sequence[Measurement]) -> str:
    """The table's elements without their style."""
    columns = [column for column in _COLUMNS if any(column[2](record)[0] != NONE for record in records)]
    numbered = "" if len(records) <= NAMED else "numbered as in the chart"
    titles = [("Model", numbered), *((name, unit) for name, unit, _ in columns[1:])]
    head = "".join(f"<th scope='col'>{name}<small>{unit}</small></th>" for name, unit in titles)
    rows = "".join(f"<tr>{_first(record, number, len(records))}"
                   + "".join(_cell(of(record)) for _, _, of in columns[1:]) + "</tr>"
                   for number, record in enumerate(records, 1))
    return (f"<div class='app-table' tabindex='0' role='region' aria-label='Results'><table><thead><tr>{head}"
            f"</tr></thead><tbody>{rows}</tbody></table></div>{_how(records)}")


def _first(record: Measurement, number: int, of: int) -> str:
    """The model, with the number that its mark bears where names have no room in the chart."""
    return _cell((record.model if of <= NAMED else f"{number}. {record.model}", record.strategy))


def _cell(cell: Cell) -> str:
    figure, below = cell
    return f"<td>{html.escape(figure)}{f'<small>{html.escape(below)}</small>' if below else ''}</td>"


def _accuracy(record: Measurement) -> Cell:
    return in_percent(record.accuracy), interval(100 * record.accuracy_low, 100 * record.accuracy_high)


def _difference(record: Measurement) -> Cell:
    if record.model == record.reference:
        return "reference", ""
    return (signed(100 * record.accuracy_delta),
            f"{signed(100 * record.accuracy_delta_low)} to {signed(100 * record.accuracy_delta_high)}")


def _weakest(record: Measurement) -> Cell:
    return in_percent(record.weakest_recall), record.weakest_class or ""


def _cost(record: Measurement) -> Cell:
    ratio = record.usd_per_million * record.speedup
    return two(record.usd_per_million), interval(ratio / record.speedup_high, ratio / record.speedup_low)


def _energy(record: Measurement) -> Cell:
    if record.joules is None:
        return NONE, ""
    wh = 1000 / 3600  # of 1,000 predictions, from joules of one
    return two(wh * record.joules), interval(wh * (record.joules_low or 0), wh * (record.joules_high or 0))


def _size(record: Measurement) -> Cell:
    return two(record.artefact_bytes / 1e6), f"{two(record.parameters / 1e6)} M par." if record.parameters else ""


def _provenance(record: Measurement) -> Cell:
    return record.provenance, record.measured_at[:10]


_COLUMNS: tuple[tuple[str, str, Callable[[Measurement], Cell]], ...] = (
    ("Model", "", lambda r: (r.model, r.strategy)),
    ("Accuracy", "%", _accuracy),
    ("Difference", "points", _difference),
    ("Constant", "accuracy, %", lambda r: (in_percent(r.majority), "")),
    ("Macro F1", "", lambda r: (two(r.macro_f1), "")),
    ("Weakest class", "found, %", _weakest),
    ("Cost", "$ per million", _cost),
    ("Speed-up", "times", lambda r: (two(r.speedup), interval(r.speedup_low, r.speedup_high))),
    ("Throughput", "per second", lambda r: (two(r.throughput_per_s), f"batch {r.batch_size}")),
    ("Latency", "ms, p50", lambda r: (two(r.p50_ms), f"p95 {two(r.p95_ms)}")),
    ("Size", "MB", _size),
    ("Memory", "MB", lambda r: (two(r.peak_bytes / 1e6) if r.peak_bytes else NONE, "")),
    ("Energy", "Wh per 1,000", _energy),
    ("Provenance", "", _provenance),
)


def _repeated(record: Measurement) -> str:
    """What was repeated, and so what the speed-up's interval is over."""
    rounds, processes = record.settings.get("rounds"), record.settings.get("processes")
    if not rounds:
        return ""
    return f", {rounds} rounds" + (f" in each of {processes} processes" if processes and processes > 1 else "")


def _how(records: Sequence[Measurement]) -> str:
    if not records:
        return ""
    first = records[0]
    lines = [*origins(records), "No model was trained on the test rows; accuracy with Wilson's 95 % interval, "
             "differences paired on the same rows."]
    if any(record.majority is not None for record in records):
        lines.append("Constant: the accuracy of always giving the most frequent label. Macro F1 counts each class the "
                     "same; the weakest class is the one whose rows are least often found.")
    lines += coverage_notes(records)
    lines.append(f"{first.threads} threads, models timed in turns{_repeated(first)}; speed-up is the ratio of "
                 "throughputs at each model's best batch size.")
    if any(record.joules is not None for record in records):
        from helpers.lab.measuring.energy import energy_scores  # with NumPy, which many pages do without

        lines.append(f"Energy: {first.energy_method}; from what the work adds to an idle machine to the hungriest "
                     "comparable machine at full load.")
        if any(record.rows_cut is not None for record in records):  # texts
            lines.append(energy_scores())
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<details class='app-how'><summary>How was this measured?</summary><ul>{items}</ul></details>"
