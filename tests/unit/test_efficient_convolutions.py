"""Convolutions: multiplications counted against the closed form, trained on digits, saved and read again."""

import numpy as np
import pytest

from helpers.efficient_architectures import (
    DESIGNS,
    conv_block,
    convolution_times,
    counted_macs,
    explain_separable,
    separable_ratio,
    train_images,
)
from helpers.lab import InputError, compare, load, load_task


@pytest.fixture(scope="module")
def digits():
    return load_task("digits").take(train=400, test=150)


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


@pytest.mark.parametrize("design", ["separable", "ResNet"])
def test_a_network_learns_digits(design, digits):
    model = train_images(digits, design, width=0.5, epochs=15)
    right = model.predict(digits.test["image"][:]).argmax(1) == np.array(digits.test["label"][:])
    assert right.mean() > 0.6  # one in ten by chance


@pytest.mark.parametrize("design", ["inverted residual, squeeze-excite", "MobileNetV2", "ResNet"])
def test_a_network_predicts_the_same_after_a_reload(design, digits, tmp_path):
    model, images = train_images(digits, design, width=0.5, epochs=1), digits.test["image"][:]
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(images), model.predict(images))


def test_networks_stand_side_by_side_in_a_comparison(digits):
    models = [train_images(digits, design, width=0.5, epochs=1) for design in ("standard", "separable")]
    frame = compare(models, digits, rows=16, rounds=2, energy=False).frame()
    assert list(frame["model"]) == [model.card.name for model in models]
    assert (frame["artefact_mb"] > 0).all()


def test_a_damaged_network_is_refused_in_a_sentence(digits, tmp_path):
    train_images(digits, "standard", width=0.5, epochs=0).save(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"damaged or incomplete .*\.$"):
        load(tmp_path)


def test_width_and_resolution_multiply_the_work(digits):
    plain, wide, large = (train_images(digits, "standard", width=width, resolution=pixels, epochs=0).card.macs
                          for width, pixels in ((1.0, 8), (2.0, 8), (1.0, 16)))
    assert 3.5 < wide / plain < 4.1  # products of channels grow with the square, the first layer and the last do not
    assert 3.9 < large / plain < 4.01  # four times the pixels


@pytest.mark.parametrize("wrong", [
    lambda: conv_block("round", 3, 3),
    lambda: conv_block("standard", 3, 3, kernel=2),
    lambda: separable_ratio(0, 3),
    lambda: convolution_times(rounds=0),
    lambda: train_images(load_task("digits"), "round"),
    lambda: train_images(load_task("digits"), "standard", resolution=4),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()


def test_designs_are_all_there():
    assert set(DESIGNS) >= {"standard", "separable", "inverted residual"}


def test_texts_are_refused(tiny_task):
    with pytest.raises(InputError, match="texts"):
        train_images(tiny_task, "standard")
