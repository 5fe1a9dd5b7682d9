"""Whether recorded figures can be true, and whether those of the same thing agree.

A fault is a sentence. Nothing is put right here: a figure that cannot be is recorded again, or its method mended.
"""

import dataclasses
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.lab.measuring.intervals import bootstrap_interval
from helpers.lab.measuring.measurement import Measurement, read_recorded

TOLERANCE = 1.25  # two figures of one thing: the larger at most so many times the smaller
SAME_MODEL = {"PyTorch fp32": "MiniLM-L6 fp32, PyTorch"}  # names of one model in different tables
SHARES = {"share", "right", "resolved", "message", "field", "valid", "same", "constant", "utilisation", "utilization",
          "padding_share", "same_answers", "accuracy", "last_accuracy", "recall", "f1", "precision", "escalated",
          "extracted", "repeated", "test_in_train", "majority", "macro_f1", "weakest_recall", "rows_cut", "tokens_cut",
          "unknown"}
_TIMES = ("_s", "_ms", "seconds", "ms", "latency")
_RATES = ("_per_s",)  # end like a time
_SCALED, _NOT_SCALED = 0.8, 0.6  # of the threads: what one library reaches, and what another must not fall below
_ALMOST = 1e-9


@dataclasses.dataclass(frozen=True)
class Sighting:
    """One figure of one model, as one record has it.

    record: the file's name; setting: what else must be the same for two figures to be of one thing (threads, batch,
    streams); figure: what it is, with its unit; low, high: its interval, where it has one.
    """

    record: str
    model: str
    machine: str
    task: str
    setting: tuple
    figure: str
    value: float
    low: float | None = None
    high: float | None = None


def impossible(result: pd.DataFrame | Sequence[Measurement]) -> list[str]:
    """Find what is impossible in a table, or in the measurements of one run: a sentence for each fault.

    Shares are fractions of 1, and a roofline's is where arithmetic limits; an interval holds its value; times are not
    negative; an accuracy is a whole number of right answers; energy has a band; a speed-up is the throughputs' ratio.

    >>> import pandas as pd
    >>> from helpers.lab.measuring.checks import impossible
    >>> impossible(pd.DataFrame({"padding": ["fixed"], "padding_share": [1.2]}))
    ['fixed has a padding_share of 1.2, which is not between 0 and 1.']
    """
    if isinstance(result, pd.DataFrame):
        checks = (_shares, _roofline, _times, _intervals, _threads, _losses)
        return [fault for check in checks for fault in check(result)]
    return [fault for one in result for fault in _measurement(one)] + list(_ratios(result))


def disagreements(sightings: Iterable[Sighting], tolerance: float = TOLERANCE) -> list[tuple[set[str], str]]:
    """(records, sentence) of each thing that stands in two records with two values, or on two machines.

    Two values disagree where the larger is more than `tolerance` times the smaller, and their intervals do not meet; a
    value without one counts as it is.

    >>> from helpers.lab.measuring.checks import Sighting, disagreements
    >>> seen = [Sighting("times", "MiniLM", "one", "tickets", (), "ms for one text", 80.0),
    ...         Sighting("batches", "MiniLM", "one", "tickets", (), "ms for one text", 22.0)]
    >>> disagreements(seen)[0][1]
    'MiniLM on tickets: ms for one text is 22 in batches and 80 in times, on the same machine.'
    """
    sentences = []
    groups: dict[tuple, list[Sighting]] = defaultdict(list)
    for one in sightings:
        groups[one.model, one.task, one.setting, one.figure].append(one)
    for (model, task, _, figure), seen in groups.items():
        seen.sort(key=lambda one: one.value)
        if len({one.machine for one in seen}) > 1:
            places = {one.machine: one for one in seen}.values()
            sentences.append(({one.record for one in seen}, f"{model} on {task}: {figure} comes from {len(places)} "
                          f"machines: {', '.join(f'{one.value:.3g} in {one.record}' for one in places)}."))
        for low, high in itertools.combinations(seen, 2):
            if low.machine == high.machine and high.value > tolerance * low.value and not _meet(low, high):
                sentences.append(({low.record, high.record}, f"{model} on {task}: {figure} is {low.value:.3g} in "
                              f"{low.record} and {high.value:.3g} in {high.record}, on the same machine."))
    return sentences


