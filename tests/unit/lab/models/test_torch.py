"""Counts of a PyTorch module."""

import pytest

from helpers.lab.models.torch import count_macs, count_parameters


@pytest.mark.parametrize("tokens", [8, 32])
def test_multiplications_are_those_of_the_architecture(tiny_model, tokens):
    """Each of 2 layers: 4 matrices of 64 x 64, 2 of 64 x 128, 2 products of T x T x 64; then pooler and classifier."""
    layer = tokens * (4 * 64 * 64 + 2 * 64 * 128) + 2 * tokens * tokens * 64
    assert count_macs(tiny_model.module, tokens) == 2 * layer + 64 * 64 + 64 * 3


def test_parameters_are_those_of_the_architecture(tiny_model):
    """Embeddings of 30,522 words, 128 places and 2 kinds; 2 layers; pooler; classifier; two numbers a norm."""
    layer = 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 2 * 2 * 64
    expected = (30522 + 128 + 2) * 64 + 2 * 64 + 2 * layer + (64 * 64 + 64) + (64 * 3 + 3)
    assert count_parameters(tiny_model.module) == expected
