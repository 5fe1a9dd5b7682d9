"""The three rules for a cascade's threshold: by errors, by what is lost in expectation, and by what may be spent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_stages import random_stages
from scipy.special import log_softmax

from helpers.efficient_architectures import follow
from helpers.lab import InputError
from helpers.lab.models.thresholds import (
    NEVER,
    confidence,
    rows_needed,
    threshold_by_cost,
    threshold_by_errors,
    threshold_by_loss,
    threshold_by_risk,
)


def accuracy_at(threshold, first, second, labels) -> tuple[float, float]:
    """Accuracy and share escalated, row by row."""
    right = escalated = 0
    for row, label in enumerate(labels):
        shifted = np.exp(first[row] - first[row].max())
        sure = (shifted / shifted.sum()).max() >= threshold
        right += (first if sure else second)[row].argmax() == label
        escalated += not sure
    return right / len(labels), escalated / len(labels)


def wrong_at(threshold, first, labels) -> int:
    """Rows that the first stage answers, and wrongly, row by row."""
    return sum(np.exp(one).max() / np.exp(one).sum() >= threshold and one.argmax() != label
               for one, label in zip(first, labels, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.0, 2.5, 10.0]), st.sampled_from([1.0, 20.0]))
def test_the_threshold_by_errors_is_the_best_of_all_by_brute_force(seed, max_errors, rounding):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 40)
    first, second = (np.round(rng.normal(size=(40, 3)) * rounding) / rounding + skill * np.eye(3)[labels]
                     for skill in (1.0, 2.5))  # rounding makes rows of equal confidence
    accuracy, escalated = accuracy_at(threshold_by_errors(first, labels, max_errors), first, second, labels)
    assert accuracy >= accuracy_at(2.0, first, second, labels)[0] - max_errors / 100 - 1e-9
    tried = [2.0, *np.unique(np.exp(first).max(1) / np.exp(first).sum(1)) - 1e-9]
    within = [accuracy_at(threshold, first, second, labels)[1] for threshold in tried
              if wrong_at(threshold, first, labels) <= max_errors / 100 * len(labels) + 1e-9]
    assert escalated == pytest.approx(min(within))


def test_a_first_stage_is_not_trusted_because_the_second_is_no_better():
    """Neither knows the second row: answering it costs nothing here, and yet it counts."""
    labels = np.array([0, 0, 0, 0])
    first = np.log([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])  # sure and right, wrong, right, right
    second = np.log([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])
    assert accuracy_at(threshold_by_errors(first, labels), first, second, labels)[1] == 0.75
    assert accuracy_at(threshold_by_errors(first, labels, 25.0), first, second, labels)[1] == 0.0


@pytest.mark.parametrize("choose", [
    lambda stages, labels: threshold_by_errors(stages[0], labels, 25.0),
    lambda stages, labels: threshold_by_loss(stages, labels, 25.0),
    lambda stages, labels: threshold_by_cost(stages, [1.0, 10.0], 0.75)])
def test_no_rule_parts_confidences_that_rounding_could_swap(choose):
    """Two rows whose confidences differ by less than a float32 can hold: both are answered, or both go on."""
    sure = np.array([0.95, 0.9, 0.8 + 4e-7, 0.8, 0.6, 0.55])
    first = np.log(np.stack([sure, 1 - sure], axis=1))
    labels = np.array([0, 0, 0, 1, 1, 1])  # right, right, right, then wrong
    threshold = choose([first, np.log(np.eye(2)[labels] * 0.98 + 0.01)], labels)
    assert (sure[2] >= threshold) == (sure[3] >= threshold)


def test_the_loss_on_fresh_rows_stays_within_the_target_on_average():
    """Theorem 1 of arXiv 2208.02814, with a margin of three standard errors."""
    lost = []
    for seed in range(200):
        stages, labels = random_stages(700, seed)
        threshold = threshold_by_loss([stage[:200] for stage in stages], labels[:200], max_lost=3.0)
        lost.append(follow([stage[200:] for stage in stages], labels[200:], [1, 9], threshold).lost)
    assert np.mean(lost) <= 0.03 + 3 * np.std(lost) / np.sqrt(len(lost))
    assert np.mean(lost) > 0.015, "and it is no excuse for escalating everything"


@pytest.mark.parametrize("skills", [(1.0, 2.5), (0.7, 1.5, 3.0)])
def test_the_threshold_by_loss_is_the_lowest_that_the_rule_allows(skills):
    """Row by row, by brute force over all thresholds at which an answer can change."""
    stages, labels = random_stages(120, seed=5, skills=skills)
    chosen = threshold_by_loss(stages, labels, max_lost=5.0)
    sure = [np.exp(log_softmax(stage, axis=1)).max(axis=1) for stage in stages[:-1]]

    def losses(threshold):
        results = []
        for row, label in enumerate(labels):
            result = next((stage[row].argmax() for stage, own in zip(stages, sure, strict=False)
                         if own[row] >= threshold), stages[-1][row].argmax())
            results.append(result != label and stages[-1][row].argmax() == label)
        return np.array(results)

    places = np.sort(np.concatenate([*sure, [2.0]]))
    worst, allowed = np.zeros(len(labels), bool), []
    for threshold in places[::-1]:  # charged the worst at this threshold and above
        worst |= losses(threshold)
        if (worst.sum() + 1) / (len(labels) + 1) > 0.05:
            break
        allowed.append(threshold)
    assert (losses(chosen) == losses(allowed[-1])).all()
    assert follow(stages, labels, range(1, len(stages) + 1), chosen).lost == losses(allowed[-1]).mean()


def test_accuracy_is_kept_on_average_where_gains_make_up_for_losses():
    """With many held-out rows; and then fewer rows have to go on than where losses alone count."""
    differences, escalated = [], []
    for seed in range(40):
        stages, labels = random_stages(4000, seed, skills=(1.0, 1.6))
        for counting in ("net", "lost"):
            threshold = threshold_by_loss([stage[:2000] for stage in stages], labels[:2000], 3.0, counting)
            result = follow([stage[2000:] for stage in stages], labels[2000:], [1, 9], threshold)
            if counting == "net":
                differences.append(result.last_accuracy - result.accuracy)
            escalated.append(result.answered[1])
    assert np.mean(differences) <= 0.03 + 3 * np.std(differences) / np.sqrt(len(differences))
    assert np.mean(escalated[::2]) < np.mean(escalated[1::2])


def test_without_enough_rows_the_last_stage_answers_everything():
    stages, labels = random_stages(50, seed=2)
    result = follow(stages, labels, [1, 10], threshold_by_loss(stages, labels, max_lost=1.0))
    assert result.answered == (0.0, 1.0)
    assert rows_needed(1.0) == 99


@pytest.mark.parametrize("skills", [(1.0, 2.5), (0.7, 1.5, 3.0)])
def test_the_surest_threshold_spends_what_the_budget_allows(skills):
    """By brute force: one row more sent on to a later stage would be too much for the interval's upper end."""
    stages, labels = random_stages(120, seed=5, skills=skills)
    seconds = [1.0, 3.0, 9.0][-len(skills):]

    def most(threshold: float) -> float:
        costs = [follow([stage[[row]] for stage in stages], labels[[row]], seconds, threshold).cost_share
                 for row in range(len(labels))]
        return np.mean(costs) + 1.645 * np.std(costs) / np.sqrt(len(costs))

    threshold = threshold_by_cost(stages, seconds, 0.6)
    assert most(threshold) <= 0.6
    sure = np.concatenate([np.exp(log_softmax(stage, axis=1)).max(axis=1) for stage in stages[:-1]])
    assert most(np.nextafter(sure[sure > threshold].min(), 2.0)) > 0.6
    assert threshold_by_cost(stages, seconds, 10.0) > 1, "with enough to spend, the last stage answers all"


