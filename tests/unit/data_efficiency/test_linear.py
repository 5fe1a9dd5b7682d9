"""The linear model is scikit-learn's, and rows are judged by models that have not seen them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tiny_features import blobs

from helpers.data_efficiency.linear import fit, fold_of, one_hot, out_of_fold
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
    found = out_of_fold(data.train, data.train_y, 4, folds=3, seed=1)
    fold = fold_of(data.train_y, 3, 1)
    assert all(np.bincount(fold[data.train_y == label]).tolist() == [20, 20, 20] for label in range(4))
    alone = fit(data.train[fold != 1], data.train_y[fold != 1], 4).probabilities(data.train[fold == 1])
    np.testing.assert_array_equal(found[fold == 1], alone)


@pytest.mark.parametrize("make", [
    lambda: fit(np.zeros((0, 3)), [], 2), lambda: fit(np.zeros((2, 3)), [0, 5], 2),
    lambda: out_of_fold(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 2, folds=9),
])
def test_what_cannot_be_trained_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
