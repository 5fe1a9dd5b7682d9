"""Strategies pick what their papers say and other libraries do; runs are paired; scores and curves are the formulas."""

import numpy as np
import pandas as pd
import pytest
from small_text.query_strategies.coresets import greedy_coreset
from small_text.query_strategies.strategies import BreakingTies, LeastConfidence, PredictionEntropy
from test_data_cleaning import blobs

from helpers.data_efficiency import (
    STRATEGIES,
    LearningCurve,
    against_random,
    check_curve,
    choose_next,
    compare_strategies,
    fit_curve,
    label_with,
    labels_to,
    measure_curve,
    prune_gains,
    prune_rows,
    prune_study,
)
from helpers.data_efficiency.linear import fit
from helpers.data_efficiency.selection.row_pruning import el2n, forgetting, prototypes
from helpers.data_efficiency.selection.strategies import Pool, badge, discriminative, k_center, typiclust
from helpers.lab.errors import InputError


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


def test_with_all_labels_every_strategy_is_the_same_model():
    data = blobs(3, rows=10, spread=2.5)
    full = fit(data.train, data.train_y, 3).accuracy(data.test, data.test_y)
    for name in ("random", "margin", "k-center"):
        run = label_with(data, name, budget=30, batch=8)
        assert run["labels"].tolist() == [8, 16, 24, 30]
        assert run["accuracy"].iloc[-1] == pytest.approx(full, abs=0.01)
        assert run["cpu_s"].is_monotonic_increasing


def test_a_seed_means_the_same_first_rows_for_all_and_random_is_always_there():
    runs = compare_strategies(blobs(3, rows=20, spread=2.5), 24, 6, ["margin"], seeds=2)
    assert set(runs["strategy"]) == {"random", "margin"}
    first = runs[runs["labels"] == 6].pivot_table(index="seed", columns="strategy", values="accuracy")
    assert (first["random"] == first["margin"]).all()
    table = against_random(runs)
    assert (table.loc[table["strategy"] == "random", "gain"] == 0).all()


def test_labels_to_an_accuracy_are_read_between_the_points_and_paired():
    def run(strategy, seed, labels):
        return pd.DataFrame({"strategy": strategy, "seed": seed, "labels": labels, "accuracy": [0.5, 0.7, 0.9],
                             "cpu_s": [0.0, 1.0, 2.0]})
    runs = pd.concat([run("random", 0, [10, 20, 30]), run("random", 1, [20, 30, 40]),
                      run("margin", 0, [10, 15, 20]), run("margin", 1, [10, 15, 20])])
    found = labels_to(runs, 0.8, usd_a_label=2.0).set_index("strategy")
    assert found.loc["random", "labels"] == pytest.approx(30)  # 25 and 35
    assert found.loc["margin", "labels"] == pytest.approx(17.5)
    assert found.loc["margin", "saved"] == pytest.approx(12.5)  # 7.5 and 17.5
    half = 12.7062 * np.std([7.5, 17.5], ddof=1) / np.sqrt(2)
    assert found.loc["margin", "saved_low"] == pytest.approx(12.5 - half, rel=1e-4)
    assert found.loc["margin", "saved_usd"] == pytest.approx(25.0, abs=1e-3)
    never = labels_to(runs, 0.95).set_index("strategy")
    assert never.loc["margin", "labels"] == 20
    assert never.loc["margin", "reached"] == 0


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
    gains = prune_gains(runs).set_index("method")
    assert gains.loc["random", "gain"] == 0


def points(sizes, floor=0.05, scale=2.0, exponent=0.5, noise=0.0, seeds=4):
    rng = np.random.default_rng(0)
    return pd.DataFrame([{"labels": n, "seed": seed,
                          "accuracy": 1 - floor - scale * n**-exponent + noise * rng.standard_normal()}
                         for n in sizes for seed in range(seeds)])


def test_a_power_law_is_found_again_and_solved_for_labels():
    curve = fit_curve(points([50, 100, 200, 400, 800]))
    assert (curve.floor, curve.scale, curve.exponent) == pytest.approx((0.05, 2.0, 0.5), abs=1e-6)
    labels, low, high = curve.labels_to_reach(0.85)
    assert labels == pytest.approx((2.0 / 0.10) ** 2)
    assert low == pytest.approx(high, rel=1e-6), "without noise the band has no width"
    assert curve.labels_to_reach(0.96)[0] == np.inf
    more, usd = curve.next_point(400, usd_a_label=0.5)
    assert more == pytest.approx((2.0 / 0.09) ** 2 - 400)
    assert usd == pytest.approx(0.5 * more)


def test_the_right_half_is_predicted_from_the_left_one():
    seen = check_curve(points([50, 75, 110, 170, 250, 380, 560, 800], noise=0.003))
    assert seen["off"] == pytest.approx(0, abs=0.02)
    assert seen["low"] <= seen["predicted"] <= seen["high"]


def test_a_flat_curve_promises_nothing():
    curve = fit_curve(points([50, 100, 200], scale=0.0))
    assert curve.accuracy(1e9) == pytest.approx(0.95)
    assert curve.next_point(200)[1] == np.inf


def test_one_seed_gives_a_band_from_the_residuals():
    curve = fit_curve(points([50, 100, 200, 400], noise=0.01, seeds=1))
    band = curve.band([100, 1000])
    assert (band["low"] < band["high"]).all()


def test_a_measured_curve_ends_with_all_rows():
    data = blobs(3, rows=30, spread=2.5)
    found = measure_curve(data, seeds=2)
    full = fit(data.train, data.train_y, 3).accuracy(data.test, data.test_y)
    last = found[found["labels"] == 90]["accuracy"]
    assert last.tolist() == pytest.approx([full, full], abs=0.01)


@pytest.mark.parametrize("make", [
    lambda: label_with(blobs(), "best", 20), lambda: label_with(blobs(), "margin", 9999),
    lambda: label_with(blobs(), "margin", 20, 10, cold_start="warm"), lambda: prune_rows(blobs(), "luck", 0.5),
    lambda: prune_rows(blobs(), "EL2N", 0.0), lambda: fit_curve(points([50, 100])),
    lambda: measure_curve(blobs(), [10**6]),
    lambda: LearningCurve(0.0, 1.0, 0.5, np.zeros((1, 3))).labels_to_reach(1.5),
])
def test_what_cannot_be_chosen_or_fitted_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
