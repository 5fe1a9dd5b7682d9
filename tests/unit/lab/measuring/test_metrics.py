"""Metrics, worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import recall_score

from helpers.lab.measuring.metrics import quality, recall_changes


def test_accuracy_and_macro_f1_by_hand():
    """Answers 0 0 1 1 2, labels 0 1 1 1 0: F1 of class 0 is 1/2, of class 1 is 4/5, of class 2 is 0."""
    logits = np.eye(3)[[0, 0, 1, 1, 2]]
    scores = quality(logits, np.array([0, 1, 1, 1, 0]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)


def test_calibration_error_by_hand():
    """Two rows at confidence 0.9, both right: 0.2 too modest; two at 0.62, one right: 0.24 too bold."""
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.62, 0.38], [0.62, 0.38]])
    scores = quality(logits, np.array([0, 0, 0, 1]))
    assert scores["calibration_error"] == pytest.approx((0.2 + 0.24) / 4, abs=1e-6)


def test_a_second_call_does_not_remember_the_first():
    labels = np.array([0, 1])
    assert quality(np.eye(2), labels)["accuracy"] == 1.0
    assert quality(np.eye(2)[::-1], labels)["accuracy"] == 0.0


def test_the_changes_of_recall_are_scikit_learns_and_holm_rejects_step_by_step():
    """The exact test from binomial coefficients; Holm's rule as it is written: stop at the first p above 5% / left."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    before, now = (np.where(rng.random(600) < share, labels, (labels + 1) % 5) for share in (0.9, 0.8))
    now[labels == 2] = 0  # a class that the candidate never answers
    result = recall_changes(before, now, labels, list("abcde")).set_index("class").sort_index()
    new, old = (recall_score(labels, answers, labels=range(4), average=None) for answers in (now, before))
    p = []
    for label in range(4):
        ok, kept = (answers[labels == label] == label for answers in (before, now))
        lost, won = (ok & ~kept).sum(), (~ok & kept).sum()
        tail = sum(math.comb(lost + won, count) for count in range(min(lost, won) + 1)) / 2 ** int(lost + won)
        p.append(min(1.0, 2 * tail))
    rejected = [False] * 4
    for step, label in enumerate(np.argsort(p)):
        if p[label] > 0.05 / (4 - step):
            break
        rejected[label] = True
    assert list(result.index) == list("abcd")  # "e" has no rows
    assert result["change"].tolist() == pytest.approx((new - old).tolist())
    assert result["significant"].tolist() == rejected
    assert 0 < sum(rejected) < 4
    assert result["changed"].sum() == (before != now).sum()
    assert result["lost"].sum() - result["won"].sum() == (before == labels).sum() - (now == labels).sum()


def test_no_class_changes_where_no_answer_does():
    result = recall_changes([0, 1, 1], [0, 1, 1], [0, 1, 0], ["no", "yes"])
    assert not result[["changed", "lost", "won", "change", "significant"]].to_numpy().any()


@pytest.mark.parametrize("answers", [[], [0, 1]])
def test_answers_without_labels_have_no_recall(answers):
    with pytest.raises(ValueError, match="as many answers as labels"):
        recall_changes(answers, answers, [0] * (3 if answers else 0), ["no", "yes"])
