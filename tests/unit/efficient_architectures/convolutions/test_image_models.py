"""Networks on digits: trained, saved and read again, compared."""

import numpy as np
import pytest

from helpers.efficient_architectures import compare_designs
from helpers.efficient_architectures.convolutions.image_models import train_images
from helpers.efficient_architectures.options import CONFIGURED, DESIGNS
from helpers.lab import Cancelled, InputError, compare, load, load_task
from helpers.lab.progress import Progress


@pytest.fixture(scope="module")
def digits():
    return load_task("digits").take(train=400, test=150)


@pytest.mark.parametrize("design", ["separable", "ResNet"])
def test_a_network_learns_digits(design, digits):
    model = train_images(digits, design, width=0.5, epochs=15)
    right = model.predict(digits.test["image"][:]).argmax(1) == np.array(digits.test["label"][:])
    assert right.mean() > 0.6  # one in ten by chance


@pytest.mark.parametrize("design", [*DESIGNS, *CONFIGURED])
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


def test_designs_are_compared_in_one_table_a_row_each(digits):
    nets, fractions = [("standard", 0.5, 8), ("separable", 0.5, 8)], []
    table = compare_designs(digits, nets, epochs=1, rounds=2,
                            progress=Progress(lambda fraction, message: fractions.append(fraction)))
    assert table[["design", "width", "resolution"]].apply(tuple, axis=1).tolist() == nets
    assert table["macs"][1] < table["macs"][0]
    assert (table["ms_low"] <= table["ms"]).all()
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_cancel_stops_the_training_of_a_network(digits):
    messages = []
    progress = Progress(lambda fraction, message: messages.append(message), lambda: len(messages) == 2)
    with pytest.raises(Cancelled):
        train_images(digits, "standard", width=0.5, epochs=3, progress=progress)
    assert len(messages) == 2


@pytest.mark.parametrize("wrong", [
    lambda: train_images(load_task("digits"), "round"),
    lambda: train_images(load_task("digits"), "standard", resolution=4),
    lambda: compare_designs(load_task("digits"), []),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()


def test_designs_are_all_there():
    assert set(DESIGNS) >= {"standard", "separable", "inverted residual"}


def test_texts_are_refused(tiny_task):
    with pytest.raises(InputError, match="texts"):
        train_images(tiny_task, "standard")
