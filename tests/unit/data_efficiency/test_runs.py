"""Runs of one seed are compared with each other, and CPU seconds are counted."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.data_efficiency.runs import Watch, paired_gains
from helpers.lab.errors import InputError


def test_gains_are_paired_with_the_reference():
    runs = pd.DataFrame({"method": ["none", "edits"] * 2, "labels": 10, "seed": [0, 0, 1, 1],
                         "accuracy": [0.5, 0.6, 0.7, 0.9], "validation": [0.5, 0.4, 0.7, 0.8]})
    row = paired_gains(runs, "method", reference="none").set_index("method").loc["edits"]
    assert row["gain"] == pytest.approx(0.15)
    half = 12.7062 * np.std([0.1, 0.2], ddof=1) / math.sqrt(2)  # Student's t with one degree of freedom
    assert row["gain_high"] - row["gain"] == pytest.approx(half, rel=1e-4)
    assert row["validation"] == pytest.approx(0.6)


def test_the_best_of_many_that_do_nothing_is_seldom_called_significant():
    """Of nine arms that are all alike the best would be, in a third of the tables, by its own interval."""
    rng, alone, together = np.random.default_rng(0), 0, 0
    for _ in range(200):
        runs = pd.DataFrame([{"strategy": name, "labels": 10, "seed": seed, "accuracy": rng.normal(),
                              "validation": 0.0} for name in ("random", *"abcdefghi") for seed in range(5)])
        table = paired_gains(runs).set_index("strategy").drop("random")
        alone += ((table["gain_low"] > 0) | (table["gain_high"] < 0)).any()
        together += table["significant"].any()
    assert alone > 0.2 * 200
    assert together <= 0.08 * 200


def test_p_values_are_scipys_t_tests_by_holms_rule():
    rng = np.random.default_rng(1)
    runs = pd.DataFrame([{"strategy": name, "labels": 10, "seed": seed, "accuracy": shift + rng.normal(scale=0.01),
                          "validation": 0.0} for name, shift in (("random", 0.5), ("a", 0.6), ("b", 0.51), ("c", 0.5))
                         for seed in range(5)])
    wide = runs.pivot(index="seed", columns="strategy", values="accuracy")
    raw = sorted((stats.ttest_rel(wide[name], wide["random"]).pvalue, name) for name in "abc")
    expected, most = {}, 0.0
    for place, (p, name) in enumerate(raw):
        most = max(most, min(1, (3 - place) * p))
        expected[name] = most
    result = paired_gains(runs).set_index("strategy")
    assert result["p"].drop("random").to_dict() == pytest.approx(expected)
    assert np.isnan(result.loc["random", "p"])
    assert result["significant"].to_dict() == {name: expected.get(name, 1) < 0.05 for name in ("random", *"abc")}


def test_one_seed_has_no_interval():
    runs = pd.DataFrame({"strategy": ["random", "margin"], "labels": 10, "seed": 0, "accuracy": [0.5, 0.6],
                         "validation": 0.5})
    with pytest.raises(InputError, match="seeds=2 or more"):
        paired_gains(runs)


def test_a_watch_adds_up_cpu_seconds():
    watch = Watch()
    with watch.running():
        sum(range(200_000))
    assert 0 < watch.seconds < 5
