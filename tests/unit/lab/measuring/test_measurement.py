"""Scores beside the constant answer, against scikit-learn's; and records of before."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, recall_score

from helpers.app import recorded
from helpers.lab import InputError, Measurement, score
from helpers.lab.measuring.measurement import ratio_of_speedups

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 3], [60, 30, 10])  # class 2 has no rows


@pytest.mark.parametrize("answers", [LABELS, np.zeros(100, int), RNG.permutation(LABELS),
                                     np.where(LABELS == 1, 2, LABELS)])
def test_a_score_is_as_scikit_learn_has_it(answers):
    result = score(answers, LABELS, names=["a", "b", "c", "d"])
    assert result.accuracy == pytest.approx((answers == LABELS).mean())
    assert result.majority == pytest.approx(0.6)
    assert result.macro_f1 == pytest.approx(f1_score(LABELS, answers, average="macro", zero_division=0))
    recalls = recall_score(LABELS, answers, labels=[0, 1, 3], average=None)
    assert result.weakest_recall == pytest.approx(recalls.min())
    assert recalls["abd".index(result.weakest_class)] == recalls.min()


def test_of_equally_weak_classes_the_most_frequent_one_is_named():
    assert score(np.full(100, 2), LABELS, names=list("abcd")).weakest_class == "a"
    assert score(np.zeros(100, int), LABELS).weakest_class == "1"


@pytest.mark.parametrize(("right", "learned"), [(90, False), (95, False), (97, True)])
def test_learned_means_that_the_whole_interval_lies_above_the_constant(right, learned):
    """Wilson's lower bound of 97 of 100 is 0.915, of 95 it is 0.888 (statsmodels)."""
    labels = np.repeat([0, 1], [90, 10])
    answers = labels.copy()
    answers[np.flatnonzero(labels == 1)[:100 - right]] = 0
    result = score(answers, labels)
    assert result.accuracy == right / 100
    assert result.learned is learned


def test_a_record_of_before_has_no_constant_and_is_not_given_one(new_measurement):
    fields = json.loads(new_measurement().to_json())
    old = Measurement.from_json(json.dumps({name: value for name, value in fields.items()
                                            if name not in ("majority", "weakest_recall", "weakest_class")}))
    assert (old.majority, old.learned, old.row()["weakest_recall"]) == (None, None, None)


def test_one_changes_factor_over_a_reference_without_width_is_the_speed_ups_own():
    assert ratio_of_speedups((1.0, 1.0, 1.0), (2.0, 1.5, 2.5)) == pytest.approx((2.0, 1.5, 2.5))
    with pytest.raises(InputError, match="above 0"):
        ratio_of_speedups((1.0, 0.0, 1.0), (2.0, 1.5, 2.5))


@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_one_changes_factor_holds_the_truth_in_95_of_100_runs_at_least(shared):
    """True speed-ups 2 and 3 over one reference, whose own scatter is in both: a factor of 1.5."""
    random = np.random.default_rng(1)
    reference, before, after = (random.normal(0, scale, 4000) for scale in (shared, 0.05, 0.08))
    held = 0
    for common, one, other in zip(reference, before, after, strict=True):
        first, last = np.log(2.0) + one - common, np.log(3.0) + other - common
        halves = 1.96 * np.hypot(shared, 0.05), 1.96 * np.hypot(shared, 0.08)
        _, low, high = ratio_of_speedups(*(tuple(np.exp([middle, middle - half, middle + half]))
                                           for middle, half in zip((first, last), halves, strict=True)))
        held += low <= 1.5 <= high
    assert held / 4000 == pytest.approx(0.95, abs=0.01) if shared == 0 else held / 4000 > 0.95


def test_the_bound_of_one_of_many_is_bonferronis_for_a_normal_estimate():
    interval = {"accuracy_delta": 0.5, "accuracy_delta_low": 0.5 - 0.1 * stats.norm.ppf(0.975)}
    record = recorded("1_model_optimization")[0]
    for candidates in (1, 2, 14):
        wanted = 0.5 - 0.1 * stats.norm.isf(0.025 / candidates)
        assert dataclasses.replace(record, **interval).least_delta(candidates) == pytest.approx(wanted)
