"""The linear model is scikit-learn's, and rows are judged by models that have not seen them."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from tiny_features import blobs

from helpers.data_efficiency.linear import PENALTY, SHARPNESS, fit, fold_of, one_hot, out_of_fold, ridge_out_of_fold
from helpers.lab.errors import InputError


def test_the_linear_model_is_scikit_learns():
    data = blobs(spread=3.0)
    ours = fit(data.train, data.train_y, 4, c=2.0).probabilities(data.test)
    theirs = LogisticRegression(C=2.0, tol=1e-8, max_iter=2000).fit(data.train, data.train_y)
    np.testing.assert_allclose(ours, theirs.predict_proba(data.test), atol=2e-2)


def test_mixed_labels_weigh_as_two_half_rows():
    data = blobs(spread=3.0)
    x = data.train[:40]
    half = 0.5 * one_hot(data.train_y[:40], 4) + 0.5 * one_hot((data.train_y[:40] + 1) % 4, 4)
    both = fit(np.concatenate([x, x]), np.concatenate([data.train_y[:40], (data.train_y[:40] + 1) % 4]), 4, c=1.0)
    np.testing.assert_allclose(fit(x, half, 4, c=2.0).probabilities(data.test), both.probabilities(data.test),
                               atol=2e-2)


def test_out_of_fold_predictions_come_from_models_that_have_not_seen_the_row():
    data = blobs(spread=2.0)
    result = out_of_fold(data.train, data.train_y, 4, folds=3, seed=1)
    fold = fold_of(data.train_y, 3, 1)
    assert all(np.bincount(fold[data.train_y == label]).tolist() == [20, 20, 20] for label in range(4))
    alone = fit(data.train[fold != 1], data.train_y[fold != 1], 4).probabilities(data.train[fold == 1])
    np.testing.assert_array_equal(result[fold == 1], alone)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_ridge_regression_in_chunks_is_scikit_learns_fold_by_fold(chunk):
    data = blobs(spread=2.0)
    rows = np.flatnonzero(np.arange(len(data.train)) % 5)  # not all have labels
    x, y = data.train[rows], data.train_y[rows]
    result, fold = ridge_out_of_fold(data.train, rows, y, 4, folds=3, chunk=chunk), fold_of(y, 3, 0)
    with_one = np.hstack([x, np.ones((len(x), 1))])
    for number in range(3):
        held = fold == number
        theirs = Ridge(alpha=PENALTY, fit_intercept=False).fit(with_one[~held], one_hot(y[~held], 4))
        np.testing.assert_allclose(result[held], softmax(SHARPNESS * theirs.predict(with_one[held]), axis=1), atol=1e-4)


@pytest.mark.parametrize("make", [
    lambda: fit(np.zeros((0, 3)), [], 2), lambda: fit(np.zeros((2, 3)), [0, 5], 2),
    lambda: out_of_fold(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, folds=9),
])
def test_what_cannot_be_trained_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
