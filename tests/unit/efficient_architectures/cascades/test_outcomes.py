"""Quality and cost of a cascade over its thresholds, and what drift does to them."""

import numpy as np
import pytest
from random_stages import random_stages

from helpers.efficient_architectures import curve, follow, hard_rows, resampled, under_drift
from helpers.lab import InputError


def test_cost_adds_up_every_stage_that_a_row_passes():
    sure, unsure = [9.0, 0, 0], [0.1, 0, 0]
    stages = [np.array([sure, unsure, unsure, unsure]), np.array([sure, sure, unsure, unsure]),
              np.array([sure, sure, sure, unsure])]
    result = follow(stages, np.zeros(4, int), [1.0, 2.0, 10.0], threshold=0.9)
    assert result.answered == (0.25, 0.25, 0.5)
    assert result.cost == pytest.approx((1 + 3 + 13 + 13) / 4)
    assert result.cost_share == pytest.approx(result.cost / 10)
    weighted = follow(stages, np.zeros(4, int), [1.0, 2.0, 10.0], 0.9, weights=np.array([3, 1, 0, 0]))
    assert weighted.cost == pytest.approx((3 * 1 + 3) / 4)


def test_the_curve_ends_at_the_first_stage_and_at_the_last():
    stages, labels = random_stages(300, seed=3)
    result = curve(stages, labels, [1, 10], thresholds=[0.0, 0.8, 1.5])
    assert result["accuracy"].iloc[0] == (stages[0].argmax(1) == labels).mean()
    assert result["accuracy"].iloc[-1] == (stages[1].argmax(1) == labels).mean()
    assert result["cost_share"].is_monotonic_increasing
    assert result["cost_share"].iloc[-1] == pytest.approx(1.1)


def test_harder_traffic_costs_more_and_the_plain_mix_is_the_weighted_mean():
    stages, labels = random_stages(400, seed=4)
    hard = hard_rows(stages, 0.25)
    assert hard.mean() == pytest.approx(0.25, abs=0.01)
    result = under_drift(stages, labels, [1, 10], 0.8, hard, shares=[0.0, float(hard.mean()), 1.0])
    assert result["cost_share"].is_monotonic_increasing
    plain = follow(stages, labels, [1, 10], 0.8)
    assert result["accuracy"].iloc[1] == pytest.approx(plain.accuracy)
    assert result["escalated"].iloc[1] == pytest.approx(plain.answered[1])


def test_resampling_counts_how_often_the_quality_is_kept():
    stages, labels = random_stages(300, seed=6)
    assert resampled(stages, labels, [1, 10], threshold=2.0) == 1.0  # the last stage alone
    assert resampled(stages[::-1], labels, [1, 10], threshold=2.0, keep=1.5) == 0.0


@pytest.mark.parametrize("wrong", [
    lambda: follow([np.zeros((3, 2))] * 2, np.zeros(3), [1.0], 0.5),
    lambda: under_drift([np.zeros((3, 2))] * 2, np.zeros(3), [1, 2], 0.5, np.ones(3)),
    lambda: hard_rows([np.zeros((3, 2))], 0.0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
