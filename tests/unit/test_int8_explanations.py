"""Why int8 is fast or slow: paper models, saturating products, profilers and crossing points."""

import time

import numpy as np
import pytest
import torch

from helpers.lab import Cancelled, InputError, export
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Card, TextModel
from helpers.lab.progress import Progress
from helpers.lab.training.tokenizer import TextEncoder
from helpers.model_optimization import crossover, explain_speed, operator_times, paper_speedup, quantize, saturation
from helpers.model_optimization.quantization.int8_speed import INT8_GAIN, _kind, int8_gain
from helpers.model_optimization.quantization.saturating_products import KERNELS, _Int8Linear, pairwise_product

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def models(tiny_model, tiny_task):
    return {"PyTorch": tiny_model, "ONNX Runtime": export(tiny_model, "onnxruntime"),
            "OpenVINO": export(tiny_model, "openvino"),
            "int8, ONNX Runtime": quantize(tiny_model, tiny_task, "dynamic-int8"),
            "int8, OpenVINO": quantize(tiny_model, tiny_task, "static-int8", "openvino", calibration_rows=8)}


# On paper

@pytest.mark.parametrize(("share", "conversions", "gain", "expected"), [
    (0.0, 0.0, 4, 1.0),  # nothing to speed up
    (1.0, 0.0, 4, 4.0),  # all of it four times faster
    (0.8, 0.0, 4, 2.5),  # 1 / (0.2 + 0.2)
    (0.8, 0.1, 4, 2.0),  # 1 / (0.2 + 0.2 + 0.1)
    (0.5, 0.6, 2, 1 / 1.35)])  # conversions eat more than the products save
def test_the_paper_model_is_amdahls_law(share, conversions, gain, expected):
    assert paper_speedup(share, conversions, gain) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "conversions"), [(1.1, 0.0), (-0.1, 0.0), (0.5, -0.1)])
def test_impossible_shares_are_refused(share, conversions):
    with pytest.raises(InputError, match="Shares of time lie between 0 and 1"):
        paper_speedup(share, conversions, 4)


def test_vnni_does_four_products_for_one_and_avx2_hardly_more_than_one():
    """By the instructions' definitions: VPDPBUSD multiplies 4 bytes a lane; VPMADDUBSW needs three instructions."""
    assert (INT8_GAIN["AVX-512 VNNI"], INT8_GAIN["AVX2"]) == (4.0, pytest.approx(32 / 3 / 8))


@pytest.mark.parametrize(("sets", "gain"), [(("AVX2",), 4 / 3), (("AVX2", "AVX-512", "AVX-512 VNNI"), 4.0),
                                            (("NEON dotprod",), 4.0), ((), 1.0)])
def test_a_cpus_best_instruction_counts(monkeypatch, sets, gain):
    monkeypatch.setattr("helpers.model_optimization.quantization.int8_speed.instruction_sets", lambda: sets)
    assert int8_gain() == pytest.approx(gain)


# Saturating products

@pytest.mark.parametrize("shape", [(1, 1, 2), (7, 5, 64), (16, 3, 130)])
def test_without_clipping_the_product_is_exact(shape):
    rows, out, k = shape
    activations = rng.integers(0, 256, (rows, k)).astype(np.uint8)
    weights = rng.integers(-127, 128, (out, k)).astype(np.int8)
    product, clipped = pairwise_product(activations, weights, False)
    np.testing.assert_array_equal(product, activations.astype(np.int32) @ weights.astype(np.int32).T)
    assert clipped == 0


def test_a_pair_of_large_products_is_clipped_at_16_bits():
    """255 x 127 twice is 64,770, kept as 32,767; 255 x -128 twice is -65,280, kept as -32,768."""
    product, clipped = pairwise_product(np.array([[255, 255]], np.uint8), np.array([[127, 127], [-128, -128]], np.int8),
                                        True)
    assert product.tolist() == [[32767, -32768]]
    assert clipped == 2


