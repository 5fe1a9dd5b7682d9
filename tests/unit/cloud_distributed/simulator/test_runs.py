"""A run's figures, its time series, replications and exact quantiles."""

import math
import types

import numpy as np
import pytest

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    exponential_service,
    poisson,
    replicate,
    simulate,
    target_utilisation,
)
from helpers.cloud_distributed.simulator.runs import quantiles
from helpers.lab.measuring.intervals import mean_interval


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

    result = replicate(scenario, runs=10).loc["mean_wait_s"]
    assert result["low"] < 0.7 / 0.3 < result["high"]
    assert result["high"] - result["low"] < 0.6


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


def test_no_request_at_all_is_a_run_too():
    for fleet in (Fleet(), Fleet(queue_limit=3)):
        run = simulate([], [], fleet)
        assert sum(run.counts.values()) == 0
        assert math.isnan(run.mean_wait_s)
        assert run.frame().empty
        assert list(run.frame()) == list(simulate([0.0], [1.0], fleet).frame())


def test_a_figure_that_some_runs_lack_has_the_interval_of_the_others():
    def scenario(seed):
        return types.SimpleNamespace(summary=lambda: {"p99_s": [1.0, math.nan, 2.0, 3.0][seed], "cold": math.nan})

    result = replicate(scenario, runs=4)
    assert tuple(result.loc["p99_s"]) == pytest.approx(mean_interval([1.0, 2.0, 3.0]))
    assert result.loc["cold"].isna().all()
