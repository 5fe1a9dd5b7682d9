"""Tuning is repaid after what it cost over what each request saves, by seconds or by tokens; or never."""

import math

import pandas as pd
import pytest

from helpers.data_efficiency import TOKEN_PRICES, tuning_repaid
from helpers.lab.errors import InputError
from helpers.lab.money.costs import api_prices

WAYS = pd.DataFrame({"way": ["instruction alone", "8 nearest examples", "tuned"], "seconds": [0.2008, 0.6, 0.2],
                     "spent_s": [0.0, 0.0, 1800.0], "tokens_in": [150.0, 750.0, 150.0], "tokens_out": 5.0})


def test_by_seconds_it_is_those_of_tuning_over_those_saved():
    result = tuning_repaid(WAYS, cores=2).set_index("way")
    assert result.loc["8 nearest examples", "requests"] == pytest.approx(1800 / 0.4)  # whatever a second costs
    assert result.loc["instruction alone", "requests"] == math.inf  # the same tokens: 0.8 ms are chance
    # AWS m6i.large: $0.096 an hour for two cores.
    assert result.loc["8 nearest examples", "usd_per_million"] == pytest.approx(0.6e6 * 0.096 / 3600)


def test_by_tokens_and_with_people_s_work_it_takes_longer():
    result = tuning_repaid(WAYS, cores=2, price="OpenAI gpt-4o-mini", usd_of_work=160.0).set_index("way")
    by_hand = (1800 * 0.096 / 3600 + 160) / (600 * 0.15 / 1e6)
    assert result.loc["8 nearest examples", "requests"] == pytest.approx(by_hand)


def test_the_prices_to_choose_from_are_known():
    assert set(TOKEN_PRICES) <= set(api_prices())


@pytest.mark.parametrize("make", [lambda: tuning_repaid(WAYS, 0), lambda: tuning_repaid(WAYS, 2, usd_of_work=-1.0),
                                  lambda: tuning_repaid(WAYS.iloc[:2], 2), lambda: tuning_repaid(WAYS, 2, "none")])
def test_what_cannot_be_counted_is_refused(make):
    with pytest.raises(InputError, match=r"\."):
        make()
