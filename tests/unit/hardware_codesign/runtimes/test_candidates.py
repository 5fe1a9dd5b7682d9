"""Runtimes: each answers as PyTorch does, or says why it cannot."""

import dataclasses
import shutil

import pytest

from helpers.hardware_codesign import TOLERANCE, agreement, check_shapes, make, option
from helpers.hardware_codesign.runtimes.candidates import Candidate
from helpers.lab import InputError, load
from helpers.lab.models.openvino import OpenVinoTextModel

ON_ANY_CPU = [option("pytorch"), option("pytorch", "bf16"), option("pytorch", "int8"), option("pytorch", padding=64),
              option("onnxruntime"), option("onnxruntime", "int8"), option("openvino", hint="latency")]


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
    other = OpenVinoTextModel(card, tiny_model.encoder, model.graph)
    assert other.requests >= model.requests
    assert agreement(model.predict(texts), other.predict(texts))[0] < TOLERANCE["fp32"]


def test_the_name_tells_runtime_precision_and_settings():
    assert option("onnxruntime", "int8", streams=2, micro_batch=8).name == "ONNX Runtime int8, rows by 8, 2 streams"


@pytest.mark.parametrize(("candidate", "said"), [
    (Candidate("tvm"), "Unknown runtime 'tvm'. Choose one of: pytorch"),
    (option("onnxruntime", "bf16"), "no bf16 products"),
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
