"""Products of 8-bit numbers that add up in 16 bits: exact where nothing clips, and counted where something does."""

import numpy as np
import pytest
import torch
from architectures import small_classifier

from helpers.lab import Cancelled
from helpers.lab.models.torch import linear_layers
from helpers.lab.progress import Progress
from helpers.model_optimization import saturation
from helpers.model_optimization.quantization.saturating_products import (
    KERNELS,
    _emulated,
    _Int8Linear,
    pairwise_product,
)

rng = np.random.default_rng(0)


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
        result = _Int8Linear(linear, 127, False)(values).numpy()
    weight = linear.weight.detach().numpy()
    weight_step = np.abs(weight).max() / 127
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = (high - low) / 255
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(values.numpy() / step) + zero, 0, 255) - zero) * step
    expected = rounded @ (np.round(weight / weight_step) * weight_step).T + linear.bias.detach().numpy()
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_saturation_tells_what_each_kind_of_cpu_answers(tiny_model, tiny_task):
    frame = saturation(tiny_model, tiny_task, rows=20)
    assert frame.columns.tolist() == ["kernel", "accuracy", "accuracy_delta", "accuracy_delta_low",
                                      "accuracy_delta_high", "agreement", "clipped_pairs", "significant"]
    assert frame["kernel"].tolist() == list(KERNELS)
    shares = frame.set_index("kernel")["clipped_pairs"]
    assert shares["8-bit weights, VNNI"] == shares["7-bit weights, no VNNI"] == 0
    part = tiny_task.take(test=20).test
    right = tiny_model.predict(part["text"][:]).argmax(axis=1) == part["label"][:]
    np.testing.assert_allclose(frame["accuracy"] - frame["accuracy_delta"], right.mean())
    assert ((frame["accuracy_delta_low"] <= frame["accuracy_delta"])
            & (frame["accuracy_delta"] <= frame["accuracy_delta_high"])).all()


def test_a_kernel_counts_only_among_all_that_are_read_together(tiny_model, tiny_task, monkeypatch):
    """Of p-values 0.03, 0.04 and 0.001 Holm's method leaves the last alone: 2 x 0.03 is above 0.05."""
    result = iter([0.03, 0.04, 0.001])
    monkeypatch.setattr(f"{saturation.__module__}.mcnemar_p", lambda reference, candidate: next(result))
    assert saturation(tiny_model, tiny_task, rows=8)["significant"].tolist() == [False, False, True]


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


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_layers_without_a_bias_and_transposed_ones_are_emulated_too(name):
    emulated, layers = _emulated(small_classifier(name), 127, False)
    plain = small_classifier(name)
    ids, mask = torch.arange(1, 41).reshape(4, 10), torch.ones(4, 10, dtype=torch.int64)
    assert len(layers) == len(linear_layers(plain))
    with torch.inference_mode():
        expected, result = plain(ids, mask), emulated(ids, mask)
    assert 0 < (result - expected).abs().mean() < 0.1 * expected.std()
