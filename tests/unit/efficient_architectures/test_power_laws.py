"""Power laws: made-up laws are found again."""

import numpy as np
import pandas as pd
import pytest

from helpers.efficient_architectures import best_for_budget, fit_error_law, fit_exponents
from helpers.lab import InputError


def test_exponents_of_made_up_times_are_found_again():
    rng = np.random.default_rng(0)
    rows = [{"kind": kind, "length": length, "round": number,
             "seconds": 1e-9 * length**power * np.exp(rng.normal(0, 0.02))}
            for kind, power in (("full", 2.0), ("linear", 1.0)) for length in (256, 512, 1024, 2048)
            for number in range(9)]
    result = fit_exponents(pd.DataFrame(rows)).set_index("kind")
    for kind, power in (("full", 2.0), ("linear", 1.0)):
        assert result.low[kind] <= result.exponent[kind] <= result.high[kind]
        assert result.exponent[kind] == pytest.approx(power, abs=0.02)


def test_what_slows_all_lengths_of_a_round_leaves_the_exponent_certain():
    slow = np.exp(np.random.default_rng(0).normal(0, 0.5, 9))
    result = fit_exponents(pd.DataFrame([{"kind": "full", "length": length, "round": number,
                                         "seconds": 1e-9 * length**2 * slow[number]}
                                        for length in (256, 512, 1024) for number in range(9)]))
    assert (result.low[0], result.high[0]) == pytest.approx((2.0, 2.0))


def test_a_law_is_found_again_and_a_budget_names_the_best():
    costs = np.geomspace(1e3, 1e7, 9)
    law = fit_error_law(costs, 0.03 + 4.0 * costs**-0.4)
    assert (law.floor, law.factor, law.exponent) == pytest.approx((0.03, 4.0, 0.4), rel=0.02)
    assert law.error(1e9) == pytest.approx(0.03 + 4.0 * 1e9**-0.4, rel=0.02)
    models = pd.DataFrame({"name": ["a", "b", "c"], "accuracy": [0.8, 0.9, 0.9], "macs": [1, 5, 9]})
    assert best_for_budget(models, 9)["name"] == "b"
    assert best_for_budget(models, 4)["name"] == "a"
    assert best_for_budget(models, 0.5) is None


@pytest.mark.parametrize("wrong", [
    lambda: fit_exponents(pd.DataFrame({"kind": ["full"], "length": [8], "round": [0], "seconds": [1.0]})),
    lambda: fit_error_law([1, 1, 1], [0.1, 0.1, 0.1]),
    lambda: best_for_budget(pd.DataFrame({"accuracy": [1.0]}), 3),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
