"""Candidates side by side: what fails keeps its row, and the fastest that agrees is chosen on validation rows."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from helpers.hardware_codesign import agreement, compare_runtimes, option, settings_grid, tune
from helpers.hardware_codesign.runtimes import comparing
from helpers.hardware_codesign.runtimes.comparing import COLUMNS, cold_start, worth_making_after
from helpers.lab import InputError
from helpers.lab.machine import usable_cores
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel


class Branching(nn.Module):
    """Looks at its input's values to choose its way: no exporter can follow that."""

    head = "mean"

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def config(self):
        return self.module.config

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits = self.module(input_ids, attention_mask)
        return logits if int(input_ids.sum()) % 2 else logits + 1


def test_a_model_that_does_not_export_keeps_its_row_and_the_others_theirs(tiny_model, tiny_task):
    card = Card("branching", 3, settings={"runtime": "pytorch"})
    model = TorchTextModel(card, tiny_model.encoder, Branching(tiny_model.module))
    tried = [option("pytorch"), option("onnxruntime"), option("pytorch", "int8")]
    frame = compare_runtimes(model, tiny_task, tried, rows=6, rounds=2, cold=False)
    assert list(frame.columns) == COLUMNS
    assert "cannot be exported" in frame.loc[1, "note"]
    assert "\x1b" not in frame.loc[1, "note"]
    assert math.isnan(frame.loc[1, "rows_per_s"])
    assert frame.loc[0, "speedup"] == 1.0
    assert (frame.loc[2, ["rows_per_s", "made_s"]] > 0).all()


def test_fresh_processes_give_an_interval_over_them(tiny_model, tiny_task):
    tried = [option("pytorch"), option("onnxruntime"), option("cuda")]
    frame = compare_runtimes(tiny_model, tiny_task, tried, rows=6, rounds=2, processes=2, cold=False)
    assert frame.loc[0, ["speedup", "speedup_low", "speedup_high"]].tolist() == [1, 1, 1]
    fast = frame.loc[1]
    assert fast["speedup_low"] <= fast["speedup"] <= fast["speedup_high"]
    assert fast["speedup"] == pytest.approx(fast["rows_per_s"] / frame.loc[0, "rows_per_s"])
    assert math.isnan(frame.loc[2, "rows_per_s"])


@pytest.mark.parametrize("slow", [0, 1])
def test_whichever_is_slow_two_are_compared_in_the_rounds_that_both_had(slow, tiny_model, tiny_task, monkeypatch):
    """On a busy machine the reference itself may sit rounds out."""
    tried = [option("pytorch"), option("onnxruntime")]
    rounds = np.array([[2.0, 4.0, 3.0, 3.0, 3.0], [1.0, 2.0, 30.0, 30.0, 30.0]])
    whole = {one.name: values[:2] if place == slow else values
             for place, (one, values) in enumerate(zip(tried, rounds, strict=True))}
    monkeypatch.setattr(comparing, "_time", lambda *given: [(whole, whole)])
    frame = compare_runtimes(tiny_model, tiny_task, tried, rows=6, rounds=5, cold=False)
    assert frame.loc[1, "speedup"] == pytest.approx(2.0)
    assert frame.loc[1, "rows_per_s"] == pytest.approx(6 / 1.5)
    assert ["Slow: timed in 2 of 5 rounds." in note for note in frame["note"]] == [slow == 0, slow == 1]


def test_a_cold_start_takes_longer_than_an_answer_and_holds_the_model(made, tiny_model, texts):
    model = made(option("onnxruntime"))
    seconds, megabytes = cold_start(model, texts[:2])
    assert seconds > 0.2  # a Python process that imports a runtime
    assert megabytes > 4 * tiny_model.card.parameters / 1e6


@pytest.mark.parametrize(("made", "reference", "candidate", "texts_until"), [
    (10.0, 100.0, 200.0, 2000.0), (10.0, 100.0, 100.0, math.inf), (10.0, 100.0, 50.0, math.inf),
    (0.0, 100.0, 200.0, 0.0)])
def test_making_it_is_repaid_by_the_seconds_saved(made, reference, candidate, texts_until):
    assert worth_making_after(made, reference, candidate) == pytest.approx(texts_until)


def test_agreement_is_the_largest_difference_over_the_range():
    reference = np.array([[0.0, 1.0], [4.0, 2.0]])
    assert agreement(reference, reference + np.array([[0.0, 0.0], [-3.0, 0.0]])) == (0.75, 0.5)


def test_tuning_takes_the_fastest_that_works_and_looks_at_no_test_row(tiny_model, tiny_task):
    looked = dataclasses.replace(tiny_task, test=tiny_task.test.select([]))
    tried = [option("pytorch", padding=128), option("cuda"), option("pytorch")]
    best, frame = tune(tiny_model, looked, tried, rows=8, rounds=2)
    assert best == tried[int(frame["rows_per_s"].astype(float).idxmax())]
    assert "onnxruntime-gpu" in frame.loc[1, "note"]


@pytest.mark.parametrize(("tried", "said"), [([], "at least one candidate"), ([option("cuda")], "None of the 1")])
def test_nothing_to_choose_from_is_a_sentence(tried, said, tiny_model, tiny_task):
    with pytest.raises(InputError, match=said):
        tune(tiny_model, tiny_task, tried, rows=4, rounds=1)


def test_the_settings_that_are_tried_are_streams_and_rows_in_each_runtime():
    names = {one.name for one in settings_grid("int8", ("onnxruntime",), (4,))}
    assert "ONNX Runtime int8, rows by 4" in names
    assert all(dict(one.settings).get("streams", 1) <= usable_cores() for one in settings_grid())
