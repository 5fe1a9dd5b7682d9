"""The fast paths against the event loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    concurrency_target,
    exponential_service,
    poisson,
    queue_length,
    ray_serve,
    simulate,
    target_utilisation,
)
from helpers.cloud_distributed.simulator import simulating
from helpers.cloud_distributed.simulator.fleet import BALANCERS

NO_LIMIT = 10**9  # of the queue: never reached, and the event loop runs


@pytest.mark.parametrize("balancer", BALANCERS)
def test_the_fast_path_and_the_event_loop_agree(balancer):
    rng = np.random.default_rng(1)
    arrivals = poisson(50, 2000, 1)
    service = ServiceTimes({1: rng.gamma(2.0, 0.05, 400)})
    fast = simulate(arrivals, service, Fleet(7, balancer=balancer), seed=3)
    slow = simulate(arrivals, service, Fleet(7, balancer=balancer, queue_limit=NO_LIMIT), seed=3)
    np.testing.assert_allclose(fast.latency_s, slow.latency_s, rtol=1e-9, atol=1e-12)
    assert fast.replica_hours == pytest.approx(slow.replica_hours)
    assert fast.queue_s == pytest.approx(slow.queue_s)
    assert fast.busy_s == pytest.approx(slow.busy_s)
    left, right = fast.frame(), slow.frame()
    rows = 720  # the next one is the moment of the last arrival itself
    columns = ["t_s", "ready", "waiting", "in_service", "arrivals", "p95_s"]
    np.testing.assert_allclose(left[columns][:rows], right[columns][:rows], rtol=1e-6)


POLICIES = (None, target_utilisation(period_s=2.0, stabilisation_s=10.0), queue_length(2.0, cooldown_s=3.0),
            concurrency_target(period_s=0.5, stable_s=5.0, panic_s=1.0), ray_serve(2.0, 1.0, 3.0, 2.0))
SAME = ("replica_hours", "end_s", "queue_s", "busy_s", "ready_s", "cold", "launches", "counts")


def fleet_of(limit, policy, lowest, **rest):
    return Fleet(policy=policy, min_replicas=lowest, max_replicas=8, queue_limit=limit, sample_s=0.7, **rest)


fleets = st.fixed_dictionaries({
    "policy": st.sampled_from(POLICIES), "lowest": st.integers(0, 2), "replicas": st.integers(1, 5),
    "balancer": st.sampled_from(BALANCERS[:3]), "concurrency": st.integers(1, 3), "reserved": st.integers(0, 1),
    "startup_s": st.sampled_from([0.0, 0.5, 4.0]), "timeout_s": st.sampled_from([None, 0.5, 5.0]),
    "drain_s": st.sampled_from([0.0, 2.0, 500.0])})


@settings(max_examples=150, deadline=None)
@given(fleet=fleets, seed=st.integers(0, 2**32), count=st.integers(0, 700), rate=st.sampled_from([1.0, 5.0, 30.0]),
       drawn=st.booleans())
def test_serving_in_stretches_is_the_event_loop_without_its_events(fleet, seed, count, rate, drawn):
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    service = ServiceTimes({1: rng.exponential(0.4, 9)}) if drawn else rng.exponential(0.4, count)
    fast, slow = (simulate(arrivals, service, fleet_of(limit, **fleet), seed) for limit in (None, NO_LIMIT))
    np.testing.assert_array_equal(fast.outcome, slow.outcome)
    np.testing.assert_allclose(fast.latency_s, slow.latency_s, rtol=1e-9, atol=1e-9)
    for name in SAME:
        assert getattr(fast, name) == pytest.approx(getattr(slow, name), abs=1e-6), name
    np.testing.assert_allclose(fast.frame(), slow.frame(), atol=1e-6)


@pytest.mark.parametrize("policy", [None, target_utilisation(0.6)])
def test_a_run_that_is_only_counted_has_the_figures_of_the_one_that_is_stored(policy, monkeypatch):
    """Some time out, and thousands wait at a time: the lists' pool grows on the way."""
    arrivals = np.concatenate([poisson(80, 600, 1), 600 + poisson(500, 60, 2), 660 + poisson(80, 600, 3)])
    fleet = Fleet(8, policy=policy, startup_s=20, timeout_s=25, max_replicas=12)
    service = ServiceTimes({1: np.random.default_rng(0).gamma(2.0, 0.04, 500)})
    stored = simulate(arrivals, service, fleet, seed=4)
    monkeypatch.setattr(simulating, "_MAX_EACH", 1000)
    counted = simulate(arrivals, service, fleet, seed=4)
    assert stored.counts["timed_out"] > 0
    assert counted.counts == stored.counts
    assert counted.mean_wait_s == pytest.approx(stored.mean_wait_s)
    at = (0.01, 0.5, 0.95, 0.999)
    np.testing.assert_allclose(counted.latency_quantiles_s(at), stored.latency_quantiles_s(at), rtol=1e-3)
    left, right = counted.frame(), stored.frame()
    same = ["t_s", "ready", "target", "waiting", "in_service", "arrivals", "unanswered"]
    np.testing.assert_array_equal(left[same], right[same])
    np.testing.assert_allclose(left["p50_s"], right["p50_s"])  # all are sampled where they are that few
    np.testing.assert_array_equal(counted.latency_s, stored.latency_s)
    assert counted.late(0.25) == stored.late(0.25)


