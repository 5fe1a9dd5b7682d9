"""Temperatures: fitted as a grid search finds them, and put into a model's last layer."""

import numpy as np
import pytest
from random_stages import random_stages
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from helpers.efficient_architectures.cascades.temperature import calibrate, fit_temperature
from helpers.lab import InputError, tfidf_baseline


def test_temperature_is_the_one_that_a_grid_search_finds():
    stages, labels = random_stages(400, seed=0)
    logits = 3 * stages[0]
    grid = np.geomspace(0.5, 10, 300)
    surprise = [log_loss(labels, np.exp(log_softmax(logits / t, axis=1)), labels=range(4)) for t in grid]
    assert fit_temperature(logits, labels) == pytest.approx(grid[np.argmin(surprise)], rel=0.012)


def test_logits_drawn_from_their_own_probabilities_have_temperature_one():
    rng = np.random.default_rng(1)
    logits = 2 * rng.normal(size=(20_000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(logits * 4, labels) == pytest.approx(4, abs=0.12)


def test_a_calibrated_model_gives_the_same_answers_with_other_probabilities(tiny_task, tiny_model):
    texts = tiny_task.test["text"][:]
    for model in (tfidf_baseline(tiny_task), tiny_model):
        cooler = calibrate(model, tiny_task)
        t = cooler.card.settings["temperature"]
        expected = log_softmax(model.predict(texts) / t, axis=1)
        np.testing.assert_allclose(log_softmax(cooler.predict(texts), axis=1), expected, atol=1e-4)


def test_a_temperature_of_no_rows_is_refused():
    with pytest.raises(InputError, match=r"\.$"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0))
