"""The policies for language models, called as the simulator does with signals by hand, and inside of a fleet."""

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


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serving_target("cpu", 0.7), "Unknown metric 'cpu'"), (lambda: serving_target("kv use", 1.2), "at most 1"),
    (lambda: serving_target("ttft", 0.0), "above 0"), (lambda: serving_target("ttft", 1.0, period_s=0.0), "above 0")])
def test_policies_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