def test_only_the_pairs_that_overflow_are_clipped():
    """The first pair makes 64,770, the second 255 - 255 x 127 = -32,130, the third 2."""
    product, clipped = pairwise_product(np.array([[255, 255, 255, 255, 1, 1]], np.uint8),
                                        np.array([[127, 127, 1, -127, 1, 1]], np.int8), True)
    assert product.tolist() == [[32767 - 32130 + 2]]
    assert clipped == 1


def test_seven_bit_weights_never_clip():
    activations = np.full((2, 64), 255, np.uint8)
    weights = rng.choice(np.array([-63, 63], np.int8), (8, 64))
    product, clipped = pairwise_product(activations, weights, True)
    np.testing.assert_array_equal(product, activations.astype(np.int32) @ weights.astype(np.int32).T)
    assert clipped == 0


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_the_emulated_layer_is_the_product_of_the_rounded_values(shift):
    torch.manual_seed(0)
    linear, values = torch.nn.Linear(32, 6), torch.randn(2, 9, 32) + shift
    with torch.inference_mode():
        found = _Int8Linear(linear, 127, False)(values).numpy()
    weight = linear.weight.detach().numpy()
    weight_step = np.abs(weight).max() / 127
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = (high - low) / 255
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(values.numpy() / step) + zero, 0, 255) - zero) * step
    expected = rounded @ (np.round(weight / weight_step) * weight_step).T + linear.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_saturation_tells_what_each_kind_of_cpu_answers(tiny_model, tiny_task):
    frame = saturation(tiny_model, tiny_task, rows=20)
    assert frame.columns.tolist() == ["kernel", "accuracy", "accuracy_delta", "accuracy_delta_low",
                                      "accuracy_delta_high", "agreement", "clipped_pairs"]
    assert frame["kernel"].tolist() == list(KERNELS)
    shares = frame.set_index("kernel")["clipped_pairs"]
    assert shares["8-bit weights, VNNI"] == shares["7-bit weights, no VNNI"] == 0
    part = tiny_task.take(test=20).test
    right = tiny_model.predict(part["text"][:]).argmax(axis=1) == part["label"][:]
    np.testing.assert_allclose(frame["accuracy"] - frame["accuracy_delta"], right.mean())
    assert ((frame["accuracy_delta_low"] <= frame["accuracy_delta"])
            & (frame["accuracy_delta"] <= frame["accuracy_delta_high"])).all()


def test_large_weights_and_activations_saturate_without_vnni(tiny_model, tiny_task):
    """Positive inputs and weights of one size fill both 8-bit ranges: most pairs overflow."""
    linear = torch.nn.Linear(64, 4)
    torch.nn.init.constant_(linear.weight, 0.5)
    layer = _Int8Linear(linear, 127, True)
    layer(torch.ones(3, 64))
    assert layer.clipped == layer.pairs == 3 * 4 * 32


def test_saturation_can_be_cancelled(tiny_model, tiny_task):
    with pytest.raises(Cancelled):
        saturation(tiny_model, tiny_task, progress=Progress(cancelled=lambda: True))


# Profilers

@pytest.mark.parametrize("name", ["PyTorch", "ONNX Runtime", "OpenVINO", "int8, ONNX Runtime", "int8, OpenVINO"])
def test_operators_of_each_runtime_are_timed_and_sorted_into_kinds(models, tiny_task, name):
    frame = operator_times(models[name], tiny_task.test["text"][:8], repeats=2)
    assert frame.columns.tolist() == ["operator", "kind", "ms", "share"]
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["ms"].is_monotonic_decreasing
    assert (frame["ms"] > 0).all()
    assert frame["operator"].is_unique
    assert {"product"} <= set(frame["kind"]) <= {"product", "conversion", "other"}


def test_dynamic_int8_is_seen_to_convert_in_each_call(models, tiny_task):
    texts = tiny_task.test["text"][:8]
    shares = {name: operator_times(models[name], texts, repeats=2).groupby("kind")["share"].sum()
              for name in ("ONNX Runtime", "int8, ONNX Runtime")}
    assert shares["int8, ONNX Runtime"]["conversion"] > shares["ONNX Runtime"].get("conversion", 0.0)


