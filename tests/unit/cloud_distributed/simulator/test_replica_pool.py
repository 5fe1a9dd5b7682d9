"""Replicas that start late, stop, die, are taken back and keep their shares."""

import math

import numpy as np
import pytest

from helpers.cloud_distributed import Fleet, concurrency_target, poisson, simulate


def test_a_cold_start_is_waited_for_and_paid_for():
    """The arrival at 10 s wakes a fleet at zero, waits 30 s for the start-up and 1 s for its answer."""
    fleet = Fleet(0, policy=concurrency_target(1.0), startup_s=30.0, min_replicas=0)
    run = simulate([10.0], [1.0], fleet)
    assert run.latency_s[0] == pytest.approx(31.0)
    assert (run.cold, run.launches) == (1, 1)
    assert run.replica_hours["on_demand"] * 3600 == pytest.approx(31.0)


def test_an_idle_fleet_scales_to_zero_and_stops_paying():
    """Idle from 1 s on; Knative's window of 60 s is free of requests some ticks after 61 s, and again at the end."""
    fleet = Fleet(1, policy=concurrency_target(), min_replicas=0)
    run = simulate([0.0, 10_000.0], [1.0, 1.0], fleet)
    assert run.replica_hours["on_demand"] * 3600 == pytest.approx(61 + 1, abs=4)


def test_a_dead_replica_fails_its_work_and_is_replaced():
    """Lives of 36 s on average and work of 10 s: exp(-10/36) of all works end well."""
    arrivals = np.arange(20_000) * 30.0
    run = simulate(arrivals, np.full(20_000, 10.0), Fleet(1, failures_per_hour=100.0))
    assert run.counts["failed"] / 20_000 == pytest.approx(1 - math.exp(-10 / 36), abs=0.01)
    assert sum(run.counts.values()) == 20_000


def test_a_notice_that_is_long_enough_saves_the_work():
    arrivals = np.arange(5000) * 30.0
    work = np.full(5000, 10.0)
    warned, cut = (simulate(arrivals, work, Fleet(1, spot_share=1.0, interruptions_per_hour=100.0, notice_s=notice))
                   for notice in (10.0, 2.0))
    assert warned.counts["answered"] == 5000
    assert cut.counts["failed"] / 5000 == pytest.approx(1 - math.exp(-8 / 36), abs=0.02)
    assert warned.launches > 3000  # 36 s of life on average in 150,000 s


def test_mixed_fleets_keep_their_shares():
    run = simulate(poisson(1, 3600, 0), np.full(len(poisson(1, 3600, 0)), 0.1),
                   Fleet(10, reserved=2, spot_share=0.25, queue_limit=99))
    hours = run.end_s / 3600
    assert run.replica_hours == pytest.approx({"reserved": 2 * hours, "on_demand": 6 * hours, "spot": 2 * hours})
