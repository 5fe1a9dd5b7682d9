"""A power law is found again, predicts what it was not fitted on, and has a band."""

import numpy as np
import pandas as pd
import pytest
from tiny_features import blobs

from helpers.data_efficiency import check_curve, fit, fit_curve, measure_curve
from helpers.data_efficiency.selection.learning_curves import LearningCurve
from helpers.lab.errors import InputError


def points(sizes, floor=0.05, scale=2.0, exponent=0.5, noise=0.0, seeds=4):
    rng = np.random.default_rng(0)
    return pd.DataFrame([{"labels": n, "seed": seed,
                          "accuracy": 1 - floor - scale * n**-exponent + noise * rng.standard_normal()}
                         for n in sizes for seed in range(seeds)])


def test_a_power_law_is_found_again_and_solved_for_labels():
    curve = fit_curve(points([50, 100, 200, 400, 800]))
    assert (curve.floor, curve.scale, curve.exponent) == pytest.approx((0.05, 2.0, 0.5), abs=1e-6)
    labels, low, high = curve.labels_to_reach(0.85)
    assert labels == pytest.approx((2.0 / 0.10) ** 2)
    assert low == pytest.approx(high, rel=1e-6), "without noise the band has no width"
    assert curve.labels_to_reach(0.96)[0] == np.inf
    more, usd = curve.next_point(400, usd_per_label=0.5)
    assert more == pytest.approx((2.0 / 0.09) ** 2 - 400)
    assert usd == pytest.approx(0.5 * more)


def test_the_right_half_is_predicted_from_the_left_one():
    seen = check_curve(points([50, 75, 110, 170, 250, 380, 560, 800], noise=0.003))
    assert seen["off"] == pytest.approx(0, abs=0.02)
    assert seen["low"] <= seen["predicted"] <= seen["high"]


def test_a_flat_curve_promises_nothing():
    curve = fit_curve(points([50, 100, 200], scale=0.0))
    assert curve.accuracy(1e9) == pytest.approx(0.95)
    assert curve.next_point(200)[1] == np.inf


def test_one_seed_gives_a_band_from_the_residuals():
    curve = fit_curve(points([50, 100, 200, 400], noise=0.01, seeds=1))
    band = curve.band([100, 1000])
    assert (band["low"] < band["high"]).all()


def test_a_measured_curve_ends_with_all_rows():
    data = blobs(3, rows=30, spread=2.5)
    result = measure_curve(data, seeds=2)
    full = fit(data.train, data.train_y, 3).accuracy(data.test, data.test_y)
    last = result[result["labels"] == 90]["accuracy"]
    assert last.tolist() == pytest.approx([full, full], abs=0.01)


@pytest.mark.parametrize("make", [
    lambda: fit_curve(points([50, 100])), lambda: measure_curve(blobs(), [10**6]),
    lambda: LearningCurve(0.0, 1.0, 0.5, np.zeros((1, 3))).labels_to_reach(1.5),
])
def test_what_cannot_be_fitted_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
