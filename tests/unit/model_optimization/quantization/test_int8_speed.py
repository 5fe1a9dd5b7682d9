"""Why int8 is fast or slow: paper models, profilers and crossing points."""

import time

import numpy as np
import pytest

from helpers.lab import Cancelled, InputError, export
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Card, TextModel
from helpers.lab.progress import Progress
from helpers.model_optimization import crossover, explain_speed, operator_times, paper_speedup, quantize
from helpers.model_optimization.quantization.int8_speed import INT8_GAIN, _kind, int8_gain


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
    result = explain_speed(models["ONNX Runtime"], models["int8, ONNX Runtime"], tiny_task)
    reference, candidate = (result.operators.groupby("kind")[f"ms_{name}"].sum() for name in ("reference", "candidate"))
    products, conversions = reference["product"] / reference.sum(), candidate["conversion"] / reference.sum()
    assert result.predicted == pytest.approx(1 / (1 - products + products / result.int8_gain + conversions))
    assert result.measured.model == models["int8, ONNX Runtime"].card.name
    sentence = result.sentence()
    assert f"{result.predicted:.2f}x on paper; measured {result.measured.speedup:.2f}x" in sentence


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
    assert fast.given == [(batch, tokens) for batch in (1, 3) for tokens in (4, 8) for _ in range(2 * 6)]


def test_crossover_can_be_cancelled_between_cells(tiny_model):
    said, model = [], Sleeper(1, tiny_model.encoder)
    with pytest.raises(Cancelled):
        crossover(model, model, progress=Progress(lambda _, message: said.append(message), lambda: len(said) == 2))
    assert said == ["batch 1, 8 tokens", "batch 1, 32 tokens"]


@pytest.mark.parametrize("experiment", [
    lambda models, task, **options: crossover(models["PyTorch"], models["ONNX Runtime"], **options),
    lambda models, task, **options: explain_speed(models["PyTorch"], models["ONNX Runtime"], task, **options)])
def test_who_waits_for_the_stopwatch_is_told_and_can_cancel(models, tiny_task, monkeypatch, tmp_path, experiment):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = []
    with timing_turn(), pytest.raises(Cancelled):
        experiment(models, tiny_task, progress=Progress(lambda _, message: said.append(message), lambda: bool(said)))
    assert said == ["waiting for 1 other runs"]
