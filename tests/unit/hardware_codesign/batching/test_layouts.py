"""Processes and threads."""

import pytest

from helpers.hardware_codesign import make, option
from helpers.hardware_codesign.batching.layouts import Layout, compare_layouts, usual_layouts
from helpers.lab import InputError
from helpers.lab.machine import usable_cores


def test_layouts_answer_and_each_process_holds_its_own_model(tiny_model):
    model = make(tiny_model, option("onnxruntime"))
    frame = compare_layouts(model, ["a cat", "rain"], [Layout(2, 1)], batch=2, seconds=0.2, rounds=1)
    assert frame.loc[0, "rows_per_s"] > 0
    assert frame.loc[0, "peak_mb"] > 2 * 4 * tiny_model.card.parameters / 1e6


def test_layouts_for_one_core_are_few_and_too_many_pinned_are_a_sentence(tiny_model):
    assert len(usual_layouts(1)) == 2
    with pytest.raises(InputError, match="cores"):
        compare_layouts(tiny_model, ["a"], [Layout(usable_cores() + 1, 1, pinned=True)])
