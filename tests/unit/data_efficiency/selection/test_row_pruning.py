"""Scores are the formulas, and both ends of them differ."""

import numpy as np
import pytest
from tiny_features import blobs

from helpers.data_efficiency import paired_gains, prune_study
from helpers.data_efficiency.selection.row_pruning import el2n, forgetting, prototypes, prune_rows
from helpers.lab.errors import InputError


def test_wrong_labels_are_the_hardest_rows():
    data = blobs()
    y = data.train_y.copy()
    y[:5] = 3
    for score in (el2n, forgetting):
        assert set(np.argsort(-score(data.train, y, 4))[:5].tolist()) == set(range(5)), score.__name__


def test_prototypes_measures_the_distance_to_the_nearest_centre():
    x = np.array([[0.0, 0], [0, 2], [10, 0], [10, 2]])
    np.testing.assert_allclose(prototypes(x, np.zeros(4, int), 2), [1, 1, 1, 1])


def test_pruning_keeps_the_share_and_both_ends_differ():
    data = blobs()
    hard, easy = prune_rows(data, "EL2N", 0.25), prune_rows(data, "EL2N", 0.25, hard=False)
    assert len(hard) == len(easy) == 60
    assert not set(hard) & set(easy)
    runs = prune_study(blobs(3, rows=12), (0.5,), ["prototypes"], seeds=2)
    assert set(runs["method"]) == {"random", "prototypes, hard", "prototypes, easy"}
    gains = paired_gains(runs, "method", "keep").set_index("method")
    assert gains.loc["random", "gain"] == 0


@pytest.mark.parametrize("make", [
    lambda: prune_rows(blobs(), "luck", 0.5), lambda: prune_rows(blobs(), "EL2N", 0.0),
])
def test_unknown_scores_and_shares_are_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