def test_fresh_rows_cost_no_more_than_the_budget_nineteen_times_in_twenty():
    within = []
    for seed in range(300):
        stages, labels = random_stages(5200, seed)
        threshold = threshold_by_cost([stage[:200] for stage in stages], [1.0, 9.0], 0.5)
        within.append(follow([stage[200:] for stage in stages], labels[200:], [1.0, 9.0], threshold).cost_share <= 0.5)
    assert np.mean(within) > 0.92  # 0.95 less two and a half standard errors


@pytest.mark.parametrize("wrong", [
    lambda: threshold_by_cost([np.zeros((3, 2))] * 2, [1.0, 2.0], 0.4),
    lambda: threshold_by_loss([np.zeros((3, 2))], np.zeros(3), 1.0),
    lambda: threshold_by_loss([np.zeros((3, 2)), np.zeros((2, 2))], np.zeros(3), 1.0),
    lambda: threshold_by_loss([np.zeros((3, 2))] * 2, np.zeros(3), 0.0),
    lambda: threshold_by_loss([np.zeros((3, 2))] * 2, np.zeros(3), 1.0, counting="all"),
    lambda: threshold_by_errors(np.zeros((3, 2)), np.zeros(3), -1.0),
    lambda: threshold_by_errors(np.zeros((0, 2)), np.zeros(0)),
    lambda: rows_needed(0.0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([2.0, 5.0, 20.0]), st.sampled_from([8, 1000]))
def test_the_threshold_by_risk_is_the_lowest_of_all_by_brute_force(seed, max_lost, places):
    rng = np.random.default_rng(seed)
    sure, losses = rng.integers(0, places, 80) / places, rng.choice([0.0, 0.3, 1.0], 80, p=[0.8, 0.1, 0.1])
    result = threshold_by_risk(sure, losses, max_lost)

    def charged(threshold):
        return (sum(loss for one, loss in zip(sure, losses, strict=True) if one >= threshold) + 1) / 81
    within = [one for one in [0.0, *(np.unique(sure) + 1e-9), NEVER] if charged(one) <= max_lost / 100 + 1e-12]
    assert (sure >= result).sum() == ((sure >= min(within)).sum() if within else 0)


def test_the_threshold_by_risk_is_the_one_by_loss_where_both_apply():
    stages, labels = random_stages(400, seed=2)
    first, last = (stage.argmax(axis=1) == labels for stage in stages)
    assert threshold_by_risk(confidence(stages[0]), last & ~first, 3.0) == pytest.approx(
        threshold_by_loss(stages, labels, 3.0), abs=1e-2)


@pytest.mark.parametrize("wrong", [([], [], 1.0), ([0.5], [0.5, 0.5], 1.0), ([1.5], [0.0], 1.0), ([0.5], [2.0], 1.0),
                                   ([float("nan")], [0.0], 1.0), ([0.5], [0.0], 0.0)])
def test_a_risk_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        threshold_by_risk(*wrong)