def faults(paths: Iterable[Path], tokens: Mapping[str, float]) -> dict[str, list[str]]:
    """Find faults in files of recorded results: name -> sentences; a disagreement stands under each of its files.

    Args:
        tokens: task -> tokens of its median text, at which tables of times over lengths are read: it takes the p50.
    """
    sentences: dict[str, list[str]] = defaultdict(list)
    sightings: list[Sighting] = []
    for path in paths:
        if path.suffix == ".jsonl":
            records = read_recorded(path)
            sentences[path.name] += impossible(records)
            sightings += sightings_of(path.name, records)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            frame = pd.DataFrame(content["rows"], columns=content["columns"])
            sentences[path.name] += impossible(frame)
            sightings += sightings_in(path.name, frame, content["machine"], content.get("data"), tokens)
    for records, said in disagreements(sightings):
        for name in sorted(records):
            sentences[name].append(said)
    return {name: said for name, said in sentences.items() if said}


def sightings_of(record: str, measurements: Sequence[Measurement]) -> Iterator[Sighting]:
    """Each measurement's throughput, price and latency."""
    for one in measurements:
        setting = ("threads", one.threads)
        batch = (*setting, "batch", one.batch_size)
        for key, figure, value in ((batch, "texts a second", one.throughput_per_s),
                                   (batch, "dollars per million", one.usd_per_million),
                                   (setting, "ms for one text", one.p50_ms)):
            model = SAME_MODEL.get(one.model, one.model)
            yield Sighting(record, model, one.machine["id"], one.task, key, figure, value)


def sightings_in(record: str, frame: pd.DataFrame, machine: Mapping, task: str | None,
                 tokens: Mapping[str, float]) -> Iterator[Sighting]:
    """The latency of single texts that a table has: in a column p50_ms, in calls by batch, or in times by length."""
    name = next((column for column in ("name", "model") if column in frame), None)
    if name is None or machine["gpu"]:
        return
    setting = ("threads", machine["cores"])
    for model, rows in frame.groupby(name, sort=False):
        shown = SAME_MODEL.get(model, model)
        if {"batch", "length", "seconds"} <= set(rows):
            single = rows[rows["batch"] == 1].sort_values("length")
            for of, length in tokens.items() if len(single) else ():
                at = 1000 * float(np.interp(length, single["length"], single["seconds"]))
                yield Sighting(record, shown, machine["id"], of, setting, "ms for one text", at)
        elif {"batch", "seconds"} <= set(rows) and task:
            calls = 1000 * rows.loc[rows["batch"] == 1, "seconds"]
            yield Sighting(record, shown, machine["id"], task, setting, "ms for one text",
                           *bootstrap_interval(np.median, calls))
        elif "p50_ms" in rows and task and len(known := rows["p50_ms"].dropna()):
            yield Sighting(record, shown, machine["id"], task, setting, "ms for one text", float(known.median()))


def _meet(one: Sighting, other: Sighting) -> bool:
    (low, high), (other_low, other_high) = (
        (seen.value if seen.low is None else seen.low, seen.value if seen.high is None else seen.high)
        for seen in (one, other))
    return high >= other_low and other_high >= low


def _rows(frame: pd.DataFrame) -> Iterator[tuple[str, dict]]:
    """Return the subject of each row (its first texts), and its values."""
    for number, row in enumerate(frame.to_dict("records")):
        texts = [value for value in row.values() if isinstance(value, str) and value][:1]
        yield (texts[0] if texts else f"Row {number + 1}"), row


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shares(frame: pd.DataFrame) -> Iterator[str]:
    for name, row in _rows(frame):
        for column in SHARES & set(row):
            if _is_number(row[column]) and not -_ALMOST <= row[column] <= 1 + _ALMOST:
                yield f"{name} has a {column} of {row[column]:.3g}, which is not between 0 and 1."


def _roofline(frame: pd.DataFrame) -> Iterator[str]:
    """A memory's share may be above 1: its roofline is the main memory's, and data may stay in a cache."""
    for name, row in _rows(frame):
        reached, bound = row.get("reached"), row.get("bound", "arithmetic")
        if _is_number(reached) and (reached < 0 or (bound == "arithmetic" and reached > 1 + _ALMOST)):
            yield f"{name} reaches {reached:.2f} of the roofline: its peak was measured too low."


