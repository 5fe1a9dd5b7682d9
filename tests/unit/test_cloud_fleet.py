"""The fleet simulator against the closed forms of queueing theory and against sums done by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    bill,
    concurrency_target,
    exponential_service,
    poisson,
    ray_serve,
    replicate,
    simulate,
    target_utilisation,
)
from helpers.cloud_distributed.simulator.runs import quantiles
from helpers.lab import InputError, offer

LOADS = (0.3, 0.6, 0.8, 0.95)
QUEUES = 5  # closed forms below, each at every load


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
    """Within 1 %, or inside the interval of independent runs; all queues and loads together at 95 %."""
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
        waits.append(steady_wait(simulate(arrivals, exponential_service(1.0, len(arrivals), seed), Fleet(8))))
    assert agrees(waits, erlang_c(8, load) / (8 * (1 - load))), np.mean(waits)


@pytest.mark.parametrize("load", LOADS)
def test_a_full_queue_drops_and_delays_as_theory_says(load):
    """M/M/4/12 through the full event loop: 8 places to wait."""
    lost, waits = [], []
    for seed in range(20):
        arrivals = poisson(4 * load, 50_000 / load, seed)
        run = simulate(arrivals, exponential_service(1.0, len(arrivals), seed), Fleet(4, queue_limit=8))
        lost.append(run.counts["dropped"] / len(arrivals))
        waits.append(steady_wait(run))
    dropped, wait = finite_queue(4, 4 * load, 8)
    assert agrees(waits, wait), np.mean(waits)
    assert agrees(lost, dropped), np.mean(lost)


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


def test_a_seed_gives_the_same_run_and_another_one_does_not():
    arrivals = poisson(20, 600, 0)
    times = ServiceTimes({1: [0.1, 0.2, 0.7]})
    fleet = Fleet(4, policy=target_utilisation(), spot_share=0.5, interruptions_per_hour=30, failures_per_hour=5)
    first, again, other = (simulate(arrivals, times, fleet, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.latency_s, again.latency_s)
    assert first.replica_hours == again.replica_hours
    assert not np.array_equal(first.latency_s, other.latency_s, equal_nan=True)


def test_drawn_service_times_have_the_measured_distribution():
    measured = {1: np.array([0.1, 0.2, 0.6]), 3: np.array([0.4, 1.0])}
    times = ServiceTimes(measured)
    run = simulate(np.arange(300_000) * 10.0, times, Fleet())
    values, counts = np.unique(run.latency_s, return_counts=True)
    np.testing.assert_allclose(values, measured[1])
    np.testing.assert_allclose(counts / 300_000, 1 / 3, atol=0.005)
    assert times.mean_s(1) == pytest.approx(0.3)
    assert times.mean_s(2) == pytest.approx((0.3 + 0.7) / 2)


def test_a_batch_goes_when_it_is_full_or_its_oldest_has_waited_enough():
    """Three at 0, 1, 2 s fill a batch of 3 at 2 s; the fourth at 3 s waits 5 s alone, for the replica is free at 6."""
    run = simulate([0.0, 1.0, 2.0, 3.0], [1.0, 4.0, 2.0, 1.0], Fleet(batch_size=3, batch_delay_s=5.0))
    np.testing.assert_allclose(run.wait_s, [2.0, 1.0, 0.0, 5.0])
    np.testing.assert_allclose(run.latency_s, [6.0, 5.0, 4.0, 6.0])


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


def test_a_bill_is_hours_times_prices():
    run = simulate([0.0, 7199.0], [1.0, 1.0], Fleet(4, reserved=1, spot_share=1 / 3))
    priced = bill(run, offer("GCP n2-standard-4"))
    assert priced.usd == pytest.approx(2 * (0.122364 + 2 * 0.194236 + 0.111472))
    assert priced.usd_month == pytest.approx(730 * (0.122364 + 2 * 0.194236 + 0.111472))
    assert priced.usd_per_million == pytest.approx(priced.usd / 2 * 1e6)
    assert bill(run, offer("GCP n2-standard-4"), years=3).usd < priced.usd
    assert (priced.wh, priced.gco2e) == (None, None)
    with pytest.raises(InputError, match=r"No reserved price of AWS m6i\.large is sourced"):
        bill(run, offer("AWS m6i.large"))


def test_energy_lies_between_idle_and_full_power():
    """One m6i.large, half busy for an hour: 4.6 to 16.2 W (instance_power.csv), 1.15 for the building."""
    run = simulate([0.0, 3599.0], [1799.0, 1.0], Fleet())
    priced = bill(run, offer("AWS m6i.large"))
    assert priced.wh == pytest.approx(16.2 * 1.15)
    assert priced.wh_low == pytest.approx((4.6 + 0.5 * 11.6) * 1.15)
    assert priced.gco2e == pytest.approx(priced.wh / 1000 * 396.25)


def test_the_time_series_has_the_quantiles_of_its_intervals():
    arrivals = poisson(20, 100, 0)
    run = simulate(arrivals, exponential_service(0.05, len(arrivals), 0), Fleet(2, sample_s=10.0))
    row = run.frame().set_index("t_s").loc[50.0]
    inside = run.latency_s[(arrivals > 40) & (arrivals <= 50)]
    assert (row["arrivals"], row["unanswered"]) == (len(inside), 0)
    np.testing.assert_allclose(row[["p50_s", "p95_s"]], np.quantile(inside, (0.5, 0.95)))


def test_late_requests_are_those_unanswered_in_time():
    run = simulate([0.0, 0.1, 0.2, 0.3], [1.0, 1.0, 1.0, 1.0], Fleet(queue_limit=2))
    assert run.counts["dropped"] == 1
    assert run.late(2.0) == pytest.approx(0.5)


def test_replications_give_an_interval_that_holds_the_truth():
    def scenario(seed):
        arrivals = poisson(0.7, 20_000, seed)
        return simulate(arrivals, exponential_service(1.0, len(arrivals), seed), Fleet())

    found = replicate(scenario, runs=10).loc["mean_wait_s"]
    assert found["low"] < 0.7 / 0.3 < found["high"]
    assert found["high"] - found["low"] < 0.6


def test_replications_on_other_processes_are_the_same():
    times = ServiceTimes({1: [0.1, 0.3, 0.9]})

    def scenario(seed):
        return simulate(poisson(5, 300, seed), times, Fleet(3, policy=target_utilisation(), startup_s=20), seed)

    here, there = (replicate(scenario, runs=3, engine=engine) for engine in ("here", "local"))
    np.testing.assert_array_equal(here, there)


def test_quantiles_are_exact_for_many_values():
    values = np.random.default_rng(0).lognormal(0, 2, 500_000)
    values[::7], values[1::1000] = np.nan, 0.0
    at = (0.0, 0.25, 0.5, 0.95, 0.999, 1.0)
    np.testing.assert_allclose(quantiles(values, at), np.nanquantile(values, at), rtol=1e-12)
    assert np.isnan(quantiles(np.full(300_000, np.nan), at)).all()


@pytest.mark.parametrize(("change", "message"), [
    ({"replicas": 0}, "at least one replica"),
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


def test_batches_larger_than_measured_are_refused():
    with pytest.raises(InputError, match="measured up to batch size 4"):
        simulate([0.0], ServiceTimes({1: [0.1], 4: [0.2]}), Fleet(batch_size=8))
    with pytest.raises(InputError, match="positive numbers"):
        ServiceTimes({1: [0.1, math.inf]})
    with pytest.raises(InputError, match="whole number of 0 or more"):
        simulate([0.0], [1.0], Fleet(), seed=-1)


def test_no_request_at_all_is_a_run_too():
    for fleet in (Fleet(), Fleet(queue_limit=3)):
        run = simulate([], [], fleet)
        assert sum(run.counts.values()) == 0
        assert math.isnan(run.mean_wait_s)
        assert len(run.frame()) >= 0
