"""Cold starts, scaling to zero and serverless bills, against plain lists and sums done by hand."""

import math

import numpy as np
import pytest

from helpers.cloud_distributed import poisson
from helpers.cloud_distributed.costs.serverless import run_pool, scale_to_zero, serve
from helpers.cloud_distributed.costs.serverless_prices import serverless_offer
from helpers.lab import InputError

MONTH_S = 730 * 3600
LAMBDA, CLOUD_RUN, AZURE = "AWS Lambda x86_64", "GCP Cloud Run", "Azure Functions Consumption"
ENDPOINT = "Hugging Face Inference Endpoints (aws) intel-spr x2"


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


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serve([0, 1], [1, 1], serverless_offer(LAMBDA), keep_warm_s=60), "no sourced .*give cold_start"),
    (lambda: serve([0, 1], [1, 1], serverless_offer(AZURE)), "no sourced figure here: give keep_warm_s="),
    (lambda: serve([0, 1], [1, 1], serverless_offer(AZURE), keep_warm_s=9, memory_gib=4), "1.5 GB at most"),
    (lambda: serve([0, 1], [1, 1], serverless_offer(AZURE), keep_warm_s=9, memory_gib=1, cold_start_s=1,
                   max_instances=0), "max_instances=0"),
    (lambda: run_pool([1, 0], [1, 1], 0, 0), "out of order"),
    (lambda: run_pool([0, 1], [1], 0, 0), "one arrival and one service time for each request"),
    (lambda: run_pool([0, 1], [1, math.nan], 0, 0), "finite seconds"),
    (lambda: run_pool([0.0], [1], 0, 0), "length span_s must be above 0"),
    (lambda: run_pool([0, 1], [1, 1], -1, 0), "cold_start_s=-1"),
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
    assert all(item.rate.source_url.startswith("https://") for item in bill.items)


def test_lambda_bills_the_start_of_an_environment_and_azure_does_not():
    trace = {"memory_gib": 1, "cold_start_s": 3.0, "keep_warm_s": 10, "span_s": 1000}
    bills = [serve([0, 500], [0.5, 0.5], serverless_offer(name), **trace) for name in (LAMBDA, AZURE)]
    assert [bill.items[0].quantity * 1000 / MONTH_S for bill in bills] == pytest.approx([7.0, 1.0])


def test_an_instance_that_works_on_two_requests_at_once_is_billed_once():
    bill = serve([0, 1, 10], [2, 2, 0.05], serverless_offer(CLOUD_RUN), memory_gib=0.5, vcpus=2,
                 cold_start_s=0, keep_warm_s=60, concurrency=2, span_s=100)
    assert bill.items[0].quantity * 100 / MONTH_S == pytest.approx((3 + 0.1) * 2)
    assert bill.items[1].quantity * 100 / MONTH_S == pytest.approx((3 + 0.1) * 0.5)


def test_scaling_to_zero_trades_dollars_for_cold_starts():
    frame = scale_to_zero(np.arange(1, 11) * 100.0, np.ones(10), serverless_offer(ENDPOINT), (0, 150, math.inf),
                          cold_start_s=59, span_s=2000)
    assert frame["cold_share"].tolist() == [1, 0.1, 0]  # what never scales down starts once, not each time
    dollars = 0.067 * MONTH_S / 2000 / 3600 * np.array([10 * 60, 1080, 2000])  # 100 to 1151, in minutes; always
    np.testing.assert_allclose(frame["usd_month"], dollars)
    assert frame["p50_s"].tolist() == [60, 1, 1]


def test_an_endpoint_is_billed_by_the_minute_from_its_start_to_its_end():
    bill = serve([0.0, 500], [10, 10], serverless_offer(ENDPOINT), cold_start_s=21, keep_warm_s=30,
                 span_s=1000)
    assert bill.usd_month == pytest.approx(2 * 120 / 3600 * 0.067 * MONTH_S / 1000)  # 61 s are two minutes


def test_the_start_is_billed_once_and_apart_from_the_months():
    """One request a minute for ten minutes, kept warm for two: only the very first one starts cold."""
    arrivals, service = np.arange(10) * 60.0, np.full(10, 1.0)
    bill = serve(arrivals, service, serverless_offer(LAMBDA), memory_gib=1, cold_start_s=5.0, keep_warm_s=120,
                 span_s=600)
    assert bill.items[0].quantity == pytest.approx(10 * MONTH_S / 600)
    assert bill.startup_usd == pytest.approx(5.0 * 1.66667e-5)
    assert not bill.pool.cold.any()
    np.testing.assert_allclose(bill.pool.latency_s, 1.0)
