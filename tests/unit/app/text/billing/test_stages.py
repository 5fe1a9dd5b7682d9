"""What the records say of changes on top of each other: gains that multiply to the whole, runtime and bits apart."""

import json
import math

import pytest
from app_helpers import record

from helpers.app.text.billing.stages import label_savings, stages
from helpers.lab.measuring.measurement import write_recorded

PRUNE = {"step": "prune", "sparsity": 0.5, "name": "pruned"}
INT8 = {"step": "quantize", "scheme": "dynamic-int8", "streams": 2, "micro_batch": 8, "name": "int8 in ONNX Runtime"}
EIGHT = {"step": "export", "runtime": "onnxruntime", "micro_batch": 8, "name": "ONNX Runtime, rows by 8"}
MOVED = {**EIGHT, "streams": 2, "name": "ONNX Runtime, 2 streams, rows by 8"}
OTHER = {**MOVED, "micro_batch": 64, "name": "ONNX Runtime, 2 streams, rows by 64"}
FIRST = {"step": "cascade", "first": "linear", "name": "with a first stage"}


def made(speedup, *steps):
    runtime = "onnxruntime" if any(step["step"] in ("export", "quantize") for step in steps) else "pytorch"
    name = ", ".join(step["name"] for step in steps) or "base"
    return record(name, speedup, settings={"runtime": runtime, **({"steps": list(steps)} if steps else {})})


def written(folder, *records):
    write_recorded(folder / "1_model_optimization_together.jsonl", list(records))
    return folder


def test_the_gains_of_the_shipped_records_multiply_to_the_whole():
    reference, chain, singles = stages()
    assert reference.model == reference.reference
    assert len(chain) >= 4
    assert math.prod(stage.gain[0] for stage in chain) == pytest.approx(chain[-1].after.speedup)
    assert {one.machine["id"] for one in (reference, *(stage.after for stage in chain), *singles)} == {
        reference.machine["id"]}, "one story, one machine"


def test_runtime_and_bits_are_two_changes_where_both_are_recorded(tmp_path):
    _, chain, singles = stages(written(
        tmp_path, made(1.0), made(2.0, PRUNE), made(5.0, PRUNE, EIGHT), made(6.0, PRUNE, MOVED),
        made(7.0, PRUNE, OTHER), made(9.0, PRUNE, INT8), made(10.0, PRUNE, INT8, FIRST), made(2.5, MOVED),
        made(3.5, INT8), made(4.0, FIRST)))
    assert [(stage.strategy, stage.name, stage.after.speedup) for stage in chain] == [
        ("1", "pruned", 2.0), ("3", "ONNX Runtime, 2 streams, rows by 8", 6.0),
        ("1", "dynamic int8 in place of fp32", 9.0), ("2", "with a first stage", 10.0)]
    assert [stage.gain[0] for stage in chain] == pytest.approx([2.0, 3.0, 1.5, 10 / 9])
    assert [stage.alone and stage.alone[0] for stage in chain] == [2.0, 2.5, pytest.approx(1.4), 4.0]
    assert [one.speedup for one in singles] == [2.0, 2.5, 3.5, 4.0]


def test_runtime_and_bits_are_one_change_of_both_strategies_where_they_are_not(tmp_path):
    _, chain, _ = stages(written(tmp_path, made(1.0), made(2.0, PRUNE), made(9.0, PRUNE, INT8)))
    assert [(stage.strategy, stage.gain[0]) for stage in chain] == [("1", 2.0), ("1 and 3", 4.5)]


def test_a_pipeline_with_a_gap_is_not_taken(tmp_path):
    _, chain, _ = stages(written(tmp_path, made(1.0), made(2.0, PRUNE), made(9.0, INT8, FIRST, PRUNE)))
    assert [stage.name for stage in chain] == ["pruned"]


def test_the_strategy_that_validation_rows_choose_stands_at_the_highest_share_reached(tmp_path):
    def row(strategy, share, reached, validation, saved):
        return {"strategy": strategy, "share": share, "reached": reached, "saved_on_validation": validation,
                "labels": 300.0, "saved": saved, "saved_low": saved, "saved_high": saved, "significant": True}

    rows = [row("random", 0.8, 1.0, 0.0, 0.0), row("random", 0.9, 1.0, 0.0, 0.0), row("random", 0.95, 0.8, 0.0, 0.0),
            row("margin", 0.9, 1.0, 40.0, 10.0), row("lucky on test rows", 0.9, 1.0, 5.0, 90.0),
            row("margin", 0.95, 0.8, None, None), row("lucky on test rows", 0.95, 0.8, math.nan, math.nan)]
    (tmp_path / "4_data_efficiency_labels_tickets.json").write_text(json.dumps({
        "measured_at": "2026-01-02T00:00:00", "data": "tickets", "machine": {"cpu": "a CPU", "cores": 2},
        "rows": rows}))
    best, origin = label_savings(tmp_path)
    assert (best["strategy"], best["share"], best["needed"]) == ("margin", 0.9, 300.0)
    assert best["reached_at_random"]
    assert "2026-01-02" in origin


def test_nothing_recorded_is_none(tmp_path):
    assert label_savings(tmp_path) == (None, "")
