"""Instances that are kept ready: against plain lists, Erlang's loss formula, and bills by hand."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import pays_from, poisson, provision, serverless_offer
from helpers.cloud_distributed.costs.provisioned import serve_provisioned
from helpers.cloud_distributed.costs.serverless import run_pool, serve
from helpers.lab import InputError

MONTH_S = 730 * 3600
LAMBDA = serverless_offer("AWS Lambda x86_64")


def plain_pool(arrivals, service, cold_start_s, provisioned, most):
    """One request at a time, others taken down at once: (begin, cold) of each request, with plain lists."""
    kept, others, results = [0.0] * provisioned, [], []
    for now, work in zip(arrivals, service, strict=True):
        others = [end for end in others if end > now]
        if kept and min(kept) <= now:
            kept[kept.index(min(kept))] = now + work
            results.append((now, False))
        elif len(others) + provisioned < most:
            others.append(now + cold_start_s + work)
            results.append((now + cold_start_s, True))
        else:
            line = kept if kept and (not others or min(kept) < min(others)) else others
            begin = min(line)
            line[line.index(begin)] = begin + work
            results.append((begin, False))
    return [list(part) for part in zip(*results, strict=True)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(0, 4), st.integers(1, 5), st.floats(0.01, 3))
def test_requests_go_to_what_is_ready_first(seed, provisioned, more, rate):
    rng = np.random.default_rng(seed)
    arrivals, service = np.cumsum(rng.exponential(1 / rate, 40)), rng.uniform(0.1, 4, 40)
    begin, cold = plain_pool(arrivals.tolist(), service.tolist(), 0.0, provisioned, provisioned + more)
    pool = run_pool(arrivals, service, 0.0, 0.0, max_instances=provisioned + more, provisioned=provisioned)
    assert pool.begin_s.tolist() == pytest.approx(begin)
    assert pool.cold.tolist() == cold


@pytest.mark.parametrize(("provisioned", "load"), [(1, 0.5), (3, 2.0), (8, 8.0)])
def test_of_poisson_arrivals_erlangs_loss_formula_tells_who_starts_cold(provisioned, load):
    """What finds no free instance among so many is served elsewhere, and so is lost to them."""
    rng, arrivals = np.random.default_rng(7), poisson(load, 100_000.0, seed=1)
    pool = run_pool(arrivals, rng.exponential(1.0, len(arrivals)), 0.7, 0.0, provisioned=provisioned)
    terms = [load**k / math.factorial(k) for k in range(provisioned + 1)]
    assert pool.cold.mean() == pytest.approx(terms[-1] / sum(terms), abs=0.01)


def test_a_month_by_hand():
    """Every 10 s two requests of 1 s at 2 GB: one is taken by the instance kept ready, the other starts for 0.5 s."""
    bill = serve_provisioned([0.0, 0.1], [1.0, 1.0], LAMBDA, 1, memory_gib=2.0, vcpus=1.0, cold_start_s=0.5,
                             keep_warm_s=0.0, span_s=10.0)
    times = MONTH_S / 10
    by_hand = {"provisioned concurrency": 2 * MONTH_S * 4.1667e-6, "duration while provisioned": 2 * times * 9.7222e-6,
               "duration": 1.5 * 2 * times * 1.66667e-5, "request": 2 * times * 2e-7}
    assert {item.rate.item: item.usd for item in bill.items} == pytest.approx(by_hand)
    assert bill.pool.cold.tolist() == [False, True]
    assert bill.usd_month == pytest.approx(sum(by_hand.values()))
    assert bill.startup_usd == pytest.approx(0)


def test_the_table_begins_with_on_demand_and_more_instances_start_fewer_cold():
    arrivals = poisson(1.0, 3600.0, seed=2)
    service = np.full(len(arrivals), 0.8)
    rules = {"cold_start_s": 3.0, "keep_warm_s": 60.0}
    frame = provision(arrivals, service, LAMBDA, (0, 1, 2, 6), **rules)
    assert frame["usd_month"][0] == serve(arrivals, service, LAMBDA, **rules).usd_month
    assert frame["cold_share"].is_monotonic_decreasing
    assert math.isnan(frame["working"][0])
    assert frame["working"][1:].is_monotonic_decreasing
    assert frame["working"][3] * 6 * arrivals[-1] <= service.sum() * (1 + 1e-9)


def test_an_instance_that_works_more_than_the_share_is_cheaper_kept_ready():
    share, (ready, working) = pays_from(LAMBDA), LAMBDA.provisioned
    for used, cheaper in ((share - 0.01, False), (share + 0.01, True)):
        assert (ready.usd + used * working.usd < used * LAMBDA.time[0].usd) == cheaper


@pytest.mark.parametrize(("call", "message"), [
    (lambda: pays_from(serverless_offer("GCP Cloud Run")), "GCP Cloud Run has no sourced price of instances that are"),
    (lambda: serve_provisioned([0, 1], [1, 1], LAMBDA, 0, cold_start_s=1, keep_warm_s=1), "at least one instance"),
    (lambda: serve_provisioned([0, 1], [1, 1], LAMBDA, 1, keep_warm_s=1), "no sourced .*give cold_start"),
    (lambda: run_pool([0, 1], [1, 1], 0, 0, provisioned=-1), "provisioned=-1")])
def test_what_cannot_be_answered_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
