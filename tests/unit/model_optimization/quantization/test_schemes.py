"""Quantization in every scheme: what is stored, how far it is from float, and what stays as it was."""

import copy
import dataclasses
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from helpers.lab import InputError, export, load
from helpers.lab.models.model import folder_bytes
from helpers.lab.models.torch import TorchTextModel, linear_layers
from helpers.model_optimization import SCHEMES, quantize

KINDS = [(scheme, runtime) for scheme, runtimes in SCHEMES.items() for runtime in runtimes]
KEPT = ["encoder.encoder.layer.0.output.dense", "encoder.encoder.layer.1.attention.self.query", "classifier"]


@pytest.fixture(scope="module")
def made(tiny_model, tiny_task):
    """Each scheme in each of its runtimes; the task's test rows are out of reach."""
    state = copy.deepcopy(tiny_model.module.state_dict())
    card, blind = tiny_model.card, dataclasses.replace(tiny_task, test=None)
    result = {kind: quantize(tiny_model, blind, *kind, calibration_rows=16) for kind in KINDS}
    assert tiny_model.card == card
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.module.state_dict().items())
    return result


def texts_of(task):
    return task.test["text"][:]


# Every scheme

@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_answers_the_same_after_a_reload(made, tiny_task, tmp_path, kind):
    made[kind].save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts_of(tiny_task)), made[kind].predict(texts_of(tiny_task)))


# Largest difference of a logit, as a share of the float logits' standard deviation
@pytest.mark.parametrize(("kind", "most"), [
    (("fp16", "pytorch"), 0.02), (("fp16", "openvino"), 0.05), (("bf16", "pytorch"), 0.15),
    (("bf16", "openvino"), 0.15), (("dynamic-int8", "onnxruntime"), 1.0), (("static-int8", "onnxruntime"), 1.0),
    (("static-int8", "openvino"), 1.0), (("weight-only", "pytorch"), 0.1)])
def test_a_quantized_model_answers_nearly_as_float_does(made, tiny_model, tiny_task, kind, most):
    expected, result = tiny_model.predict(texts_of(tiny_task)), made[kind].predict(texts_of(tiny_task))
    assert 0 < np.abs(result - expected).max() < most * expected.std()


def test_each_scheme_has_a_test_of_its_nearness():
    """The list above is written by hand; this says when a scheme is missing there."""
    [mark] = [mark for mark in test_a_quantized_model_answers_nearly_as_float_does.pytestmark
              if mark.name == "parametrize"]
    assert sorted(kind for kind, _ in mark.args[1]) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_says_what_it_is(made, tiny_model, kind):
    card = made[kind].card
    assert (card.settings["scheme"], card.settings["runtime"]) == kind
    assert (card.strategy, card.parameters) == ("model optimization", tiny_model.card.parameters)
    assert card.made_in_s > 0


def test_no_two_schemes_have_the_same_name(made):
    assert len({model.card.name for model in made.values()}) == len(KINDS)


@pytest.mark.parametrize(("kind", "share"), [
    (("fp16", "pytorch"), 0.5), (("bf16", "pytorch"), 0.5), (("fp16", "openvino"), 0.5),
    (("dynamic-int8", "onnxruntime"), 0.25), (("static-int8", "onnxruntime"), 0.25),
    (("weight-only", "pytorch"), 0.25 + 1 / 64)])  # and two bytes of scale for each 32 weights of four bytes
def test_fewer_bits_are_fewer_bytes(made, tiny_model, tmp_path, kind, share):
    def artefact(model, name):
        model.save(tmp_path / name)
        return folder_bytes(tmp_path / name) - (tmp_path / name / "tokenizer.json").stat().st_size

    float_model = tiny_model if kind[1] == "pytorch" else export(tiny_model, kind[1])
    assert artefact(made[kind], "few") / artefact(float_model, "float") == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(("scheme", "capability", "arithmetic"), [("bf16", "BF16", "bf16"), ("fp16", "FP16", "f16")])
