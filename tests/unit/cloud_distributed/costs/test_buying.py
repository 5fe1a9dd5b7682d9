"""Bills for tokens and machines by hand, the smallest fleet by trying them all, and where two straight lines cross."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.cloud_distributed import (
    LlmFleet,
    ServingEngine,
    bill,
    bursts,
    buy_or_rent,
    fewest_replicas,
    poisson,
    serve_llm,
    serving_bill,
)
from helpers.cloud_distributed.costs.buying import BuyOrRent
from helpers.lab import ApiPrice, InputError, offer

ENGINE = ServingEngine((0.0, 2e-5, 2e-5, 1e-9), (5e-3, 0.0, 1e-4, 3e-8), 0.001, 40_000)
QUICK = ServingEngine((0.0,) * 4, (1e-6, 0.0, 0.0, 0.0), 0.0, 10_000_000)
MACHINE = offer("AWS p5.4xlarge")
PRICE = ApiPrice("by", "hand", 2.0, 8.0, "today", "", 0.5, cache_min_tokens=600)


def steady(rate, seed):
    arrivals = poisson(rate, 600.0, seed)
    return arrivals, np.full(len(arrivals), 1000), np.full(len(arrivals), 100), None


def bursty(rate, seed):
    arrivals = bursts(0.5 * rate, 3.5 * rate, 600.0, seed, quiet_s=100.0, busy_s=20.0)
    return arrivals, np.full(len(arrivals), 1000), np.full(len(arrivals), 100), None


def test_a_bill_for_tokens_by_hand():
    """3 million read, 1 of them cached, 2 written: 4 + 0.5 + 16 dollars; a quarter of it in batches at half price."""
    assert PRICE.usd(3e6, 2e6, 1e6) == pytest.approx(20.5)
    assert PRICE.usd(3e6, 2e6, 1e6, batched=0.25) == pytest.approx(20.5 * 0.875)


@pytest.mark.parametrize(("cached", "usd"), [(0.0, 2800.0), (0.59, 2800.0), (0.6, 1900.0)])
def test_a_beginning_that_is_too_short_for_the_sellers_cache_is_paid_in_full(cached, usd):
    """A million requests of 1,000 tokens read and 100 written: 2,000 and 800 dollars; 600 of the 1,000 at a quarter."""
    result = buy_or_rent(steady, LlmFleet(QUICK), MACHINE, PRICE, volumes=[1e6, 2e6], seeds=2, cached=cached)
    assert result.frame["hosted_usd"].iloc[0] == pytest.approx(usd)


def test_dollars_per_token_and_request_add_up_to_those_of_the_run():
    run = serve_llm(*steady(5.0, 0)[:3], LlmFleet(ENGINE, 2))
    row = serving_bill(run, MACHINE)
    assert row["usd_month"] == pytest.approx(2 * 730 * MACHINE.on_demand_usd_hour)
    assert row["usd_per_request"] * run.counts["answered"] == pytest.approx(bill(run, MACHINE).usd)
    assert row["usd_per_million_tokens"] * run.written / 1e6 == pytest.approx(bill(run, MACHINE).usd)


@pytest.mark.parametrize("rate", [2.0, 9.0, 20.0, 33.0])
def test_the_smallest_fleet_is_what_trying_one_after_another_gives(rate):
    sent = bursty(rate, 1)
    enough = next(count for count in range(1, 17)
                  if serve_llm(*sent[:3], LlmFleet(ENGINE, count)).slow(1.0) <= 0.05)
    assert fewest_replicas(sent, LlmFleet(ENGINE), 1.0).launches == enough


def test_one_machine_that_does_it_all_breaks_even_where_its_price_buys_as_many_requests():
    """Own: one machine's month. Hosted: so many dollars a request. The lines cross where they are equal."""
    result = buy_or_rent(steady, LlmFleet(QUICK), MACHINE, PRICE, volumes=[1e4, 1e6, 1e8], seeds=3)
    each = (1000 * 2.0 + 100 * 8.0) / 1e6
    crossing = 730 * MACHINE.on_demand_usd_hour / each
    assert result.break_even == pytest.approx((crossing,) * 3, rel=1e-6)
    assert (result.frame["replicas"] == 1).all()
    assert f"From {crossing:,.0f} requests a month on" in result.sentence()


