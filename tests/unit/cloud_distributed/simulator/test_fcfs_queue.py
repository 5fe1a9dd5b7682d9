"""The fast path of a fixed fleet against the event loop."""

import numpy as np
import pytest

from helpers.cloud_distributed import Fleet, ServiceTimes, poisson, simulate


def test_the_fast_path_and_the_event_loop_agree():
    rng = np.random.default_rng(1)
    arrivals = poisson(50, 2000, 1)
    service = ServiceTimes({1: rng.gamma(2.0, 0.05, 400)})
    fast = simulate(arrivals, service, Fleet(7), seed=3)
    slow = simulate(arrivals, service, Fleet(7, queue_limit=10**9), seed=3)
    np.testing.assert_allclose(fast.latency_s, slow.latency_s, rtol=1e-9, atol=1e-12)
    assert fast.replica_hours == pytest.approx(slow.replica_hours)
    assert fast.queue_s == pytest.approx(slow.queue_s)
    assert fast.busy_s == pytest.approx(slow.busy_s)
    left, right = fast.frame(), slow.frame()
    rows = 720  # the next one is the moment of the last arrival itself
    columns = ["t_s", "ready", "waiting", "in_service", "arrivals", "p95_s"]
    np.testing.assert_allclose(left[columns][:rows], right[columns][:rows], rtol=1e-6)
