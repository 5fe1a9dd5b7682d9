"""The fast paths against the event loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    concurrency_target,
    poisson,
    queue_length,
    ray_serve,
    simulate,
    target_utilisation,
)
from helpers.cloud_distributed.simulator import fleet as fleet_module
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
@given(fleet=fleets, seed=st.integers(0, 2**32), count=st.integers(0, 300), rate=st.sampled_from([1.0, 5.0, 30.0]),
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
    monkeypatch.setattr(fleet_module, "_MAX_EACH", 1000)
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