def _times(frame: pd.DataFrame) -> Iterator[str]:
    for name, row in _rows(frame):
        for column, value in row.items():
            if column.endswith(_TIMES) and not column.endswith(_RATES) and _is_number(value) and value < 0:
                yield f"{name} has a {column} of {value:.3g}, and no time is negative."


def _intervals(frame: pd.DataFrame) -> Iterator[str]:
    """Columns x, x_low, x_high; and low, high behind the column that they belong to."""
    columns = list(frame.columns)
    triples = [(one, f"{one}_low", f"{one}_high") for one in columns]
    if "low" in columns and columns.index("low"):
        triples.append((columns[columns.index("low") - 1], "low", "high"))
    for name, row in _rows(frame):
        for what, low, high in triples:
            yield from _outside(name, row.get(what), row.get(low), row.get(high), what)
            for bound in (row.get(low), row.get(high)) if what in SHARES else ():
                if _is_number(bound) and not -_ALMOST <= bound <= 1 + _ALMOST:
                    yield f"{name} has a {what} whose interval goes to {bound:.3g}, which no share can be."


def _outside(name: str, value: object, low: object, high: object, what: str) -> Iterator[str]:
    if all(map(_is_number, (value, low, high))):
        room = _ALMOST * max(abs(value), abs(low), abs(high))
        if not low - room <= value <= high + room:
            yield f"{name} has a {what} of {value:.3g} outside of its interval from {low:.3g} to {high:.3g}."


def _threads(frame: pd.DataFrame) -> Iterator[str]:
    """Peaks by threads: products in one precision as fast as there are threads, in another hardly faster than one."""
    if not {"threads", "fp32", "int8"} <= set(frame) or len(frame) < 2:
        return
    first, last = frame.iloc[0], frame.iloc[-1]
    more = last["threads"] / first["threads"]
    scaling = {kind: last[kind] / first[kind] / more for kind in ("fp32", "int8")}
    if max(scaling.values()) >= _SCALED and min(scaling.values()) < _NOT_SCALED:
        slow = min(scaling, key=scaling.__getitem__)
        yield (f"{last['threads']:.0f} threads multiply in {slow} only {more * scaling[slow]:.2f} times as fast as "
               f"{first['threads']:.0f}: another process had the cores. Measure the peaks on a quiet machine.")


def _losses(frame: pd.DataFrame) -> Iterator[str]:
    """Find regained shares of a loss that lies inside its noise: no share of it can be regained."""
    if not {"clean", "dirty", "accuracy", "low", "high"} <= set(frame):
        return
    for name, row in _rows(frame):
        if row["clean"] - row["dirty"] <= (row["high"] - row["low"]) / 2:
            yield (f"{name}: the loss of {row['clean'] - row['dirty']:.3f} lies inside its own noise of "
                   f"{(row['high'] - row['low']) / 2:.3f}, so no share of it can be regained.")


def _measurement(one: Measurement) -> Iterator[str]:
    figures = {name: value for name, value in dataclasses.asdict(one).items() if _is_number(value)}
    yield from impossible(pd.DataFrame([{"model": one.model} | figures]))
    right = one.accuracy * one.rows
    if abs(right - round(right)) > 1e-6 * one.rows:
        yield f"{one.model} answers {right:.2f} of {one.rows} rows correctly, which is no whole number."
    if not 0 < one.p50_ms <= one.p95_ms <= one.p99_ms:
        yield f"{one.model} has latencies that do not rise: {one.p50_ms:.3g}, {one.p95_ms:.3g}, {one.p99_ms:.3g} ms."
    if one.joules is not None and not 0 < one.joules_low < one.joules < one.joules_high:
        yield (f"{one.model} has no band of energy: {one.joules_low:.3g}, {one.joules:.3g} and {one.joules_high:.3g} "
               "J, where each must be more than the one before.")


def _ratios(measurements: Sequence[Measurement]) -> Iterator[str]:
    rates = {one.model: one.throughput_per_s for one in measurements}
    for one in measurements:
        if one.reference in rates:
            ratio = one.throughput_per_s / rates[one.reference]
            if not math.isclose(ratio, one.speedup, rel_tol=1e-6):
                yield f"{one.model} is called {one.speedup:.3g} times as fast, and the throughputs say {ratio:.3g}."