def test_openvino_computes_in_16_bits_where_the_cpu_can(made, scheme, capability, arithmetic):
    import openvino

    can = capability in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    used = made[scheme, "openvino"]._compiled.get_property("INFERENCE_PRECISION_HINT")
    assert used.get_type_name() == (arithmetic if can else "f32")
    assert made[scheme, "openvino"].card.settings["precision"] == arithmetic


# Mixed precision

def test_layers_kept_in_float_are_exact_in_weight_only(tiny_model, tiny_task):
    quantized = quantize(tiny_model, tiny_task, "weight-only", bits=2, keep_float=KEPT)
    for name in linear_layers(tiny_model.module):
        equal = torch.equal(quantized.module.get_submodule(name).weight, tiny_model.module.get_submodule(name).weight)
        assert equal == (name in KEPT), name


def float_products(graph) -> list[np.ndarray]:
    """Weights that a matrix product of an ONNX graph uses in float."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    used = [name for node in graph.node if node.op_type in ("MatMul", "Gemm") for name in node.input]
    result = [weights[name] for name in used if name in weights]
    return [weight for weight in result if weight.dtype == np.float32 and weight.ndim == 2]


@pytest.mark.parametrize("scheme", ["dynamic-int8", "static-int8"])
def test_layers_kept_in_float_are_float_products_in_onnx(tiny_model, tiny_task, scheme):
    quantized = quantize(tiny_model, tiny_task, scheme, keep_float=KEPT, calibration_rows=4)
    result = float_products(onnx.load(quantized.graph).graph)
    expected = [tiny_model.module.get_submodule(name).weight.detach().numpy() for name in KEPT]
    assert len(result) == len(KEPT)
    for weight in expected:
        assert any(np.array_equal(weight, other) or np.array_equal(weight, other.T) for other in result)


@pytest.mark.parametrize("kind", [("dynamic-int8", "onnxruntime"), ("static-int8", "onnxruntime")])
def test_without_keep_float_no_product_is_float_in_onnx(made, kind):
    assert float_products(onnx.load(made[kind].graph).graph) == []


def openvino_float_products(graph) -> int:
    """Products with a constant of floats as their weight; quantized ones are unpacked from 8 bits first."""
    products = [op for op in graph.get_ops() if op.get_type_name() == "MatMul"]
    return sum(op.input(1).get_source_output().get_node().get_type_name() == "Constant" for op in products)


def test_layers_kept_in_float_are_float_products_in_openvino(made, tiny_model, tiny_task):
    quantized = quantize(tiny_model, tiny_task, "static-int8", "openvino", keep_float=KEPT, calibration_rows=4)
    assert openvino_float_products(quantized.graph) == len(KEPT)
    assert openvino_float_products(made["static-int8", "openvino"].graph) == 0


def test_keeping_layers_in_float_is_told(tiny_model, tiny_task):
    card = quantize(tiny_model, tiny_task, "weight-only", bits=4, keep_float=KEPT[:2]).card
    assert card.name.endswith(", 2 layers in float")
    assert card.settings["keep_float"] == KEPT[:2]


# Options of ONNX Runtime's int8

def int8_weights(model) -> list[np.ndarray]:
    graph = onnx.load(model.graph).graph
    arrays = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim == 2]


def test_a_reduced_range_is_7_bits(made, tiny_model, tiny_task):
    reduced = quantize(tiny_model, tiny_task, "dynamic-int8", reduce_range=True)
    assert max(int(np.abs(array.astype(int)).max()) for array in int8_weights(reduced)) <= 64
    assert max(int(np.abs(array.astype(int)).max()) for array in int8_weights(made["dynamic-int8", "onnxruntime"])) > 64
    assert "7-bit weights" in reduced.card.name


def test_per_channel_has_a_scale_for_each_output(made, tiny_model, tiny_task):
    def most_scales(model):
        graph = onnx.load(model.graph).graph
        sizes = [math.prod(tensor.dims) for tensor in graph.initializer if tensor.name.endswith("_scale")]
        return max(sizes)

    assert most_scales(made["dynamic-int8", "onnxruntime"]) == 128
    whole = quantize(tiny_model, tiny_task, "dynamic-int8", per_channel=False)
    assert most_scales(whole) == 1
    assert whole.card.name == "int8 dynamic per tensor, ONNX Runtime"


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_each_calibration_gives_a_working_model_of_its_own(made, tiny_model, tiny_task, calibration):
    quantized = quantize(tiny_model, tiny_task, "static-int8", calibration=calibration, calibration_rows=8)
    result, plain = (model.predict(texts_of(tiny_task)) for model in (quantized, made["static-int8", "onnxruntime"]))
    assert calibration in quantized.card.name
    assert np.isfinite(result).all()
    assert not np.array_equal(result, plain)


def test_streams_go_with_every_scheme(tiny_model, tiny_task, made):
    quantized = quantize(tiny_model, tiny_task, "weight-only", streams=2, micro_batch=4)
    expected = made["weight-only", "pytorch"].predict(texts_of(tiny_task))
    np.testing.assert_allclose(quantized.predict(texts_of(tiny_task)), expected, atol=1e-5)
    assert quantized.card.name.endswith(", 2 streams, rows by 4")


# What there is not

@pytest.mark.parametrize(("options", "sentence"), [
    ({"scheme": "int3"}, r"Unknown quantization scheme 'int3'. Choose one of: fp16, bf16, .*weight-only\."),
    ({"scheme": "fp16", "runtime": "onnxruntime"}, r"'fp16' is not made for 'onnxruntime' here, but for pytorch and"),
    ({"scheme": "weight-only", "runtime": "tvm"}, r"'weight-only' is not made for 'tvm' here, but for pytorch\."),
    ({"scheme": "weight-only", "keep_float": ["head"]}, r"no linear layer 'head'. The first of its 14: encoder\."),
    ({"scheme": "fp16", "keep_float": ["classifier"]}, r"'fp16' casts the whole model; keep_float= goes with the int8"),
    ({"scheme": "weight-only", "bits": 1}, r"Weights can be stored in 2 to 8 bits, not in 1\."),
    ({"scheme": "weight-only", "bits": 9}, r"Weights can be stored in 2 to 8 bits, not in 9\."),
    ({"scheme": "weight-only", "group_size": 0}, r"multiple of the group size 0; try 32\."),
    ({"scheme": "weight-only", "group_size": 48}, r"multiple of the group size 48; try 32\."),
    ({"scheme": "static-int8", "calibration": "best"}, r"Unknown calibration 'best'. Choose one of: minmax, "),
    ({"scheme": "static-int8", "calibration_rows": 0}, r"Calibration needs at least one row, not 0\."),
    ({"scheme": "static-int8", "runtime": "openvino", "calibration_rows": -1}, r"at least one row, not -1\."),
    ({"scheme": "fp16", "threads": 2}, r"quantize does not take 'threads'\."),
])
def test_what_cannot_be_made_is_refused_in_a_sentence(tiny_model, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        quantize(tiny_model, tiny_task, **options)


def test_only_a_pytorch_model_is_quantized(tiny_model, tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be quantized; .* runs in onnxruntime"):
        quantize(export(tiny_model, "onnxruntime"), tiny_task, "dynamic-int8")


def test_a_format_that_cannot_hold_the_numbers_is_refused(tiny_model, tiny_task):
    """16-bit floats end at 65,504; those of bf16 do not."""
    module = copy.deepcopy(tiny_model.module)
    with torch.no_grad():
        module.classifier.weight.mul_(1e6)
    large = TorchTextModel(tiny_model.card, tiny_model.encoder, module)
    with pytest.raises(InputError, match=r"'bert' cannot be made into 'fp16, PyTorch': its answers are no num"):
        quantize(large, tiny_task, "fp16")
    assert np.isfinite(quantize(large, tiny_task, "bf16").predict(texts_of(tiny_task))).all()
