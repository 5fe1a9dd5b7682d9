"""A small language model with each kind of attention."""

import math

import pytest

from helpers.efficient_architectures import train_with_attention
from helpers.efficient_architectures.options import Shape
from helpers.lab import InputError


def test_a_language_model_learns_what_stands_within_its_window():
    """After 'ab' comes c or d by turns: whoever sees one byte is left with ln 2 in two of seven places."""
    texts, losses = ["abcabd " * 400], {}
    for window in (1, 16):
        losses[window] = train_with_attention("sliding window", texts, shape=Shape(2, 1, 16, window), layers=1,
                                              length=32, steps=250).loss
    assert losses[1] > 0.95 * 2 / 7 * math.log(2)
    assert losses[16] < 0.8 * 2 / 7 * math.log(2)


def test_short_texts_are_refused():
    with pytest.raises(InputError, match=r"\.$"):
        train_with_attention("full", ["short"])
