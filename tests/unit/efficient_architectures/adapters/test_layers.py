"""Bottlenecks: at the start they change nothing, and they need BERT's layers."""

import pytest
import torch
from torch import nn

from helpers.efficient_architectures.adapters.layers import LinearWithBottleneck, add_bottlenecks
from helpers.lab import InputError


def test_a_new_bottleneck_changes_nothing_until_it_is_trained():
    base, states = nn.Linear(8, 6), torch.randn(3, 8)
    layer = LinearWithBottleneck(base, 2)
    torch.testing.assert_close(layer(states), base(states), rtol=0, atol=0)
    nn.init.ones_(layer.adapter.up.weight)
    assert not torch.equal(layer(states), base(states))


def test_an_encoder_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"BERT's layers; Linear has none\.$"):
        add_bottlenecks(nn.Linear(2, 2), 4)
