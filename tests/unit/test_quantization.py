"""Quantization in every scheme: what is stored, how far it is from float, and what stays as it was."""

import copy
import dataclasses
import math

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from safetensors.torch import load_file

from helpers.lab import Cancelled, InputError, export, load
from helpers.lab.exporting.packing import PackedWeight, pack, unpack
from helpers.lab.models.model import folder_bytes
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.tokenizer import pad
from helpers.model_optimization import SCHEMES, quantization_aware, quantize, sensitivity
from helpers.model_optimization.quantization.schemes import linear_layers
from helpers.model_optimization.quantization.weight_only import BITS, quantize_weights

KINDS = [(scheme, runtime) for scheme, runtimes in SCHEMES.items() for runtime in runtimes]
KEPT = ["encoder.encoder.layer.0.output.dense", "encoder.encoder.layer.1.attention.self.query", "classifier"]


@pytest.fixture(scope="module")
def made(tiny_model, tiny_task):
    """Each scheme in each of its runtimes; the task's test rows are out of reach."""
    state = copy.deepcopy(tiny_model.module.state_dict())
    card, blind = tiny_model.card, dataclasses.replace(tiny_task, test=None)
    found = {kind: quantize(tiny_model, blind, *kind, calibration_rows=16) for kind in KINDS}
    assert tiny_model.card == card
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.module.state_dict().items())
    return found


@pytest.fixture(scope="module")
def trained(tiny_model, tiny_task):
    """The tiny model after it has learned the tiny task."""
    module = copy.deepcopy(tiny_model.module)
    fine_tune(module, *rows_and_labels(tiny_model, tiny_task), epochs=6, learning_rate=3e-3)
    return TorchTextModel(tiny_model.card, tiny_model.encoder, module)


def rows_and_labels(model, task):
    return model.encoder.encode(task.train["text"][:]), task.train["label"][:]


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
    expected, found = tiny_model.predict(texts_of(tiny_task)), made[kind].predict(texts_of(tiny_task))
    assert 0 < np.abs(found - expected).max() < most * expected.std()


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


# Weights in 2 to 8 bits

@torch.inference_mode()
def weight_error(model, bits: int, group_size: int) -> float:
    """Sum of all weights' roundings."""
    module, packed = quantize_weights(model, bits, group_size)
    return sum(float((module.get_submodule(name).weight - model.module.get_submodule(name).weight).abs().sum())
               for name in packed)


@pytest.mark.parametrize("bits", BITS)
def test_each_weight_is_rounded_by_at_most_half_a_step(tiny_model, bits):
    """A step is the scale. It is kept in float16, which moves the largest code by up to 2^(bits - 12) steps."""
    module, packed = quantize_weights(tiny_model, bits, 32)
    assert len(packed) == len(linear_layers(tiny_model)) + 3  # words, places, kinds
    for name, stored in packed.items():
        weight = tiny_model.module.get_submodule(name).weight
        error = (module.get_submodule(name).weight - weight).abs()
        scale = stored.scale.float().repeat_interleave(32, dim=1)
        assert (error <= scale * (0.5 + 2.0 ** (bits - 12)) * 1.001 + 1e-7).all(), name
        assert stored.codes.min() >= -2 ** (bits - 1)
        assert stored.codes.max() <= 2 ** (bits - 1) - 1


def test_more_bits_make_smaller_errors(tiny_model):
    errors = [weight_error(tiny_model, bits, 32) for bits in BITS]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 30 * errors[-1]  # 2^6 times finer steps


def test_smaller_groups_make_smaller_errors(tiny_model):
    errors = [weight_error(tiny_model, 3, group_size) for group_size in (8, 32, 64)]
    assert errors == sorted(errors)


@pytest.mark.parametrize(("bits", "group_size"), [(2, 32), (3, 16), (4, 64), (8, 32)])
def test_a_stored_weight_takes_just_its_bits(tiny_model, tiny_task, tmp_path, bits, group_size):
    """Codes at `bits` bits, a float16 scale a group, four int64 of shape; all else in float32."""
    quantize(tiny_model, tiny_task, "weight-only", bits=bits, group_size=group_size).save(tmp_path)
    expected = 0
    for name, tensor in tiny_model.module.state_dict().items():
        if tensor.ndim == 2 and "position_ids" not in name:
            rows, columns = tensor.shape
            expected += math.ceil(rows * columns * bits / 8) + rows * (columns // group_size) * 2 + 4 * 8
        else:
            expected += 4 * tensor.numel()
    stored = load_file(tmp_path / "weights.safetensors")
    assert sum(tensor.nbytes for tensor in stored.values()) == expected


def test_two_bits_hold_four_values_a_group(tiny_model):
    module, _ = quantize_weights(tiny_model, 2, 32)
    groups = module.classifier.weight.reshape(-1, 32)
    assert max(len(group.unique()) for group in groups) <= 4


def test_rows_that_no_group_fits_stay_exact(tiny_model):
    """Only the second feed-forward matrices have rows of 128."""
    module, packed = quantize_weights(tiny_model, 4, 128)
    assert sorted(packed) == [f"encoder.encoder.layer.{layer}.output.dense" for layer in (0, 1)]
    assert torch.equal(module.classifier.weight, tiny_model.module.classifier.weight)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 3, 8]), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back_as_they_were(bits, rows, groups, group_size, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-2 ** (bits - 1), 2 ** (bits - 1), (rows, groups * group_size)).astype(np.int8)
    scale = torch.from_numpy(rng.random((rows, groups)).astype(np.float16))
    stored = pack("layer", PackedWeight(bits, group_size, torch.from_numpy(codes), scale))
    weights, packed = unpack({"other": torch.ones(2), **stored})
    back = packed["layer"]
    assert (back.bits, back.group_size) == (bits, group_size)
    np.testing.assert_array_equal(back.codes.numpy(), codes)
    np.testing.assert_array_equal(weights["layer.weight"].numpy(),
                                  codes * np.repeat(scale.float().numpy(), group_size, axis=1))
    assert sorted(weights) == ["layer.weight", "other"]
    assert stored["layer.packed.codes"].numel() == math.ceil(codes.size * bits / 8)


