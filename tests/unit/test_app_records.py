"""Lists of records: kept, replaced, exported."""

import csv
import io
import json

import pytest

from helpers.app.export.records import as_csv, as_json, listed, recorded, replaced
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import COLUMNS, Measurement, write_recorded


def record(model: str = "base", speedup: float = 1.0, accuracy: float = 0.9, *, strategy: str = "baseline",
           provenance: str = "recorded", **changed: object) -> Measurement:
    """A made-up record; its reference is right 90 % of the time and has speed-up 1."""
    delta = accuracy - 0.9
    is_reference = speedup == 1
    fields = {
        "task": "made up", "model": model, "strategy": strategy, "settings": {}, "accuracy": accuracy,
        "accuracy_low": accuracy - 0.02, "accuracy_high": accuracy + 0.02, "accuracy_delta": delta,
        "accuracy_delta_low": delta - 0.01, "accuracy_delta_high": delta + 0.01, "macro_f1": accuracy,
        "calibration_error": 0.01, "rows": 800, "speedup": speedup, "speedup_low": 1 if is_reference else speedup * 0.8,
        "speedup_high": 1 if is_reference else speedup * 1.25, "p50_ms": 8.0, "p95_ms": 9.0, "p99_ms": 10.0,
        "throughput_per_s": 100.0 * speedup, "batch_size": 8, "threads": 2, "artefact_bytes": 90_000_000,
        "parameters": 22_700_000, "macs": None, "peak_bytes": None, "joules_low": None, "joules": None,
        "joules_high": None, "energy_method": "none", "made_in_s": 3600.0, "usd_per_million": 0.2 / speedup,
        "reference": "base", "machine": {}, "key": "0" * 64, "provenance": provenance,
        "measured_at": "2026-01-02T00:00:00+00:00",
    }
    return Measurement(**{**fields, **changed})


def test_a_fresh_record_takes_the_place_of_the_same_model():
    shown = [record("base"), record("small", 2.0)]
    fresh = record("small", 3.0, provenance="measured")
    assert replaced(shown, [fresh, record("new", 4.0)])[1] is fresh
    assert [r.model for r in replaced(shown, [record("new", 4.0), fresh])] == ["base", "small", "new"]


def test_the_result_of_a_comparison_is_a_list_of_records():
    class Result:
        measurements = (record("base"),)

    assert listed(Result()) == list(Result.measurements)
    assert listed(record("base", id="1"))[0].id == "1"


def test_something_else_is_refused():
    with pytest.raises(InputError, match="not of str"):
        listed(["text"])


def test_recorded_results_are_marked_as_such(tmp_path):
    write_recorded(tmp_path / "made_up.jsonl", [record(provenance="measured")])
    assert recorded("made_up", tmp_path)[0].provenance == "recorded"
    with pytest.raises(InputError, match="There are: made_up"):
        recorded("other", tmp_path)


def test_the_csv_has_the_columns_of_the_frame():
    rows = list(csv.DictReader(io.StringIO(as_csv([record("a, b"), record("c", 2.0)]))))
    assert list(rows[0])[-len(COLUMNS):] == list(COLUMNS)
    assert [row["model"] for row in rows] == ["a, b", "c"]


def test_the_json_gives_the_records_back():
    shown = [record(), record("c", 2.0)]
    assert [Measurement(**fields) for fields in json.loads(as_json(shown))] == shown
