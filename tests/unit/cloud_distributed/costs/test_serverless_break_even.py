"""Serverless or dedicated: the break-even by formula, by hand and on a trace."""

import math

import numpy as np
import pytest

from helpers.cloud_distributed import bursts, poisson
from helpers.cloud_distributed.costs.serverless import run_pool
from helpers.cloud_distributed.costs.serverless_break_even import billed_share, break_even, break_even_on_trace
from helpers.cloud_distributed.costs.serverless_prices import serverless_offer
from helpers.lab import InputError, offer
from helpers.lab.measuring.intervals import mean_interval

MONTH_S = 730 * 3600
LAMBDA, CLOUD_RUN, AZURE = "AWS Lambda x86_64", "GCP Cloud Run", "Azure Functions Consumption"
ENDPOINT = "Hugging Face Inference Endpoints (aws) intel-spr x2"


@pytest.mark.parametrize(("rate", "cold", "keep"), [(0.02, 30.0, 60.0), (0.2, 5.0, 2.0), (0.6, 0.0, 0.0)])
def test_the_billed_share_in_closed_form_is_the_simulated_one(rate, cold, keep):
    arrivals = poisson(rate, 60_000 / rate, seed=1)
    service = np.random.default_rng(2).exponential(1.0, len(arrivals))
    pool = run_pool(arrivals, service, cold, keep, max_instances=1)
    assert (pool.end_s - pool.start_s).sum() / arrivals[-1] == pytest.approx(billed_share(rate, 1.0, cold, keep),
                                                                             rel=0.02)


def test_the_break_even_of_lambda_worked_out_by_hand():
    result = break_even(serverless_offer(LAMBDA), offer("AWS m7i.large"), np.full(5, 0.1), memory_gib=2.0, places=2)
    per_request = 0.1 * 2 * 1.66667e-5 + 2e-7
    requests = (0.1008 * 730 + 400_000 * 1.66667e-5 + 1_000_000 * 2e-7) / per_request
    assert result.requests_per_s == pytest.approx(requests / MONTH_S)
    assert result.duty == pytest.approx(requests / MONTH_S * 0.1 / 2)


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


@pytest.mark.parametrize(("keep_warm_s", "duty"), [(600.0, None), (math.inf, 0.0)])
def test_an_instance_that_is_never_taken_down_costs_more_than_a_cheaper_machine_at_any_load(keep_warm_s, duty):
    """A GPU that is always there is paid all month: by formula as on a trace, a cheap machine wins at once."""
    arrivals, settings = poisson(0.2, 20_000, seed=3), {"cold_start_s": 5.0, "keep_warm_s": keep_warm_s}
    arrivals = np.append(arrivals, 20_000.0)
    service = np.full(len(arrivals), 0.2)
    gpu, machine = serverless_offer("GCP Cloud Run GPU NVIDIA L4"), offer("AWS m6i.large")
    duties = [break_even(gpu, machine, service, **settings).duty,
              break_even_on_trace(arrivals, service, gpu, machine, max_instances=1, **settings).duty]
    assert duties[0] == pytest.approx(duties[1], rel=0.05)
    assert duties == [0.0, 0.0] if duty == 0 else duties[0] > 0


def test_an_instance_that_is_hardly_ever_taken_down_is_billed_all_the_time():
    """Requests every tenth of a second, and an hour until it is taken down: no gap is so long."""
    assert billed_share(10.0, 0.05, 5.0, 3600.0) == 1.0
    assert billed_share(1e-6, 0.05, 5.0, math.inf) == 1.0
    assert billed_share(0.999999999 / 0.05, 0.05, 5.0, 600.0) == 1.0


@pytest.mark.parametrize(("arrivals", "settings", "message"), [
    ([], {}, "mean above 0"), ([0.0], {}, "span_s must be above 0"), ([0.0, 1.0], {"places": 0}, "one request at a")])
def test_traces_without_a_break_even_are_refused(arrivals, settings, message):
    with pytest.raises(InputError, match=message):
        break_even_on_trace(arrivals, np.ones(len(arrivals)), serverless_offer(CLOUD_RUN), offer("AWS m6i.large"),
                            cold_start_s=1.0, keep_warm_s=60.0, **settings)


def test_serverless_that_is_always_cheaper_has_no_break_even():
    result = break_even(serverless_offer(ENDPOINT), offer("AWS p5.48xlarge"), np.ones(3), cold_start_s=60)
    assert math.isinf(result.duty)


def test_a_load_that_one_instance_cannot_carry_is_refused():
    with pytest.raises(InputError, match="cannot carry"):
        billed_share(2, 1, 0, 0)


@pytest.mark.parametrize("name", [LAMBDA, CLOUD_RUN])
def test_a_break_even_does_not_depend_on_how_long_the_trace_is(name):
    """The same bursts for half an hour, two hours and eight: a cold start at the beginning is not paid all month."""
    machine, law = offer("AWS m6i.large"), np.random.default_rng(0).lognormal(math.log(0.08), 0.2, 500)
    settings = {"memory_gib": 3.5, "vcpus": 2.0, "cold_start_s": 5.0, "keep_warm_s": 600.0}
    on_paper = break_even(serverless_offer(name), machine, law, **settings).duty
    means, halves = [], []
    for hours in (0.5, 2.0, 8.0):
        duties = []
        for seed in range(4):
            arrivals = bursts(0.5, 3.5, 3600 * hours, seed=seed)
            work = np.random.default_rng(seed).choice(law, len(arrivals))
            duties.append(break_even_on_trace(arrivals, work, serverless_offer(name), machine, span_s=3600 * hours,
                                              **settings).duty)
        mean, low, high = mean_interval(duties)
        means.append(mean)
        halves.append((high - low) / 2)
        assert mean == pytest.approx(on_paper, rel=0.03)  # which leaves cold starts out
    for k in range(2):
        assert abs(means[k] - means[2]) <= halves[k] + halves[2] + 0.01 * on_paper
