"""Convolutions: multiplications counted against the closed form, and times."""

import pytest

from helpers.efficient_architectures import (
    conv_block,
    convolution_times,
    counted_macs,
    explain_separable,
    separable_ratio,
)
from helpers.lab import InputError


@pytest.mark.parametrize(("c_in", "c_out", "kernel", "size"), [(3, 8, 3, 8), (16, 64, 5, 12), (64, 64, 3, 7)])
def test_separable_over_standard_is_the_closed_form(c_in, c_out, kernel, size):
    standard, separable = (counted_macs(conv_block(design, c_in, c_out, kernel), (c_in, size, size))
                           for design in ("standard", "separable"))
    assert standard == size**2 * kernel**2 * c_in * c_out
    assert separable / standard == pytest.approx(1 / c_out + 1 / kernel**2, rel=1e-12)
    assert separable_ratio(c_out, kernel) == pytest.approx(1 / c_out + 1 / kernel**2, rel=1e-12)


def test_an_inverted_residual_has_the_multiplications_of_its_three_convolutions():
    wide, pixels = 8 * 4, 6 * 6
    expected = pixels * (8 * wide + 9 * wide + wide * 8)
    assert counted_macs(conv_block("inverted residual", 8, 8), (8, 6, 6)) == expected
    squeezed = counted_macs(conv_block("inverted residual, squeeze-excite", 8, 8), (8, 6, 6))
    assert squeezed == expected + 2 * wide * (wide // 4)


def test_times_and_their_explanation_are_of_one_run():
    times = convolution_times(8, 8, size=8, batch=2, rounds=3)
    assert list(times["part"]) == ["standard", "separable", "depthwise half", "pointwise half"]
    rows = times.set_index("part")
    assert rows.macs["depthwise half"] + rows.macs["pointwise half"] == rows.macs["separable"]
    assert (times["low"] <= times["seconds"]).all()
    assert f"{rows.macs['standard'] / rows.macs['separable']:.1f} times fewer" in explain_separable(times)
    assert "moved against 1,234.5." in explain_separable(times.assign(macs_per_byte=1234.5)), "without an exponent"


@pytest.mark.parametrize("wrong", [
    lambda: conv_block("round", 3, 3),
    lambda: conv_block("standard", 3, 3, kernel=2),
    lambda: separable_ratio(0, 3),
    lambda: convolution_times(rounds=0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