def test_counted_latencies_are_those_of_an_m_m_1_queue(monkeypatch):
    """Exponential with rate 1 - load: quantiles and the late share to a bin of 0.1% and the scatter of 2 million."""
    monkeypatch.setattr(simulating, "_MAX_EACH", 0)
    arrivals = poisson(0.7, 3_000_000, 1)
    run = simulate(arrivals, exponential_service(1.0, len(arrivals), 2), Fleet(1))
    assert run.tally is not None
    assert run.mean_wait_s == pytest.approx(0.7 / 0.3, rel=0.02)
    at = np.array([0.5, 0.95, 0.99])
    np.testing.assert_allclose(run.latency_quantiles_s(at), -np.log(1 - at) / 0.3, rtol=0.02)
    assert run.late(10.0) == pytest.approx(math.exp(-3.0), rel=0.03)


def test_counted_waits_are_those_of_m_d_1_and_of_erlang(monkeypatch):
    """One replica with eight slots is an M/M/8 queue."""
    monkeypatch.setattr(simulating, "_MAX_EACH", 0)
    arrivals = poisson(0.8, 2_500_000, 3)
    assert simulate(arrivals, np.ones(len(arrivals)), Fleet(1)).mean_wait_s == pytest.approx(2.0, rel=0.02)
    arrivals = poisson(6.4, 300_000, 4)
    run = simulate(arrivals, exponential_service(1.0, len(arrivals), 5), Fleet(1, concurrency=8))
    terms = [6.4**k / math.factorial(k) for k in range(8)]
    last = 6.4**8 / math.factorial(8) / 0.2
    assert run.mean_wait_s == pytest.approx(last / (sum(terms) + last) / 1.6, rel=0.02)


@pytest.mark.parametrize("balancer", BALANCERS[:3])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_short_queues_become_lists_and_short_again(balancer, concurrency):
    """Rushes of hundreds between quiet times: each replica's queue outgrows its last few, and comes back."""
    times = [poisson(rate, 20.0, seed) + 20.0 * seed for seed, rate in enumerate([5, 120, 5, 20, 200, 1, 30])]
    arrivals = np.concatenate(times)
    service = np.random.default_rng(0).gamma(2.0, 0.1, len(arrivals))
    fleet = {"replicas": 6, "balancer": balancer, "concurrency": concurrency, "sample_s": 1.0, "drain_s": 60.0}
    fast, slow = (simulate(arrivals, service, Fleet(queue_limit=limit, **fleet)) for limit in (None, NO_LIMIT))
    assert slow.frame()["waiting"].max() > 100
    np.testing.assert_allclose(fast.latency_s, slow.latency_s, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fast.frame(), slow.frame(), atol=1e-6)