@pytest.mark.parametrize(("operator", "kind"), [
    ("MatMul", "product"), ("Gemm", "product"), ("FusedMatMul", "product"), ("MatMulInteger", "product"),
    ("DynamicQuantizeMatMul", "product"), ("MatMulIntegerToFloat", "product"), ("QLinearMatMul", "product"),
    ("addmm", "product"), ("bmm", "product"), ("linear", "product"), ("FullyConnected", "product"),
    ("_scaled_dot_product_flash_attention_for_cpu", "product"), ("ScaledDotProductAttention", "product"),
    ("QuantizeLinear", "conversion"), ("DequantizeLinear", "conversion"), ("DynamicQuantizeLinear", "conversion"),
    ("FakeQuantize", "conversion"), ("Cast", "conversion"), ("Convert", "conversion"),
    ("QLinearAdd", "other"), ("Softmax", "other"), ("LayerNormalization", "other"), ("native_layer_norm", "other"),
    ("Gelu", "other"), ("Add", "other"), ("Gather", "other"), ("embedding", "other")])
def test_an_operator_is_a_product_a_conversion_or_something_else(operator, kind):
    assert _kind(operator) == kind


def test_the_explanation_puts_paper_and_measurement_side_by_side(models, tiny_task):
    found = explain_speed(models["ONNX Runtime"], models["int8, ONNX Runtime"], tiny_task)
    reference, candidate = (found.operators.groupby("kind")[f"ms_{name}"].sum() for name in ("reference", "candidate"))
    products, conversions = reference["product"] / reference.sum(), candidate["conversion"] / reference.sum()
    assert found.predicted == pytest.approx(1 / (1 - products + products / found.int8_gain + conversions))
    assert found.measured.model == models["int8, ONNX Runtime"].card.name
    sentence = found.sentence()
    assert f"{found.predicted:.2f}x on paper; measured {found.measured.speedup:.2f}x" in sentence


# Where it turns

class Sleeper(TextModel):
    """Takes so many milliseconds a pass, and notes the shapes that it was given."""

    def __init__(self, milliseconds: float, encoder: TextEncoder) -> None:
        super().__init__(Card(f"{milliseconds} ms", 2), encoder)
        self.milliseconds, self.given = milliseconds, []

    def _logits(self, ids, mask):
        self.given.append(ids.shape)
        time.sleep(self.milliseconds / 1000)
        return np.zeros((len(ids), 2), np.float32)


def test_crossover_measures_each_batch_at_each_length(tiny_model):
    slow, fast = (Sleeper(milliseconds, tiny_model.encoder) for milliseconds in (80, 40))
    frame = crossover(slow, fast, batches=(1, 3), tokens=(4, 8), rounds=5)
    assert frame.columns.tolist() == ["batch", "tokens", "speedup", "low", "high"]
    assert list(zip(frame["batch"], frame["tokens"], strict=True)) == [(1, 4), (1, 8), (3, 4), (3, 8)]
    assert frame["speedup"].median() == pytest.approx(2, rel=0.25)
    assert ((frame["low"] <= frame["speedup"]) & (frame["speedup"] <= frame["high"])).all()
    assert fast.given == [(batch, tokens) for batch in (1, 3) for tokens in (4, 8) for _ in range(6)]


def test_crossover_can_be_cancelled_between_cells(tiny_model):
    told, model = [], Sleeper(1, tiny_model.encoder)
    with pytest.raises(Cancelled):
        crossover(model, model, progress=Progress(lambda _, message: told.append(message), lambda: len(told) == 2))
    assert told == ["batch 1, 8 tokens", "batch 1, 32 tokens"]


@pytest.mark.parametrize("experiment", [
    lambda models, task, **options: crossover(models["PyTorch"], models["ONNX Runtime"], **options),
    lambda models, task, **options: explain_speed(models["PyTorch"], models["ONNX Runtime"], task, **options)])
def test_who_waits_for_the_stopwatch_is_told_and_can_cancel(models, tiny_task, monkeypatch, tmp_path, experiment):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = []
    with timing_turn(), pytest.raises(Cancelled):
        experiment(models, tiny_task, progress=Progress(lambda _, message: told.append(message), lambda: bool(told)))
    assert told == ["waiting for 1 other runs"]
