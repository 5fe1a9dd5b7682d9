"""The policies for language models, called as the simulator does with signals by hand, and inside of a fleet."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.cloud_distributed import LlmFleet, ServingEngine, bursts, serve_llm, serving_target
from helpers.lab import InputError

ENGINE = ServingEngine((0.0, 2e-5, 2e-5, 1e-9), (5e-3, 0.0, 1e-4, 3e-8), 0.001, 40_000)
SIGNALS = {"ready": 4, "starting": 0, "waiting": 30, "in_service": 50, "tokens": 90_000, "kv_use": 0.9, "ttft_s": 1.5}


def decided(policy, seen, memory=None):
    memory = np.zeros(policy.memory) if memory is None else memory
    signals = SimpleNamespace(now_s=60.0, elapsed_s=15.0, arrived=0, ongoing=0, utilisation=1.0,
                              **SIGNALS | {"target": 4} | seen)
    return policy.decide(signals, memory, np.array(policy.parameters, float))


@pytest.mark.parametrize(("metric", "target", "replicas"), [
    ("tokens", 10_000, 9), ("kv use", 0.6, 6), ("ttft", 0.5, 12), ("requests", 16, 5), ("requests", 20, 4),
    ("requests", 21, 4)])  # 80 / 21 is within a tenth of 4
def test_replicas_follow_from_the_metric_by_hand(metric, target, replicas):
    assert decided(serving_target(metric, target), {}) == replicas


def test_replicas_are_given_up_when_the_whole_window_asked_for_fewer():
    policy = serving_target("requests", 10, stabilisation_s=45.0)
    memory, present = np.zeros(policy.memory), 8
    seen = []
    for running in (80, 20, 20, 20, 20, 20, 20):
        present = decided(policy, {"waiting": 0, "in_service": running, "ready": present, "target": present}, memory)
        seen.append(present)
    assert seen == [8, 8, 8, 8, 2, 2, 2]


def test_full_memory_asks_for_no_more_than_its_target_allows():
    """However many wait: the share ends at 1, so 4 replicas become 5 at a target of 0.8."""
    for waiting in (10, 10_000):
        assert decided(serving_target("kv use", 0.8), {"kv_use": 1.0, "waiting": waiting}) == 5


@pytest.mark.parametrize(("metric", "target"), [("tokens", 20_000), ("kv use", 0.5), ("ttft", 0.3), ("requests", 20)])
def test_each_metric_scales_a_fleet_up_in_a_burst_and_down_after_it(metric, target):
    arrivals = bursts(2.0, 30.0, 1800.0, seed=1, quiet_s=300.0, busy_s=120.0)
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(200, 2000, len(arrivals)), rng.integers(50, 400, len(arrivals))
    fleet = LlmFleet(ENGINE, policy=serving_target(metric, target, stabilisation_s=60.0), startup_s=20.0)
    scaled = serve_llm(arrivals, prompt, output, fleet)
    alone = serve_llm(arrivals, prompt, output, LlmFleet(ENGINE))
    ready = scaled.frame()["ready"]
    assert ready.max() > 1
    assert scaled.counts["answered"] == len(arrivals)
    assert scaled.summary()["p95_ttft_s"] < alone.summary()["p95_ttft_s"]
    assert scaled.replica_hours["on_demand"] < ready.max() * scaled.end_s / 3600


@pytest.mark.parametrize("metric", ["tokens", "kv use", "ttft", "requests"])
def test_a_fleet_that_may_stop_makes_the_next_request_wait_for_a_decision_and_a_start(metric):
    """Decisions at each 15th second, a window of 60 s: the one at 3,602 s is seen at 3,615 and served from 3,645 on."""
    policy = serving_target(metric, 0.5, stabilisation_s=60.0)
    fleet = LlmFleet(ENGINE, policy=policy, startup_s=30.0, min_replicas=0, max_replicas=1)
    run = serve_llm([1.0, 3602.0], [100, 100], [10, 10], fleet)
    alone_s = run.ttft_s[0]
    assert run.ttft_s[1] == pytest.approx(3645 - 3602 + alone_s)
    assert run.counts["answered"] == 2
    # from 0 s to the decision at which the whole window asked for none, then from 3,615 s to the last answer
    assert run.replica_hours["on_demand"] * 3600 == pytest.approx(75 + 30 + run.end_s - 3645, abs=15.1)
    never = serve_llm([1.0, 3602.0], [100, 100], [10, 10], dataclasses.replace(fleet, min_replicas=1))
    assert never.ttft_s[1] == pytest.approx(alone_s)
    assert never.replica_hours["on_demand"] * 3600 == pytest.approx(never.end_s)


def test_no_first_token_in_a_period_is_no_reason_to_stop_while_requests_wait():
    policy = serving_target("ttft", 0.5, stabilisation_s=0.0)
    memory, nobody = np.zeros(policy.memory), {"waiting": 0, "in_service": 0}
    assert decided(policy, {"ttft_s": 0.0}, memory) == 4
    assert decided(policy, {"ttft_s": 0.0}, memory) == 4
    assert decided(policy, {"ttft_s": 0.0} | nobody, memory) == 0


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serving_target("cpu", 0.7), "Unknown metric 'cpu'"), (lambda: serving_target("kv use", 1.2), "at most 1"),
    (lambda: serving_target("ttft", 0.0), "above 0"), (lambda: serving_target("ttft", 1.0, period_s=0.0), "above 0")])
def test_policies_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
