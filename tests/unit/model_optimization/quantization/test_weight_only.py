"""Weights in 2 to 8 bits: how far they are rounded, what is stored, which layers bear it, and training at few bits."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.lab import Cancelled, InputError, load
from helpers.lab.data.tokenizer import pad
from helpers.lab.models.torch import TorchTextModel, linear_layers
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune
from helpers.model_optimization import quantization_aware, quantize, sensitivity
from helpers.model_optimization.options import BITS
from helpers.model_optimization.quantization.weight_only import quantize_weights


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
    assert len(packed) == len(linear_layers(tiny_model.module)) + 3  # words, places, kinds
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
    assert sorted(frame["layer"]) == sorted(linear_layers(tiny_model.module))
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
    for name in linear_layers(loaded.module):
        groups = loaded.module.get_submodule(name).weight.reshape(-1, 32)
        assert max(len(group.unique()) for group in groups) <= 4, name


def test_training_at_2_bits_leaves_the_float_model_alone(trained, tiny_task):
    state = copy.deepcopy(trained.module.state_dict())
    with pytest.raises(Cancelled):
        quantization_aware(trained, tiny_task, bits=2, progress=Progress(cancelled=lambda: True))
    assert all(torch.equal(tensor, state[name]) for name, tensor in trained.module.state_dict().items())


@pytest.mark.parametrize("numbers", [{"bits": 9}, {"bits": 1}, {"group_size": 48}])
def test_numbers_are_checked_by_sensitivity_and_training_too(tiny_model, tiny_task, numbers):
    for experiment in (sensitivity, quantization_aware):
        with pytest.raises(InputError, match=r"2 to 8 bits|group size"):
            experiment(tiny_model, tiny_task, **{"bits": 4} | numbers)
