"""Lists of records: kept, replaced, exported."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from app_helpers import record

from helpers.app import table
from helpers.app.records import (
    as_csv,
    as_json,
    explored_csv,
    explored_json,
    listed,
    recorded,
    replaced,
    rescaled,
    rows_csv,
    rows_json,
    rows_of,
)
from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import COLUMNS, Measurement, write_recorded


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
    with pytest.raises(InputError, match="Choose one of: made_up"):
        recorded("other", tmp_path)


def test_the_csv_has_the_columns_of_the_frame():
    rows = list(csv.DictReader(io.StringIO(as_csv([record("a, b"), record("c", 2.0)]))))
    assert list(rows[0])[-len(COLUMNS):] == list(COLUMNS)
    assert [row["model"] for row in rows] == ["a, b", "c"]


def test_the_json_gives_the_records_back():
    shown = [record(), record("c", 2.0)]
    assert [Measurement(**fields) for fields in json.loads(as_json(shown))] == shown


FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]


def test_no_cell_of_a_csv_is_run_by_a_spreadsheet_and_none_is_lost():
    written = rows_csv([{"text": text, "=name": -0.5, "plain": "a\rb, c"} for text in [*FORMULAS, "-3", "fine"]])
    header, *rows = csv.reader(io.StringIO(written, newline=""))
    assert header == ["text", "'=name", "plain"]
    assert [row[0] for row in rows] == [*(f"'{text}" for text in FORMULAS), "-3", "fine"]
    assert {(row[1], row[2]) for row in rows} == {("-0.5", "a\rb, c")}
    assert "\n'=evil," in as_csv([record("=evil", task="=evil")])


def strictly(text: str):
    """As a browser reads JSON: without the NaN that Python takes."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_download_is_json_that_every_program_reads():
    shown = [record(peak_bytes=None, usd_per_million=float("nan"), settings={"rate": float("inf"), "layers": (1, 2)})]
    fields = strictly(as_json(shown))[0]
    assert (fields["usd_per_million"], fields["settings"]) == (None, {"rate": None, "layers": [1, 2]})
    frame = pd.DataFrame({"t_s": [0, 1], "p95_s": [float("nan"), 0.5], "at": pd.to_datetime(["2026-01-02", None]),
                          "n": np.array([1, 2], np.int64), "some": pd.array([1, None], "Int64")})
    assert strictly(rows_json(rows_of(frame))) == [
        {"t_s": 0, "p95_s": None, "at": "2026-01-02 00:00:00", "n": 1, "some": 1},
        {"t_s": 1, "p95_s": 0.5, "at": None, "n": 2, "some": None}]
    assert rows_csv(rows_of(frame)).splitlines()[1:] == ["0,,2026-01-02 00:00:00,1,1", "1,0.5,,2,"]


def test_what_is_explored_is_saved_with_its_settings_and_its_dollars():
    frame = pd.DataFrame({"t_s": [0.0, 60.0], "p95_s": [float("nan"), 0.5]})
    frame.attrs = {"usd": (120.0, 110.0, 130.0), "each": [1.0, 2.0], "hours": "in an hour", "late": np.float64(0.01)}
    settings = {"policy": "=KEDA", "law": (10.0, 20.0), "startup_s": 60}
    result = strictly(explored_json(frame, settings))
    assert result["settings"] == {"policy": "=KEDA", "law": [10.0, 20.0], "startup_s": 60}
    assert result["figures"] == {"usd": [120.0, 110.0, 130.0], "each": [1.0, 2.0], "hours": "in an hour", "late": 0.01}
    assert result["rows"] == [{"t_s": 0.0, "p95_s": None}, {"t_s": 60.0, "p95_s": 0.5}]
    rows = list(csv.DictReader(io.StringIO(explored_csv(frame, settings))))
    assert rows[1] == {"t_s": "60.0", "p95_s": "0.5", "policy": "'=KEDA", "startup_s": "60", "usd": "120.0",
                       "usd_low": "110.0", "usd_high": "130.0", "hours": "in an hour", "late": "0.01"}
    assert rows[0]["p95_s"] == ""


def test_a_model_costs_the_same_in_each_part_of_a_page_and_ratios_stay():
    here = {"id": "a"}
    once = record(throughput_per_s=200.0, usd_per_million=0.3, machine=here)
    run = [record(throughput_per_s=300.0, usd_per_million=0.2, machine=here),
           record("quick", 2.0, throughput_per_s=600.0, usd_per_million=0.1, machine=here)]
    assert [one.usd_per_million for one in rescaled(run, once)] == pytest.approx([0.3, 0.15])
    assert [one.throughput_per_s for one in rescaled(run, once)] == pytest.approx([200, 400])
    assert [one.speedup for one in rescaled(run, once)] == [1.0, 2.0]
    assert "the run of 2026-01-02 that the page" in table(rescaled(run, once)).data
    padded = [record("padded", throughput_per_s=100.0, usd_per_million=0.6, machine=here), *run]
    assert [one.usd_per_million for one in rescaled(padded, once)] == pytest.approx([0.9, 0.3, 0.15])


@pytest.mark.parametrize("changed", [{"machine": {"id": "b"}}, {"task": "other"}, {"model": "other"}])
def test_records_of_another_machine_other_data_or_without_that_model_stay(changed):
    run = [record(**{"model": "base", "throughput_per_s": 300.0, "machine": {"id": "a"}, **changed})]
    assert rescaled(run, record(machine={"id": "a"})) == run
