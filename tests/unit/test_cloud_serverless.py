"""Serverless bills, the break-even with a dedicated machine, and commitments."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from helpers.cloud_distributed.costs.machines import reserved_usd_hour, split_load
from helpers.cloud_distributed.costs.serverless import run_pool, scale_to_zero, serve
from helpers.cloud_distributed.costs.serverless_break_even import billed_share, break_even, break_even_on_trace
from helpers.cloud_distributed.costs.serverless_prices import serverless_offer, serverless_offers
from helpers.lab import InputError, offer

FACTS = Path(__file__).parents[2] / "helpers" / "facts"
MONTH_S = 730 * 3600
LAMBDA, CLOUD_RUN, AZURE = "AWS Lambda x86_64", "GCP Cloud Run", "Azure Functions Consumption"
ENDPOINT = "Hugging Face Inference Endpoints (aws) intel-spr x2"


def poisson(rate: float, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def plain_pool(arrivals, service, cold_start_s, keep_warm_s, concurrency, most):
    """The same rules with plain lists: (begin, cold) of each request."""
    pool, begins, colds = [], [], []  # an instance: [ready, free places, last used]
    for number, (now, work) in enumerate(zip(arrivals, service, strict=True)):
        pool = [one for one in pool if max(one[1]) + keep_warm_s > now]
        free = [one for one in pool if min(one[1]) <= now]
        starting = [one for one in pool if one[0] > now and min(one[1]) <= one[0]]
        cold = False
        if free:
            mine = max(free, key=lambda one: one[2])
        elif starting:
            mine = min(starting, key=lambda one: (min(one[1]), -one[2]))
        elif len(pool) < most:
            mine, cold = [now + cold_start_s, [now + cold_start_s] * concurrency, number], True
            pool.append(mine)
        else:
            mine = min(pool, key=lambda one: min(one[1]))
        begin = max(now, min(mine[1]))
        mine[1][mine[1].index(min(mine[1]))] = begin + work
        mine[2] = number
        begins.append(begin)
        colds.append(cold)
    return begins, colds


def test_prices_and_their_sources_are_those_of_the_facts():
    with (FACTS / "serverless.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {(row["unit"], float(row["price_usd"]), row["as_of"], row["source_url"])
             for row in rows if row["price_usd"]}
    assert {LAMBDA, CLOUD_RUN, AZURE, ENDPOINT, "Modal GPU functions H100"} <= set(serverless_offers())
    for one in serverless_offers().values():
        for rate in one.rates():
            assert (rate.unit, rate.usd, rate.as_of, rate.source_url) in known


def test_how_time_is_counted_is_read_from_the_facts():
    assert [serverless_offer(name).granularity_s for name in (LAMBDA, CLOUD_RUN, AZURE, ENDPOINT)] == [0.001, 0.1,
                                                                                                        0.001, 60]
    assert [rate.free_per_month for rate in serverless_offer(CLOUD_RUN).rates()] == [180_000, 360_000, 2_000_000]
    assert serverless_offer(AZURE).cold_start_s == 6.8
    assert serverless_offer(ENDPOINT).keep_warm_s == 3600


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serverless_offer("Azure Functions Flex Consumption"), "no sourced price per execution"),
    (lambda: serverless_offer("Lambda"), "Unknown serverless offer 'Lambda'. Choose one of: AWS Lambda x86_64"),
    (lambda: serve([0, 1], [1, 1], serverless_offer(LAMBDA), keep_warm_s=60), "no sourced .*give cold_start"),
    (lambda: serve([0, 1], [1, 1], serverless_offer(AZURE)), "no sourced figure here: give keep_warm_s="),
    (lambda: serve([0, 1], [1, 1], serverless_offer(AZURE), keep_warm_s=9, memory_gib=4), "1.5 GB at most"),
    (lambda: run_pool([1, 0], [1, 1], 0, 0), "out of order"),
    (lambda: run_pool([0, 1], [1], 0, 0), "one arrival and one service time for each request"),
    (lambda: run_pool([0, 1], [1, math.nan], 0, 0), "finite seconds"),
    (lambda: run_pool([0.0], [1], 0, 0), "length span_s must be above 0"),
    (lambda: run_pool([0, 1], [1, 1], -1, 0), "cold_start_s=-1"),
    (lambda: billed_share(2, 1, 0, 0), "cannot carry"),
])
def test_what_cannot_be_answered_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_cold_starts_and_scaling_to_zero_worked_out_by_hand():
    pool = run_pool([0, 1, 10, 100], [2, 2, 2, 2], cold_start_s=5, keep_warm_s=20, span_s=200)
    assert pool.latency_s.tolist() == [7, 7, 2, 7]
    assert pool.cold.tolist() == [True, True, False, True]
    assert pool.instance.tolist() == [0, 1, 1, 2]  # the last used one, so that the other can go
    assert pool.start_s.tolist() == [0, 1, 100]
    assert pool.end_s.tolist() == [27, 32, 127]
    assert (pool.cold_starts, pool.peak_instances) == (3, 2)


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("most", [None, 4])
@pytest.mark.parametrize("rate", [0.5, 6.0])
def test_the_pool_does_what_the_same_rules_in_plain_python_do(concurrency, most, rate):
    arrivals = poisson(rate, 600, seed=concurrency)
    service = np.random.default_rng(1).exponential(0.6, len(arrivals))
    pool = run_pool(arrivals, service, 2.0, 5.0, concurrency, most)
    begins, colds = plain_pool(arrivals, service, 2.0, 5.0, concurrency, most or math.inf)
    np.testing.assert_allclose(pool.begin_s, begins)
    assert pool.cold.tolist() == colds
    assert (pool.latency_s >= service - 1e-9).all()  # each is answered, none before its work is done


def test_one_instance_that_stays_warm_is_an_m_d_1_queue():
    arrivals = poisson(7.0, 40_000, seed=3)
    pool = run_pool(arrivals, np.full(len(arrivals), 0.1), 0, math.inf, max_instances=1)
    assert (pool.latency_s - 0.1).mean() == pytest.approx(0.7 * 0.1 / (2 * 0.3), rel=0.03)  # Pollaczek and Khinchine


def test_a_lambda_bill_worked_out_by_hand():
    arrivals, service = np.arange(10_000) * 1.0, np.full(10_000, 0.2504)
    bill = serve(arrivals, service, serverless_offer(LAMBDA), memory_gib=2, cold_start_s=0,
                 keep_warm_s=math.inf, span_s=MONTH_S / 200)
    gb_s = 2_000_000 * 0.251 * 2  # 250.4 ms are billed as 251
    assert [item.quantity for item in bill.items] == pytest.approx([gb_s, 2_000_000])
    assert bill.usd_month == pytest.approx((gb_s - 400_000) * 1.66667e-5 + 1_000_000 * 2e-7)
    assert bill.frame()["source_url"].str.startswith("https://").all()
    assert f"${bill.usd_month:,.2f} a month" in bill.sentence()


def test_lambda_bills_the_start_of_an_environment_and_azure_does_not():
    trace = {"memory_gib": 1, "cold_start_s": 3.0, "keep_warm_s": 10, "span_s": 1000}
    bills = [serve([0, 500], [0.5, 0.5], serverless_offer(name), **trace) for name in (LAMBDA, AZURE)]
    assert [bill.items[0].quantity * 1000 / MONTH_S for bill in bills] == pytest.approx([7.0, 1.0])


def test_an_instance_that_works_on_two_requests_at_once_is_billed_once():
    bill = serve([0, 1, 10], [2, 2, 0.05], serverless_offer(CLOUD_RUN), memory_gib=0.5, vcpus=2,
                 cold_start_s=0, keep_warm_s=60, concurrency=2, span_s=100)
    assert bill.items[0].quantity * 100 / MONTH_S == pytest.approx((3 + 0.1) * 2)
    assert bill.items[1].quantity * 100 / MONTH_S == pytest.approx((3 + 0.1) * 0.5)


def test_a_bill_that_misses_something_says_so():
    modal = serve([0, 10], [1, 1], serverless_offer("Modal GPU functions T4"), cold_start_s=1, keep_warm_s=1)
    assert "or more" in modal.sentence()
    assert "CPU and memory billed besides" in " ".join(modal.offer.footnotes())
    assert not serverless_offer(LAMBDA).is_lower_bound


def test_scaling_to_zero_trades_dollars_for_cold_starts():
    frame = scale_to_zero(np.arange(1, 11) * 100.0, np.ones(10), serverless_offer(ENDPOINT), (0, 150, math.inf),
                          cold_start_s=59, span_s=2000)
    assert frame["cold_share"].tolist() == [1, 0.1, 0.1]
    dollars = 0.067 * MONTH_S / 2000 / 3600 * np.array([10 * 60, 1080, 1920])  # 100 to 1151 and to 2000
    np.testing.assert_allclose(frame["usd_month"], dollars)
    assert frame["p50_s"].tolist() == [60, 1, 1]


def test_an_endpoint_is_billed_by_the_minute_from_its_start_to_its_end():
    bill = serve([0.0, 500], [10, 10], serverless_offer(ENDPOINT), cold_start_s=21, keep_warm_s=30,
                 span_s=1000)
    assert bill.usd_month == pytest.approx(2 * 120 / 3600 * 0.067 * MONTH_S / 1000)  # 61 s are two minutes


@pytest.mark.parametrize(("rate", "cold", "keep"), [(0.02, 30.0, 60.0), (0.2, 5.0, 2.0), (0.6, 0.0, 0.0)])
def test_the_billed_share_in_closed_form_is_the_simulated_one(rate, cold, keep):
    arrivals = poisson(rate, 60_000 / rate, seed=1)
    service = np.random.default_rng(2).exponential(1.0, len(arrivals))
    pool = run_pool(arrivals, service, cold, keep, max_instances=1)
    assert (pool.end_s - pool.start_s).sum() / arrivals[-1] == pytest.approx(billed_share(rate, 1.0, cold, keep),
                                                                             rel=0.02)


def test_the_break_even_of_lambda_worked_out_by_hand():
    found = break_even(serverless_offer(LAMBDA), offer("AWS m7i.large"), np.full(5, 0.1), memory_gib=2.0, places=2)
    per_request = 0.1 * 2 * 1.66667e-5 + 2e-7
    requests = (0.1008 * 730 + 400_000 * 1.66667e-5 + 1_000_000 * 2e-7) / per_request
    assert found.requests_per_s == pytest.approx(requests / MONTH_S)
    assert found.duty == pytest.approx(requests / MONTH_S * 0.1 / 2)


@pytest.mark.parametrize("name", [LAMBDA, CLOUD_RUN, AZURE])
def test_the_break_even_by_request_is_the_same_on_a_trace(name):
    arrivals = poisson(1.0, 20_000, seed=5)
    service = np.random.default_rng(6).gamma(4.0, 0.05, len(arrivals))
    on_paper = break_even(serverless_offer(name), offer("AWS c7i.xlarge"), service, memory_gib=1.0)
    on_trace = break_even_on_trace(arrivals, service, serverless_offer(name), offer("AWS c7i.xlarge"), memory_gib=1.0,
                                   cold_start_s=0.0, keep_warm_s=1e5)
    assert on_trace.duty == pytest.approx(on_paper.duty, rel=0.01)


def test_the_break_even_of_an_endpoint_is_the_same_on_a_trace():
    arrivals = poisson(1.0, 30_000, seed=7)
    service = np.random.default_rng(8).exponential(20.0, len(arrivals))
    endpoint, machine = serverless_offer("Hugging Face Inference Endpoints (aws) nvidia-t4 x1"), offer("AWS m6i.large")
    times = {"cold_start_s": 90.0, "keep_warm_s": 300.0}
    on_paper = break_even(endpoint, machine, service, **times)
    on_trace = break_even_on_trace(arrivals, service, endpoint, machine, max_instances=1, **times)
    assert 0 < on_paper.duty < 1
    assert on_trace.duty == pytest.approx(on_paper.duty, rel=0.03)


def test_serverless_that_is_always_cheaper_has_no_break_even():
    found = break_even(serverless_offer(ENDPOINT), offer("AWS p5.48xlarge"), np.ones(3), cold_start_s=60)
    assert math.isinf(found.duty)


@pytest.mark.parametrize("interruptible", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_number_of_committed_machines_costs_less(interruptible, seed):
    rng = np.random.default_rng(seed)
    load = rng.gamma(2.0, 4.0, 500) * (rng.random(500) > 0.1)
    machine = offer("GCP n2-standard-4" if seed % 2 else "GCP c3-standard-4")
    split = split_load(load, machine, months=12, interruptible=interruptible, spot_overhead=0.1)
    on_demand = machine.on_demand_usd_hour
    committed, spot = reserved_usd_hour(machine)["1 year"], min(on_demand, machine.spot_usd_hour / 0.9)

    def month(base):
        covered = np.minimum((1 - interruptible) * load, base)
        firm = (1 - interruptible) * load - covered
        flexible = np.maximum(0, interruptible * load - (base - covered))
        return 730 * (base * committed + (firm * on_demand + flexible * spot).mean())

    assert split.usd_month == pytest.approx(month(split.base))
    assert split.usd_month <= min(month(base) for base in range(60)) + 1e-9
    assert split.all_on_demand_usd_month == pytest.approx(load.mean() * on_demand * 730)


def test_a_load_spread_evenly_is_split_at_the_ratio_of_prices():
    split = split_load(np.linspace(0, 1000, 100_001), offer("GCP g2-standard-4"), months=36)
    assert split.term == "3 years"
    assert split.base == pytest.approx(1000 * (1 - 0.318075 / 0.706832), abs=1)
    assert "3 years" in split.sentence()


def test_a_commitment_that_outlasts_the_load_is_paid_to_its_end():
    load, machine = np.full(10, 8.0), offer("GCP n2-standard-4")
    assert split_load(load, machine, months=12).term == "1 year"
    short = split_load(load, machine, months=6)  # a year's commitment for half a year costs 0.2447 an hour
    assert (short.base, short.term) == (0, None)
    assert short.usd_month == pytest.approx(8 * 0.194236 * 730)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: split_load([1, 2], offer("AWS c7i.xlarge")), "no sourced price for a commitment"),
    (lambda: split_load([1, -2], offer("GCP n2-standard-4")), "none below 0"),
    (lambda: split_load([1, 2], offer("GCP n2-standard-4"), interruptible=2), "from 0 to 1"),
])
def test_a_split_without_prices_or_sense_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
