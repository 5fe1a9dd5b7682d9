"""Runtimes: each answers as PyTorch does, says why it cannot, and keeps its row when it fails."""

import dataclasses
import functools
import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from helpers.hardware_codesign import (
    agreement,
    compare_runtimes,
    compare_switches,
    graph_levels,
    make,
    settings_grid,
    tune,
    worth_making_after,
)
from helpers.hardware_codesign.runtimes.candidates import (
    COLUMNS,
    TOLERANCE,
    Candidate,
    check_shapes,
    cold_start,
    option,
)
from helpers.hardware_codesign.runtimes.openvino_hints import HintedOpenVinoModel
from helpers.lab import InputError, load
from helpers.lab.machine import usable_cores
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel

ON_ANY_CPU = [option("pytorch"), option("pytorch", "bf16"), option("pytorch", "int8"), option("pytorch", padding=64),
              option("onnxruntime"), option("onnxruntime", "int8"), option("openvino", hint="latency")]


@pytest.fixture(scope="module")
def texts(tiny_task) -> list[str]:
    return tiny_task.test["text"][:24]


@pytest.fixture(scope="module")
def made(tiny_model):
    """made(candidate): its model, made once for all tests here."""
    return functools.cache(lambda candidate: make(tiny_model, candidate))


@pytest.mark.parametrize("candidate", ON_ANY_CPU, ids=lambda one: one.name)
def test_it_answers_as_pytorch_does_in_every_shape_and_after_a_reload(candidate, made, tiny_model, texts, tmp_path):
    model, tolerance = made(candidate), TOLERANCE[candidate.precision]
    difference, same = agreement(tiny_model.predict(texts), model.predict(texts))
    assert difference <= tolerance
    assert same >= 0.8
    assert check_shapes(tiny_model, model, [(1, 1), (9, 1), (1, 150), (3, 40)]) <= tolerance
    model.save(tmp_path)
    assert agreement(model.predict(texts), load(tmp_path).predict(texts))[0] <= tolerance


def test_openvinos_throughput_hint_asks_for_as_many_requests_as_it_runs_at_once(made, tiny_model, texts):
    model = made(option("openvino", hint="latency"))
    card = dataclasses.replace(model.card, settings={**model.card.settings, "hint": "throughput"})
    other = HintedOpenVinoModel(card, tiny_model.encoder, model.graph)
    assert other.requests >= model.requests
    assert agreement(model.predict(texts), other.predict(texts))[0] < TOLERANCE["fp32"]


def test_the_name_tells_runtime_precision_and_settings():
    assert option("onnxruntime", "int8", streams=2, micro_batch=8).name == "ONNX Runtime int8, rows by 8, 2 streams"


@pytest.mark.parametrize(("candidate", "said"), [
    (Candidate("tvm"), "Known: pytorch"), (option("onnxruntime", "bf16"), "no bf16 products"),
    (option("cuda"), "onnxruntime-gpu"), (option("tensorrt"), "NVIDIA GPU"),
    (option("openvino", "int8"), "needs a task"), (option("openvino", hint="fast"), "latency, throughput"),
    (option("cuda", "int4"), "no int4"), (option("pytorch", padding=0), "at least one token")])
def test_what_cannot_be_made_is_a_sentence(candidate, said, tiny_model):
    with pytest.raises(InputError, match=said):
        make(tiny_model, candidate)


def test_without_a_compiler_compiling_is_a_sentence(tiny_model, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("g++") is None
    with pytest.raises(InputError, match="C\\+\\+ compiler"):
        make(tiny_model, option("compiled"))


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
    assert "failed" in frame.loc[1, "note"]
    assert math.isnan(frame.loc[1, "rows_per_s"])
    assert frame.loc[0, "speedup"] == 1.0
    assert (frame.loc[2, ["rows_per_s", "made_s"]] > 0).all()


def test_a_cold_start_takes_longer_than_an_answer_and_holds_the_model(made, tiny_model, texts):
    candidate = option("onnxruntime")
    model = made(candidate)
    seconds, megabytes = cold_start(model, tiny_model, candidate, texts[:2])
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


def test_higher_graph_levels_fuse_operators_and_keep_fewer(tiny_model, texts):
    frame = graph_levels(tiny_model, texts[:2], rounds=2).set_index("level")
    assert frame.loc["none", "fused"] == "nothing"
    assert frame.loc["all", "nodes"] < frame.loc["none", "nodes"]
    assert frame.loc["extended", "fused"] != "nothing"
    assert frame.loc["none", "speedup"] == 1.0
    with pytest.raises(InputError, match="at least one"):
        graph_levels(tiny_model, [])


def test_switches_keep_a_row_each_and_what_is_missing_a_sentence(tiny_model):
    frame = compare_switches(tiny_model, batch=2, length=8, rounds=2).set_index("switch")
    assert (frame.loc["fused attention", ["gain", "on_ms", "off_ms"]] > 0).all()
    assert frame.loc["channels last", "gain"] > 0
    assert torch.backends.cudnn.is_available() or "NVIDIA" in frame.loc["cuDNN", "note"]
    with pytest.raises(InputError, match="at least one row"):
        compare_switches(tiny_model, batch=0)


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
