"""Lists of records: shipped ones, fresh ones in their place, and as files."""

import csv
import dataclasses
import importlib.resources
import io
import itertools
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import COLUMNS, Measurement, read_recorded


def recorded(name: str, folder: Path | None = None) -> list[Measurement]:
    """The records of helpers/facts/recorded/NAME.jsonl, with provenance `recorded`.

    Raises:
        InputError: no such file; the message lists those there are.
    """
    return read_recorded(_recording(name, ".jsonl", folder))


def recorded_table(name: str, folder: Path | None = None) -> Any:
    """The data frame of helpers/facts/recorded/NAME.json; `attrs` tells the machine and when it was measured.

    Raises:
        InputError: no such file; the message lists those there are.
    """
    from helpers.lab.measuring.recorded import read_table  # pandas takes a moment, and many pages show none

    return read_table(_recording(name, ".json", folder))


def _recording(name: str, ending: str, folder: Path | None) -> Path:
    folder = folder or Path(str(importlib.resources.files("helpers") / "facts" / "recorded"))
    path = folder / f"{name}{ending}"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob(f"*{ending}"))) or "none yet"
        raise InputError(f"Unknown recorded results '{name}'. Choose one of: {known}.")
    return path


def listed(measurements: Any) -> list[Measurement]:
    """A plain list from one record, several, or the result of `helpers.lab.compare`."""
    if isinstance(measurements, Measurement):
        return [measurements]
    records = list(getattr(measurements, "measurements", measurements))
    if wrong := next((item for item in records if not isinstance(item, Measurement)), None):
        raise InputError(f"A list of Measurement records is needed here, not of {type(wrong).__name__}.")
    return records


def replaced(shown: Iterable[Measurement], fresh: Iterable[Measurement]) -> list[Measurement]:
    """`shown` with each fresh record in the place of the same model's; new models come last.

    Records of other data than the fresh ones' leave: their accuracies are of other rows.
    """
    fresh = list(fresh)
    tasks = {record.task for record in fresh}
    by_model = {record.model: record for record in shown if not tasks or record.task in tasks}
    by_model.update((record.model, record) for record in fresh)
    return list(by_model.values())


def rescaled(records: Iterable[Measurement], to: Measurement) -> list[Measurement]:
    """The records with throughput and cost as if their run had been as fast as that of `to`, a model that is in both.

    Times of one model differ from run to run, ratios hardly: so it costs the same in each part of a page. Records stay
    as they are where that model is not among them, or on another machine or other data.

    >>> from helpers import app
    >>> first, *_ = app.recorded("1_model_optimization_together")
    >>> app.rescaled(app.recorded("1_model_optimization_pruning"), first)[0].usd_per_million == first.usd_per_million
    True
    """
    def place(record: Measurement) -> tuple[str, str | None]:
        return record.task, record.machine.get("id")

    records = list(records)
    same = next((one for one in records if one.model == to.model and place(one) == place(to)), None)
    if same is None or same.throughput_per_s == to.throughput_per_s:
        return records
    faster = to.throughput_per_s / same.throughput_per_s
    return [dataclasses.replace(one, throughput_per_s=faster * one.throughput_per_s,
                                usd_per_million=to.usd_per_million / same.usd_per_million * one.usd_per_million,
                                settings={**one.settings, "rescaled_to": to.measured_at[:10]})
            if place(one) == place(to) else one for one in records]


def as_csv(measurements: Iterable[Measurement]) -> str:
    """The table's columns as CSV, after task, reference and when it was measured."""
    return rows_csv([{"task": record.task, "reference": record.reference, "measured_at": record.measured_at,
                      **record.row()} for record in measurements], ["task", "reference", "measured_at", *COLUMNS])


def as_json(measurements: Iterable[Measurement]) -> str:
    """Every field of the records, with settings and machine, as a JSON list."""
    return rows_json([dataclasses.asdict(record) for record in measurements])


def rows_of(result: Any) -> list[dict[str, Any]] | None:
    """A result as rows: a list of dictionaries as it is, a data frame by its columns; None where it is no table."""
    if hasattr(result, "to_dict") and hasattr(result, "columns"):
        return result.to_dict("records")
    return result if isinstance(result, list) and all(isinstance(row, dict) for row in result) else None


def rows_csv(rows: list[dict[str, Any]], columns: list[str] | None = None) -> str:
    """Rows as CSV; by default the columns are all keys, in the order in which they come up.

    What a spreadsheet would run as a formula gets a ' before it.
    """
    from helpers.lab.data.files import quoting_of, safe_cell  # with pandas, which a page can open without

    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    lines = [[None if _is_missing(cell) else safe_cell(cell) for cell in line]
             for line in (columns, *([row.get(name) for name in columns] for row in rows))]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=quoting_of(itertools.chain(*lines))).writerows(lines)
    return file.getvalue()


def rows_json(rows: list[dict[str, Any]]) -> str:
    """Rows as JSON: a number that JSON does not have (NaN, infinity) as null, a date or the like as text."""
    return _json(rows)


def explored_json(result: Any, settings: Mapping[str, Any]) -> str:
    """The content of the screen as JSON: settings, the figures beside the table (a frame's `attrs`), and its rows.

    >>> from helpers.app.records import explored_json
    >>> print(explored_json([{"load": 0.5, "wait_s": float("nan")}], {"machines": 2}).replace("\\n", ""))
    { "settings": {  "machines": 2 }, "figures": {}, "rows": [  {   "load": 0.5,   "wait_s": null  } ]}
    """
    return _json({"settings": settings, "figures": getattr(result, "attrs", {}), "rows": rows_of(result)})


def explored_csv(result: Any, settings: Mapping[str, Any]) -> str:
    """The same as CSV: after a row's own columns the settings and figures, which are the same in each row.

    Of a figure with an interval, (value, low, high), there are three columns; lists and the like are left out.
    """
    beside: dict[str, Any] = {}
    for name, value in {**settings, **getattr(result, "attrs", {})}.items():
        if isinstance(value, tuple | list) and len(value) == 3 and all(isinstance(one, numbers.Real) for one in value):
            beside |= dict(zip((name, f"{name}_low", f"{name}_high"), value, strict=True))
        elif value is None or isinstance(value, str | numbers.Real):
            beside[name] = value
    return rows_csv([{**row, **{name: value for name, value in beside.items() if name not in row}}
                     for row in rows_of(result)])


def _json(content: Any) -> str:
    return json.dumps(_plain(content), ensure_ascii=False, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """The value in what JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        return _plain(value.tolist())
    if _is_missing(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    return value if isinstance(value, str | int | float) else str(value)


def _is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, or pandas' own words for it."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in (
        "NaTType", "NAType")
