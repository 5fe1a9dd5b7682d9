"""Operations and bytes against counts by hand."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.hardware_codesign.roofline.counting import layer_seconds, operators
from helpers.lab import InputError


def inputs_of(batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(1, 1000, (batch, length), generator=torch.Generator().manual_seed(0))
    return ids, torch.ones_like(ids)


@pytest.mark.parametrize(("batch", "fan_in", "fan_out"), [(1, 7, 5), (8, 64, 32)])
def test_a_linear_layer_is_counted_as_by_hand(batch, fan_in, fan_out):
    row = operators(nn.Linear(fan_in, fan_out), torch.rand(batch, fan_in)).iloc[0]
    weights = 4 * (fan_in * fan_out + fan_out)
    assert row["flops"] == 2 * batch * fan_in * fan_out
    assert row["weight_bytes"] == weights
    assert row["bytes"] == weights + 4 * batch * (fan_in + fan_out)


def test_inference_mode_counts_the_same():
    """It hands linear layers over in one piece, for which PyTorch has no rule: they counted as nothing."""
    layer, rows = nn.Linear(7, 5), torch.rand(3, 7)
    with torch.inference_mode():
        inside = operators(layer, rows)
    assert inside.to_dict("list") == operators(layer, rows).to_dict("list")
    assert inside["flops"].sum() == 2 * 3 * 7 * 5


def test_a_convolution_is_counted_as_by_hand():
    row = operators(nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.rand(2, 3, 16, 16)).iloc[0]
    assert row["flops"] == 2 * 2 * 8 * 16 * 16 * 3 * 9
    assert row["bytes"] == 4 * (2 * 3 * 16 * 16 + 8 * 3 * 9 + 2 * 8 * 16 * 16)


def test_an_activation_moves_what_it_reads_and_writes_and_multiplies_nothing():
    row = operators(nn.GELU(), torch.rand(4, 10)).iloc[0]
    assert (row["kind"], row["flops"], row["bytes"]) == ("elementwise", 0, 2 * 4 * 40)


def test_an_embedding_moves_the_rows_asked_for_and_not_the_table():
    row = operators(nn.Embedding(10_000, 16), torch.tensor([[1, 2, 3]])).iloc[0]
    assert row["bytes"] == 2 * 3 * 16 * 4 + 3 * 8


def test_the_parts_add_up_to_what_pytorch_counts(tiny_model):
    result = operators(tiny_model.module, *inputs_of(2, 12))
    heads, size, layers = 4, 16, 2
    attention = result.loc[result["kind"] == "attention", "flops"].sum()
    assert attention == layers * 4 * 2 * heads * 12 * 12 * size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tiny_model.module(*inputs_of(2, 12))
    assert result["flops"].sum() == counter.get_total_flops() + attention  # on CPUs the counter leaves attention out


def test_counting_and_timing_leave_the_answers_as_they_are(tiny_model):
    texts = ["a cat and a dog", "rain"]
    before = tiny_model.predict(texts)
    operators(tiny_model.module, *inputs_of(1, 4))
    seconds = layer_seconds(tiny_model.module, *inputs_of(1, 4), rounds=2)
    np.testing.assert_array_equal(tiny_model.predict(texts), before)
    assert all(value >= 0 for value in seconds.values())
    assert "encoder.encoder.layer.1.intermediate.dense" in seconds


def test_wrong_inputs_are_a_sentence(tiny_model):
    with pytest.raises(InputError, match="does not run on these inputs"):
        operators(tiny_model.module, torch.rand(2, 3))