def test_bursts_and_a_cheap_seller_move_the_break_even_up():
    volumes = np.geomspace(1e6, 5e7, 4)
    calm, wild = (buy_or_rent(traffic, LlmFleet(ENGINE, max_replicas=64), MACHINE, PRICE, volumes=volumes, seeds=2)
                  for traffic in (steady, bursty))
    assert (wild.frame["replicas"] >= calm.frame["replicas"]).all()
    assert wild.frame["replicas"].sum() > calm.frame["replicas"].sum()
    cheap = dataclasses.replace(PRICE, input_usd_per_million_tokens=0.001, output_usd_per_million_tokens=0.001)
    never = buy_or_rent(steady, LlmFleet(QUICK), MACHINE, cheap, volumes=[1e4, 1e6], seeds=2)
    assert never.break_even is None
    assert never.sentence().startswith("Up to 1,000,000 requests a month, tokens of by hand cost less")


def test_the_interval_of_a_break_even_is_students_over_the_seeds():
    """Of few seeds a bootstrap would say less than their own spread."""
    volumes = np.geomspace(1e6, 5e7, 4)
    result = buy_or_rent(bursty, LlmFleet(ENGINE, max_replicas=64), MACHINE, PRICE, volumes=volumes, seeds=3)
    logs = []
    for _, part in result.frame.groupby("seed"):
        gap = np.log(part["own_usd"].to_numpy() / part["hosted_usd"].to_numpy())
        k = int(np.flatnonzero(gap > 0)[-1])
        logs.append(np.interp(0.0, -gap[k:k + 2], np.log(volumes[k:k + 2])))
    mean, half = np.mean(logs), stats.t.ppf(0.975, 2) * np.std(logs, ddof=1) / math.sqrt(3)
    assert result.break_even == pytest.approx((math.exp(mean), math.exp(mean - half), math.exp(mean + half)))


@pytest.mark.parametrize(("own", "break_even", "words"), [
    ([[9, 9], [9, 9]], None, "Up to 10 requests a month, tokens of a seller cost less"),
    ([[9, 1], [9, 9]], None, "No break-even up to 10 requests a month: there own machines (m) cost less than tokens of "
                             "a seller with 1 of 2 seeds."),
    ([[1, 9], [1, 9]], None, "No break-even up to 10 requests a month: there own machines (m) cost less than tokens of "
                             "a seller with 0 of 2 seeds."),
    ([[1, 1], [1, 1]], (1.0000000001, 1.0, 1.0), "Already at the smallest volume that was tried (1 requests a month)"),
    ([[9, 1], [9, 1]], (3.0, 2.0, 4.0), "From 3 requests a month on (2 to 4, 95% over 2 seeds), own machines (m)")])
def test_the_sentence_says_what_came_out(own, break_even, words):
    """One seed that never crosses does not make tokens the cheaper choice in all of them."""
    frame = pd.DataFrame({"requests_month": [1.0, 10.0] * 2, "seed": [0, 0, 1, 1], "own_usd": np.ravel(own),
                          "hosted_usd": 5.0})
    assert BuyOrRent(frame, break_even, "a seller", "m", 2).sentence().startswith(words)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: PRICE.usd(1.0, 1.0, 2.0), "part of those read"),
    (lambda: PRICE.usd(1.0, 1.0, batched=2.0), "is a share"),
    (lambda: fewest_replicas(steady(50.0, 0), LlmFleet(ENGINE, max_replicas=1), 0.1), "1 replicas do not hold"),
    (lambda: buy_or_rent(steady, LlmFleet(ENGINE), MACHINE, PRICE, volumes=[2e6, 1e6]), "ascending"),
    (lambda: buy_or_rent(steady, LlmFleet(ENGINE), MACHINE, PRICE, volumes=[1.0, 1e6]), "No request came"),
])
def test_bills_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
