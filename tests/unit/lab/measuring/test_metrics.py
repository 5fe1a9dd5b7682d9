"""Metrics, worked out by hand."""

import numpy as np
import pytest

from helpers.lab.measuring.metrics import quality


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
