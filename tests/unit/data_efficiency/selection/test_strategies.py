"""Strategies pick what their papers say and other libraries do."""

import numpy as np
import pytest
from small_text.query_strategies.coresets import greedy_coreset
from small_text.query_strategies.strategies import BreakingTies, LeastConfidence, PredictionEntropy
from tiny_features import blobs

from helpers.data_efficiency import STRATEGIES, Pool, choose_next, fit
from helpers.data_efficiency.selection.strategies import badge, discriminative, k_center, typiclust


def pool(labelled: int = 20, seed: int = 0) -> Pool:
    data = blobs(spread=2.0, seed=seed)
    rng = np.random.default_rng(seed)
    known = np.sort(rng.choice(len(data.train), labelled, replace=False))
    rest = np.setdiff1d(np.arange(len(data.train)), known)
    return Pool(data.train, known, rest, fit(data.train[known], data.train_y[known], 4), rng)


class Fixed:
    """A classifier for small-text: the probabilities of our model."""

    def __init__(self, given: Pool):
        self._given = given

    def predict_proba(self, rows):
        return self._given.model.probabilities(rows)


@pytest.mark.parametrize(("name", "peer"), [
    ("margin", BreakingTies()), ("least confidence", LeastConfidence()), ("entropy", PredictionEntropy())])
def test_uncertainty_picks_the_rows_that_small_text_picks(name, peer):
    given = pool()
    theirs = peer.query(Fixed(given), given.x, given.unlabelled, given.labelled, np.zeros(len(given.labelled), int),
                        n=15)
    assert set(STRATEGIES[name](given, 15)) == set(np.asarray(theirs).tolist())


def test_k_center_picks_the_rows_that_small_text_picks():
    """small-text 1.4 takes positions among the unlabelled rows for row numbers; here, with the labelled rows last,
    they are the same."""
    data = blobs(spread=2.0)
    known, rest = np.arange(220, 240), np.arange(220)
    given = Pool(data.train, known, rest, fit(data.train[known], data.train_y[known], 4), np.random.default_rng(0))
    theirs = greedy_coreset(data.train, rest, known, 12, distance_metric="euclidean", normalized=True)
    assert k_center(given, 12).tolist() == np.asarray(theirs).tolist()


def test_badge_draws_as_k_means_plus_plus_on_gradients_written_out():
    given, same = pool(seed=4), pool(seed=4)
    errors = given.probabilities()
    errors[np.arange(len(errors)), errors.argmax(1)] -= 1
    gradients = np.einsum("nc,nd->ncd", errors, given.x[given.unlabelled].astype(float)).reshape(len(errors), -1)
    chosen = [int((gradients**2).sum(1).argmax())]
    distance = np.full(len(gradients), np.inf)
    while len(chosen) < 10:
        distance = np.minimum(distance, ((gradients - gradients[chosen[-1]]) ** 2).sum(1))
        distance[chosen] = 0
        chosen.append(int(same.rng.choice(len(gradients), p=distance / distance.sum())))
    assert badge(given, 10).tolist() == given.unlabelled[chosen].tolist()


def test_typiclust_takes_one_row_of_each_cloud_before_a_second():
    data = blobs(5, spread=0.2)
    picked = choose_next(data.train, [], [], 5, "TypiClust", 5)
    assert sorted(data.train_y[picked].tolist()) == [0, 1, 2, 3, 4]


def test_typiclust_and_the_discriminative_strategy_go_where_there_is_no_label():
    data = blobs(3, spread=0.2)
    known = np.flatnonzero(data.train_y == 0)[:20]
    rest = np.setdiff1d(np.arange(len(data.train)), known)
    given = Pool(data.train, known, rest, fit(data.train[known], data.train_y[known], 3), np.random.default_rng(0))
    assert (data.train_y[discriminative(given, 10)] != 0).all()
    assert {1, 2} <= set(data.train_y[typiclust(given, 4)].tolist())


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_asks_for_as_many_new_rows_as_it_may(name):
    data = blobs(3, rows=12)
    known = np.arange(0, 36, 4)
    picked = choose_next(data.train, known, data.train_y[known], 3, name, 20)
    assert len(set(picked.tolist())) == 20
    assert not set(picked.tolist()) & set(known.tolist())
    left = choose_next(data.train, known, data.train_y[known], 3, name, 1000)
    assert len(left) == 36 - len(known)
