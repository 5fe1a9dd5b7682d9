"""Fleets and requests against closed forms, sums done by hand, and what cannot be."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    exponential_service,
    poisson,
    ray_serve,
    simulate,
    target_utilisation,
)
from helpers.lab import InputError

LOADS = (0.3, 0.6, 0.8, 0.95)
QUEUES = 7  # closed forms below, each at every load


def erlang_c(servers: int, load: float) -> float:
    """Chance to wait in M/M/c at `load` per server (Erlang, 1917)."""
    offered = servers * load
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - load)
    return last / (sum(terms) + last)


def finite_queue(servers: int, offered: float, room: int) -> tuple[float, float]:
    """M/M/c/K with `room` places to wait: chance to be dropped, and mean wait of the others (mean service 1)."""
    weights = [offered**k / math.factorial(k) if k <= servers
               else offered**k / math.factorial(servers) / servers**(k - servers) for k in range(servers + room + 1)]
    chances = np.array(weights) / sum(weights)
    queue = sum((k - servers) * chances[k] for k in range(servers, servers + room + 1))
    return chances[-1], queue / (offered * (1 - chances[-1]))


def agrees(found: list[float], expected: float) -> bool:
    """Within 1%, or inside the interval of independent runs; all queues and loads together at 95%."""
    half = stats.t.ppf(1 - 0.025 / (QUEUES * len(LOADS)), len(found) - 1) * np.std(found, ddof=1) / len(found)**0.5
    return abs(np.mean(found) - expected) <= max(0.01 * expected, half)


def steady_wait(run) -> float:
    """Mean wait without the first tenth, while the empty system fills."""
    return float(np.nanmean(run.wait_s[len(run.wait_s) // 10:]))


@pytest.mark.parametrize("load", LOADS)
def test_mean_wait_of_one_server_matches_pollaczek_and_khinchine(load):
    """M/M/1, M/D/1, and M/G/1 with gamma service of squared coefficient of variation 2; mean service 1 s."""
    shapes = {1.0: lambda n, seed: exponential_service(1.0, n, seed), 0.0: lambda n, seed: np.ones(n),
              2.0: lambda n, seed: np.random.default_rng(seed).gamma(0.5, 2.0, n)}
    for variation, service in shapes.items():
        waits = []
        for seed in range(20):
            arrivals = poisson(load, 300_000 / load, seed)
            waits.append(steady_wait(simulate(arrivals, service(len(arrivals), seed), Fleet())))
        assert agrees(waits, load / (1 - load) * (1 + variation) / 2), (variation, np.mean(waits))


@pytest.mark.parametrize("load", LOADS)
def test_mean_wait_of_many_servers_matches_erlang_c(load):
    waits = []
    for seed in range(20):
        arrivals = poisson(8 * load, 300_000 / load, seed)
        fleet = Fleet(8, balancer="central")
        waits.append(steady_wait(simulate(arrivals, exponential_service(1.0, len(arrivals), seed), fleet)))
    assert agrees(waits, erlang_c(8, load) / (8 * (1 - load))), np.mean(waits)


def waits_of(balancer: str, servers: int, load: float, runs: int = 20, count: int = 200_000) -> list[float]:
    """Mean waits of independent runs with exponential service of mean 1."""
    waits = []
    for seed in range(runs):
        arrivals = poisson(servers * load, count / (servers * load), seed)
        fleet = Fleet(servers, balancer=balancer)
        waits.append(steady_wait(simulate(arrivals, exponential_service(1.0, len(arrivals), seed), fleet)))
    return waits


@pytest.mark.parametrize("load", LOADS)
def test_a_random_split_is_as_many_single_queues(load):
    """Each of 8 replicas is an M/M/1 of its own."""
    waits = waits_of("random", 8, load)
    assert agrees(waits, load / (1 - load)), np.mean(waits)


@pytest.mark.parametrize("load", LOADS)
def test_round_robin_is_as_many_queues_with_evener_arrivals(load):
    """Each eighth request: Erlang-8 gaps before one exponential server (Kleinrock, Queueing Systems 1, 6.4)."""
    sigma = optimize.brentq(lambda z: (8 * load / (8 * load + 1 - z))**8 - z, 0.0, 1 - 1e-9)
    waits = waits_of("round robin", 8, load)
    assert agrees(waits, sigma / (1 - sigma)), np.mean(waits)


@pytest.mark.parametrize("load", [0.6, 0.9])
def test_two_choices_leave_queues_as_short_as_mitzenmacher_says(load):
    """Of very many replicas a share load**(2**i - 1) holds i requests or more; 400 are near that."""
    expected = sum(load**(2**i - 2) for i in range(1, 12)) - 1.0
    assert np.mean(waits_of("least loaded", 400, load, runs=3, count=400_000)) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("load", [0.6, 0.9])
def test_what_a_balancer_knows_is_worth_waiting_time(load):
    order = [np.mean(waits_of(name, 8, load, runs=3)) for name in ("central", "least loaded", "round robin", "random")]
    assert order == sorted(order)


def test_the_default_balancer_is_one_that_people_run():
    assert Fleet().balancer == "least loaded"


@pytest.mark.parametrize("balancer", ["least loaded", "round robin", "random"])
def test_replicas_without_a_queue_of_their_own_are_one_central_queue(balancer):
    """Who waits in front of all takes the first slot that becomes free: the same waits, whoever works."""
    arrivals = poisson(30, 300, 5)
    service = exponential_service(0.24, len(arrivals), 5)
    central = simulate(arrivals, service, Fleet(4, balancer="central", concurrency=2))
    split = simulate(arrivals, service, Fleet(4, balancer=balancer, replica_queue=0, concurrency=2))
    np.testing.assert_allclose(split.wait_s, central.wait_s, atol=1e-9)


def test_a_full_replica_is_passed_over_and_the_rest_waits_in_front():
    """Work of 10 s at two replicas with one place to wait each: the fifth waits in front for the first free place."""
    run = simulate([0.0, 1.0, 2.0, 3.0, 4.0], [10.0, 10.0, 10.0, 10.0, 1.0],
                   Fleet(2, balancer="round robin", replica_queue=1))
    np.testing.assert_allclose(run.wait_s, [0.0, 0.0, 8.0, 8.0, 16.0])


@pytest.mark.parametrize("load", LOADS)
def test_a_full_queue_drops_and_delays_as_theory_says(load):
    """M/M/4/12 through the full event loop: one queue with 8 places to wait."""
    lost, waits = [], []
    for seed in range(20):
        arrivals = poisson(4 * load, 50_000 / load, seed)
        fleet = Fleet(4, balancer="central", queue_limit=8)
        run = simulate(arrivals, exponential_service(1.0, len(arrivals), seed), fleet)
        lost.append(run.counts["dropped"] / len(arrivals))
        waits.append(steady_wait(run))
    dropped, wait = finite_queue(4, 4 * load, 8)
    assert agrees(waits, wait), np.mean(waits)
    assert agrees(lost, dropped), np.mean(lost)


def test_a_seed_gives_the_same_run_and_another_one_does_not():
    arrivals = poisson(20, 600, 0)
    times = ServiceTimes({1: [0.1, 0.2, 0.7]})
    fleet = Fleet(4, policy=target_utilisation(), spot_share=0.5, interruptions_per_hour=30, failures_per_hour=5)
    first, again, other = (simulate(arrivals, times, fleet, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert first.replica_hours == again.replica_hours
    assert not np.array_equal(first.latency_s, other.latency_s, equal_nan=True)


def test_a_batch_goes_when_it_is_full_or_its_oldest_has_waited_enough():
    """Three at 0, 1, 2 s fill a batch of 3 at 2 s; the fourth at 3 s waits 5 s alone, for the replica is free at 6."""
    run = simulate([0.0, 1.0, 2.0, 3.0], [1.0, 4.0, 2.0, 1.0], Fleet(batch_size=3, batch_delay_s=5.0))
    np.testing.assert_allclose(run.wait_s, [2.0, 1.0, 0.0, 5.0])
    np.testing.assert_allclose(run.latency_s, [6.0, 5.0, 4.0, 6.0])


@pytest.mark.parametrize(("change", "message"), [
    ({"replicas": 0}, "at least one replica"),
    ({"balancer": "fastest"}, "Unknown balancer 'fastest'. Choose one of: least loaded, round robin, random, central"),
    ({"balancer": "central", "replica_queue": 3}, "leave replica_queue out"),
    ({"replica_queue": -1}, "replica_queue must be a whole number"),
    ({"replicas": 2.5}, "replicas must be a whole number"),
    ({"batch_size": 0}, "batch_size must be a whole number of 1 or more"),
    ({"timeout_s": 0.0}, "timeout_s must be more than 0"),
    ({"timeout_s": 1.0, "batch_delay_s": 2.0, "batch_size": 4}, "leave before their batch"),
    ({"queue_limit": 2, "batch_size": 4, "batch_delay_s": 1.0}, "could never fill"),
    ({"startup_s": -1.0}, "startup_s must be 0 or more"),
    ({"startup_s": math.nan}, "startup_s must be 0 or more"),
    ({"spot_share": 1.5}, "fraction from 0 to 1"),
    ({"reserved": 3}, "3 replicas are reserved"),
    ({"policy": ray_serve(), "min_replicas": 9, "max_replicas": 3}, "above max_replicas"),
    ({"policy": ray_serve(), "replicas": 101}, "more than max_replicas"),
])
def test_a_fleet_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        Fleet(**change)


@pytest.mark.parametrize(("arrivals", "service", "message"), [
    ([2.0, 1.0], [1.0, 1.0], "ascending order"),
    ([-1.0, 1.0], [1.0, 1.0], "ascending order"),
    ([0.0, math.nan], [1.0, 1.0], "ascending order"),
    ([[0.0, 1.0]], [1.0], "one row of seconds"),
    ([0.0, 1.0], [1.0], r"shape \(1,\) for 2 arrivals"),
    ([0.0, 1.0], [1.0, math.nan], "finite seconds"),
    ([0.0, 1.0], [1.0, -1.0], "finite seconds"),
])
def test_arrivals_and_service_that_cannot_be_are_refused(arrivals, service, message):
    with pytest.raises(InputError, match=message):
        simulate(arrivals, service, Fleet())
