"""Figures of the strategies have the intervals of `lab.measuring.intervals`: where copies of them disagreed."""

import math
import types

import numpy as np
import pandas as pd
import pytest

from helpers.cloud_distributed import replicate
from helpers.efficient_architectures import fit_exponents
from helpers.lab.measuring.intervals import mean_interval


def test_what_slows_all_lengths_of_a_round_leaves_the_exponent_certain():
    slow = np.exp(np.random.default_rng(0).normal(0, 0.5, 9))
    found = fit_exponents(pd.DataFrame([{"kind": "full", "length": length, "round": number,
                                         "seconds": 1e-9 * length**2 * slow[number]}
                                        for length in (256, 512, 1024) for number in range(9)]))
    assert (found.low[0], found.high[0]) == pytest.approx((2.0, 2.0))


def test_a_figure_that_some_runs_lack_has_the_interval_of_the_others():
    def scenario(seed):
        return types.SimpleNamespace(summary=lambda: {"p99_s": [1.0, math.nan, 2.0, 3.0][seed], "cold": math.nan})

    found = replicate(scenario, runs=4)
    assert tuple(found.loc["p99_s"]) == pytest.approx(mean_interval([1.0, 2.0, 3.0]))
    assert found.loc["cold"].isna().all()
