"""Faults that were shipped once are caught, each with its very numbers; and what ships now holds together."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest

import helpers
from helpers.lab import load_task
from helpers.lab.measuring.checks import Sighting, disagreements, faults, impossible
from helpers.lab.measuring.measurement import write_recorded
from recording.__main__ import median_tokens

SHIPPED = Path(helpers.__file__).parent / "facts" / "recorded"


# Within a record

def test_more_than_the_roofline_is_refused():
    """As recorded on 2026-11-23: 1.31 of a peak that one thread had reached as well."""
    layers = pd.DataFrame({"layer": ["output.dense", "act_fn"], "bound": ["arithmetic", "memory"],
                           "reached": [1.31, 1.2]})
    assert impossible(layers) == ["output.dense reaches 1.31 of the roofline: its peak was measured too low."]


def test_a_peak_that_grows_with_the_threads_in_one_precision_only_was_disturbed():
    peaks = pd.DataFrame({"threads": [1, 2], "fp32": [88.99e9, 90.03e9], "int8": [142.9e9, 282.8e9]})
    assert len(impossible(peaks)) == 1
    assert "2 threads multiply in fp32 only 1.01 times as fast as 1" in impossible(peaks)[0]
    assert impossible(peaks.assign(fp32=[110.7e9, 204.7e9])) == []


@pytest.mark.parametrize(("columns", "said"), [
    ({"padding_share": [-0.01]}, "not between 0 and 1"),
    ({"accuracy": [1.2]}, "not between 0 and 1"),
    ({"seconds": [-0.1]}, "no time is negative"),
    ({"speedup": [2.0], "speedup_low": [2.1], "speedup_high": [2.2]}, "outside of its interval from 2.1 to 2.2"),
    ({"gain": [3.0], "low": [1.0], "high": [2.0]}, "outside of its interval from 1 to 2"),
    ({"right": [0.031], "low": [-0.004], "high": [0.067]}, "interval goes to -0.004, which no share can be"),
    ({"order": ["doubt"], "accuracy": [0.889], "low": [0.879], "high": [0.899], "clean": [0.897], "dirty": [0.89]},
     "the loss of 0.007 lies inside its own noise of 0.010"),
])
def test_what_cannot_be_is_a_sentence(columns, said):
    result = impossible(pd.DataFrame(columns))
    assert len(result) == 1
    assert said in result[0]


def test_what_can_be_is_none():
    assert impossible(pd.DataFrame({"name": ["a", "b"], "accuracy": [0.0, 1.0], "low": [0.0, None], "high": [0.1, None],
                                    "precision": ["fp32", "int8"], "rows_per_s": [1.0, 2.0], "seconds": [0.0, 1.0]})
                      ) == []


def test_a_measurement_s_figures_can_be(new_measurement):
    assert impossible([new_measurement()]) == []
    for wrong, said in (
            ({"accuracy": 0.805}, "80.50 of 100 rows"),
            ({"joules_low": 0.0908, "joules": 0.311, "joules_high": 0.311}, "energy: 0.0908, 0.311 and 0.311"),
            ({"accuracy_low": 0.81}, "outside of its interval"), ({"p95_ms": 5.0}, "do not rise"),
            ({"macro_f1": 1.5}, "not between 0 and 1")):
        result = impossible([new_measurement(**wrong)])
        assert len(result) == 1
        assert said in result[0]


def test_a_speed_up_is_the_ratio_of_the_throughputs(new_measurement):
    fast = new_measurement(model="fast", throughput_per_s=300.0, speedup=3.0, speedup_low=2.8, speedup_high=3.2)
    assert impossible([new_measurement(), fast]) == []
    assert "throughputs say 3" in impossible([new_measurement(), dataclasses.replace(fast, speedup=3.1)])[0]


# Between records

def seen(record, value, machine="one", figure="ms for one text", **interval):
    return Sighting(record, "MiniLM-L6", machine, "tickets", ("threads", 2), figure, value, **interval)


def test_one_model_at_80_ms_and_at_17_to_28_ms_disagrees():
    """38 s apart on the same machine."""
    result = disagreements([seen("times", 80.4), seen("batches", 22.4, low=17.0, high=28.0)])
    assert result == [({"times", "batches"}, "MiniLM-L6 on tickets: ms for one text is 22.4 in batches and 80.4 in "
                      "times, on the same machine.")]
    assert disagreements([seen("times", 27.5), seen("batches", 22.4, low=17.0, high=28.0)]) == []
    assert disagreements([seen("times", 27.5), seen("batches", 22.4)]) == []


def test_a_reference_with_five_prices_disagrees():
    """$0.14, 0.16, 0.28, 0.30 and 0.36 across tabs: two machines, and the second with itself."""
    prices = [(0.14, "Intel"), (0.16, "Intel"), (0.28, "AMD"), (0.30, "AMD"), (0.36, "AMD")]
    said = [sentence for _, sentence in disagreements([seen(f"tab {number}", usd, machine, "dollars per million")
                                                       for number, (usd, machine) in enumerate(prices)])]
    assert any("comes from 2 machines" in one for one in said)
    assert any("0.28 in tab 2 and 0.36 in tab 4, on the same machine" in one for one in said)
    assert len(said) == 2


def test_a_folder_s_records_are_held_against_each_other(new_measurement, tmp_path):
    write_recorded(tmp_path / "one.jsonl", [new_measurement(task="tickets", machine={"id": "m", "cpu": "a CPU"})])
    table = {"measured_at": "2026-11-27", "data": None, "machine": {"id": "m", "cores": 2, "gpu": None},
             "columns": ["name", "batch", "length", "seconds"],
             "rows": [{"name": "tiny", "batch": 1, "length": length, "seconds": seconds}
                      for length, seconds in ((16, 0.010), (32, 0.020))]}
    (tmp_path / "times.json").write_text(json.dumps(table))
    assert faults(tmp_path.iterdir(), {"tickets": 18}) == {}  # 10 ms, and 11.25 at 18 tokens
    result = faults(tmp_path.iterdir(), {"tickets": 30})  # 18.75
    assert set(result) == {"one.jsonl", "times.json"}
    assert "10 in one.jsonl and 18.8 in times.json" in result["one.jsonl"][0]


# What ships

@pytest.fixture(scope="module")
def shipped_faults():
    return faults(SHIPPED.glob("*.json*"), {"tickets": median_tokens(load_task("tickets"))})


def test_what_ships_can_be_and_agrees(shipped_faults):
    assert shipped_faults == {}
