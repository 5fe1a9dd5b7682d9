"""Scores are the formulas, and both ends of them differ."""

import numpy as np
import pytest
from tiny_features import blobs

from helpers.data_efficiency import paired_gains, prune_study
from helpers.data_efficiency.selection.row_pruning import el2n, forgetting, prototypes
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


def test_random_and_both_ends_of_a_score_are_compared_and_differ():
    runs = prune_study(blobs(3, rows=12), (0.25, 1.0), ["EL2N"], seeds=2)
    assert set(runs["method"]) == {"random", "EL2N, hard", "EL2N, easy"}
    accuracy = runs.groupby(["method", "keep"])["accuracy"].mean()
    assert accuracy["EL2N, hard", 0.25] != accuracy["EL2N, easy", 0.25]
    assert accuracy["EL2N, hard", 1.0] == accuracy["EL2N, easy", 1.0] == accuracy["random", 1.0], "all rows are kept"
    gains = paired_gains(runs, "method", "keep").set_index(["method", "keep"])
    assert (gains.loc["random", "gain"] == 0).all()


@pytest.mark.parametrize(("keep", "method", "said"), [
    (0.5, "luck", "Unknown score 'luck'"), (0.0, "EL2N", "above 0"), (1.5, "EL2N", "up to 1")])
def test_unknown_scores_and_shares_are_refused_in_a_sentence(keep, method, said):
    with pytest.raises(InputError, match=said):
        prune_study(blobs(), (keep,), [method])