# Mixed precision

def test_layers_kept_in_float_are_exact_in_weight_only(tiny_model, tiny_task):
    quantized = quantize(tiny_model, tiny_task, "weight-only", bits=2, keep_float=KEPT)
    for name in linear_layers(tiny_model):
        equal = torch.equal(quantized.module.get_submodule(name).weight, tiny_model.module.get_submodule(name).weight)
        assert equal == (name in KEPT), name


def float_products(graph) -> list[np.ndarray]:
    """Weights that a matrix product of an ONNX graph uses in float."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    used = [name for node in graph.node if node.op_type in ("MatMul", "Gemm") for name in node.input]
    found = [weights[name] for name in used if name in weights]
    return [weight for weight in found if weight.dtype == np.float32 and weight.ndim == 2]


@pytest.mark.parametrize("scheme", ["dynamic-int8", "static-int8"])
def test_layers_kept_in_float_are_float_products_in_onnx(tiny_model, tiny_task, scheme):
    quantized = quantize(tiny_model, tiny_task, scheme, keep_float=KEPT, calibration_rows=4)
    found = float_products(onnx.load(quantized.graph).graph)
    expected = [tiny_model.module.get_submodule(name).weight.detach().numpy() for name in KEPT]
    assert len(found) == len(KEPT)
    for weight in expected:
        assert any(np.array_equal(weight, other) or np.array_equal(weight, other.T) for other in found)


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
    found, plain = (model.predict(texts_of(tiny_task)) for model in (quantized, made["static-int8", "onnxruntime"]))
    assert calibration in quantized.card.name
    assert np.isfinite(found).all()
    assert not np.array_equal(found, plain)


def test_streams_go_with_every_scheme(tiny_model, tiny_task, made):
    quantized = quantize(tiny_model, tiny_task, "weight-only", streams=2, micro_batch=4)
    expected = made["weight-only", "pytorch"].predict(texts_of(tiny_task))
    np.testing.assert_allclose(quantized.predict(texts_of(tiny_task)), expected, atol=1e-5)
    assert quantized.card.name.endswith(", 2 streams, rows by 4")


# Sensitivity

def make_fragile(model):
    """The classifier with two large weights that shift all three logits alike: same answers, coarse steps."""
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        module.classifier.weight[:, [0, 32]] += 50.0
    return TorchTextModel(model.card, model.encoder, module)


def test_the_fragile_layer_is_ranked_first(tiny_model, tiny_task):
    plain, fragile = (sensitivity(model, tiny_task, rows=9) for model in (tiny_model, make_fragile(tiny_model)))
    assert plain["layer"][0] != "classifier"
    assert fragile["layer"][0] == "classifier"
    assert fragile["divergence"][0] > 2 * plain["divergence"][0]


def test_sensitivity_lists_each_linear_layer_with_its_size_and_changes_none(tiny_model, tiny_task):
    state = copy.deepcopy(tiny_model.module.state_dict())
    frame = sensitivity(tiny_model, dataclasses.replace(tiny_task, test=None, train=None), rows=9)
    assert frame.columns.tolist() == ["layer", "divergence", "parameters"]
    assert sorted(frame["layer"]) == sorted(linear_layers(tiny_model))
    assert frame["divergence"].is_monotonic_decreasing
    assert (frame["divergence"] >= -1e-6).all()
    assert frame.set_index("layer")["parameters"]["classifier"] == 3 * 64
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.module.state_dict().items())


def test_more_bits_move_the_answers_less(tiny_model, tiny_task):
    few, many = (sensitivity(tiny_model, tiny_task, bits=bits, rows=9)["divergence"].sum() for bits in (2, 8))
    assert many < 0.05 * few


def test_keeping_the_worst_layers_in_float_brings_the_answers_nearer(tiny_model, tiny_task):
    worst = sensitivity(tiny_model, tiny_task, bits=2, rows=9)["layer"][:6].tolist()
    expected = tiny_model.predict(texts_of(tiny_task))
    plain, mixed = (np.abs(quantize(tiny_model, tiny_task, "weight-only", bits=2, keep_float=kept).predict(
        texts_of(tiny_task)) - expected).mean() for kept in ([], worst))
    assert mixed < plain


def test_sensitivity_can_be_cancelled(tiny_model, tiny_task):
    with pytest.raises(Cancelled):
        sensitivity(tiny_model, tiny_task, progress=Progress(cancelled=lambda: True))


# Training with the rounding in the loop

@torch.inference_mode()
def training_loss(model, task) -> float:
    rows, labels = rows_and_labels(model, task)
    ids, mask = (torch.from_numpy(array) for array in pad(rows))
    return float(torch.nn.functional.cross_entropy(model.module(ids, mask), torch.tensor(labels)))


@pytest.fixture(scope="module")
def aware(trained, tiny_task):
    return quantization_aware(trained, dataclasses.replace(tiny_task, test=None), bits=2, epochs=6, learning_rate=2e-3)


def test_training_at_2_bits_beats_rounding_to_2_bits(trained, tiny_task, aware):
    rounded = quantize(trained, tiny_task, "weight-only", bits=2)
    assert training_loss(trained, tiny_task) < training_loss(rounded, tiny_task)  # rounding does cost something
    assert training_loss(aware, tiny_task) < 0.7 * training_loss(rounded, tiny_task)


def test_what_was_trained_at_2_bits_is_stored_in_2_bits(trained, tiny_task, aware, tmp_path):
    aware.save(tmp_path / "aware")
    quantize(trained, tiny_task, "weight-only", bits=2).save(tmp_path / "rounded")
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("aware", "rounded")]
    assert sizes[0] == sizes[1]
    loaded = load(tmp_path / "aware")
    np.testing.assert_array_equal(loaded.predict(texts_of(tiny_task)), aware.predict(texts_of(tiny_task)))
    for name in linear_layers(loaded):
        groups = loaded.module.get_submodule(name).weight.reshape(-1, 32)
        assert max(len(group.unique()) for group in groups) <= 4, name


def test_training_at_2_bits_leaves_the_float_model_alone(trained, tiny_task):
    state = copy.deepcopy(trained.module.state_dict())
    with pytest.raises(Cancelled):
        quantization_aware(trained, tiny_task, bits=2, progress=Progress(cancelled=lambda: True))
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.module.state_dict().items())


# What there is not

@pytest.mark.parametrize(("options", "sentence"), [
    ({"scheme": "int3"}, r"There is no quantization scheme 'int3'. Known: fp16, bf16, dynamic-int8, .*weight-only\."),
    ({"scheme": "fp16", "runtime": "onnxruntime"}, r"'fp16' is not made for 'onnxruntime' here, but for pytorch and"),
    ({"scheme": "weight-only", "runtime": "tvm"}, r"'weight-only' is not made for 'tvm' here, but for pytorch\."),
    ({"scheme": "weight-only", "keep_float": ["head"]}, r"no linear layer 'head'. The first of its 14: encoder\."),
    ({"scheme": "fp16", "keep_float": ["classifier"]}, r"'fp16' casts the whole model; keep_float= goes with the int8"),
    ({"scheme": "weight-only", "bits": 1}, r"Weights can be stored in 2 to 8 bits, not in 1\."),
    ({"scheme": "weight-only", "bits": 9}, r"Weights can be stored in 2 to 8 bits, not in 9\."),
    ({"scheme": "weight-only", "group_size": 0}, r"multiple of the group size 0; try 32\."),
    ({"scheme": "weight-only", "group_size": 48}, r"multiple of the group size 48; try 32\."),
    ({"scheme": "static-int8", "calibration": "best"}, r"no calibration 'best'. Known: minmax, percentile, entropy\."),
    ({"scheme": "static-int8", "calibration_rows": 0}, r"Calibration needs at least one row, not 0\."),
    ({"scheme": "static-int8", "runtime": "openvino", "calibration_rows": -1}, r"at least one row, not -1\."),
    ({"scheme": "fp16", "threads": 2}, r"quantize does not take 'threads'\."),
])
def test_what_cannot_be_made_is_refused_in_a_sentence(tiny_model, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        quantize(tiny_model, tiny_task, **options)


@pytest.mark.parametrize("numbers", [{"bits": 9}, {"bits": 1}, {"group_size": 48}])
def test_numbers_are_checked_by_sensitivity_and_training_too(tiny_model, tiny_task, numbers):
    for experiment in (sensitivity, quantization_aware):
        with pytest.raises(InputError, match=r"2 to 8 bits|group size"):
            experiment(tiny_model, tiny_task, **{"bits": 4} | numbers)


def test_only_a_pytorch_model_is_quantized(tiny_model, tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be quantized; .* runs in onnxruntime"):
        quantize(export(tiny_model, "onnxruntime"), tiny_task, "dynamic-int8")
