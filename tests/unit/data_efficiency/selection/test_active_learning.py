"""Runs are paired, and what they cost is read between the points."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tiny_features import blobs

from helpers.data_efficiency import compare_strategies, fit, labels_to, paired_gains
from helpers.data_efficiency.selection.active_learning import label_with
from helpers.lab.errors import InputError


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
    table = paired_gains(runs)
    assert (table.loc[table["strategy"] == "random", "gain"] == 0).all()


def test_labels_to_an_accuracy_are_read_between_the_points_and_paired():
    def run(strategy, seed, labels):
        return pd.DataFrame({"strategy": strategy, "seed": seed, "labels": labels, "accuracy": [0.5, 0.7, 0.9],
                             "validation": [0.5, 0.6, 0.85], "cpu_s": [0.0, 1.0, 2.0]})
    runs = pd.concat([run("random", 0, [10, 20, 30]), run("random", 1, [20, 30, 40]),
                      run("margin", 0, [10, 15, 20]), run("margin", 1, [10, 15, 20])])
    result = labels_to(runs, 0.8, usd_per_label=2.0).set_index("strategy")
    assert result.loc["random", "labels"] == pytest.approx(30)  # 25 and 35
    assert result.loc["margin", "labels"] == pytest.approx(17.5)
    assert result.loc["margin", "saved"] == pytest.approx(12.5)  # 7.5 and 17.5
    half = 12.7062 * np.std([7.5, 17.5], ddof=1) / np.sqrt(2)
    assert result.loc["margin", "saved_low"] == pytest.approx(12.5 - half, rel=1e-4)
    assert result.loc["margin", "saved_usd"] == pytest.approx(25.0, abs=1e-3)
    never = labels_to(runs, 0.95).set_index("strategy")
    unknown = ["labels", "usd", "saved", "saved_low", "saved_high", "saved_usd", "saved_usd_low", "saved_usd_high", "p"]
    assert never[unknown].isna().all(axis=None)  # all stopped at their budget: that both did is no tie
    assert (never["reached"] == 0).all()
    assert not never["significant"].any()
    only_one = labels_to(runs.assign(accuracy=runs["accuracy"] + 0.06 * (runs["strategy"] == "margin")), 0.95)
    one = only_one.set_index("strategy")
    assert one.loc["margin", "saved"] == pytest.approx(35 - one.loc["margin", "labels"])  # random had 30 and 40
    assert np.isnan(one.loc["random", "labels"])
    there = labels_to(runs, 0.6, on="validation").set_index("strategy")
    assert there.loc["random", "labels"] == pytest.approx(25)  # 20 and 30, where validation rows get there
    assert there.loc["margin", "labels"] == pytest.approx(15)


def test_labels_saved_are_significant_with_all_strategies_taken_into_account():
    """Alone p = 0.03 would do; of four strategies it does not."""
    rng = np.random.default_rng(0)
    needs = {"random": rng.normal(100, 5, 5)}
    needs |= {name: needs["random"] - shift - rng.normal(0, 8, 5) for name, shift in (("a", 30), ("b", 8), ("c", 0),
                                                                                      ("d", 0))}
    runs = pd.concat([pd.DataFrame({"strategy": name, "seed": seed, "labels": [1.0, need], "accuracy": [0.0, 1.0],
                                    "validation": 0.0, "cpu_s": 0.0})
                      for name, part in needs.items() for seed, need in enumerate(part)])
    table = labels_to(runs, 1.0).set_index("strategy").drop("random")
    raw = {name: stats.ttest_rel(needs[name], needs["random"]).pvalue for name in "abcd"}
    np.testing.assert_allclose(table["p"].min(), min(1, 4 * min(raw.values())))
    assert (table["p"] >= [raw[name] for name in table.index]).all()
    assert (table["significant"] == (table["p"] < 0.05)).all()


@pytest.mark.parametrize("make", [
    lambda: label_with(blobs(), "best", 20), lambda: label_with(blobs(), "margin", 9999),
    lambda: labels_to(label_with(blobs(), "random", 20, 10), 0.9),
])
def test_what_cannot_be_chosen_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()
