"""Each autoscaler against its original's documentation or code."""

import __future__

import ast
import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.cloud_distributed import concurrency_target, queue_length, ray_serve, target_tracking, target_utilisation
from helpers.lab import InputError
from helpers.lab.facts import read_facts


@pytest.mark.parametrize(("ready", "starting", "utilisation", "target", "expected"), [
    (50, 0, 0.90, 0.75, 60),    # the example of kubernetes.io's post on tolerances (v1.33)
    (2, 0, 1.0, 0.5, 4),        # twice the target: twice the pods
    (10, 0, 0.54, 0.5, 10),     # 8% off: within the tolerance of 10%
    (10, 0, 0.56, 0.5, 12),     # 12% off: 11.2, rounded up
    (100, 0, 1.0, 0.2, 200),    # at most twice as many in 15 s
    (1, 0, 1.0, 0.2, 5),        # or four more
    (4, 4, 1.0, 0.5, 8),        # those that start count as idle: 8 are enough
    (0, 3, 0.0, 0.5, 3),        # nothing ready, nothing known
])
def test_target_utilisation_scales_up_as_kubernetes_does(driver_of, ready, starting, utilisation, target, expected):
    driver = driver_of(target_utilisation(target))
    assert driver(ready + starting, ready=ready, starting=starting, utilisation=utilisation) == expected


def test_target_utilisation_scales_down_to_the_highest_proposal_of_the_window(driver_of):
    """Proposals of 10 at 15 s and 4 from 30 s on: 10 stays in the window until 315 s."""
    driver = driver_of(target_utilisation(0.5, stabilisation_s=300))
    assert driver(10, utilisation=0.5) == 10
    answers = [driver(10, utilisation=0.2) for _ in range(21)]
    assert answers == [10] * 20 + [4]
    assert driver.now == 330.0


def test_target_utilisation_holds_what_there_is_for_its_first_window(driver_of):
    """Kubernetes notes the present replicas as a recommendation before its first (recordInitialRecommendation): 10
    replicas that are hardly busy stay 300 s from the first look at 15 s on."""
    driver = driver_of(target_utilisation(0.5))
    answers = [driver(10, utilisation=0.1) for _ in range(22)]
    assert answers[:20] == [10] * 20
    assert answers[20] == 2
    assert driver_of(target_utilisation(0.5, stabilisation_s=0))(10, utilisation=0.1) == 2


def test_queue_length_holds_what_there_is_for_its_first_window(driver_of):
    driver = driver_of(queue_length(5))
    assert [driver(6, waiting=10) for _ in range(21)] == [6] * 20 + [2]


def test_a_target_above_all_that_is_requested(driver_of):
    """Pods that request a quarter of what they may use, at 150% of that: 37.5% of the capacity."""
    driver = driver_of(target_utilisation(1.5, request=0.25))
    assert driver(4, utilisation=0.75) == 8
    assert driver(8, utilisation=0.375) == 8


class Kubernetes:
    """An HPA's last two steps again, with lists, for any behavior (autoscaling/v2 API reference; horizontal.go)."""

    def __init__(self, behavior, first):
        self.behavior, self.now, self.replicas = behavior, 0.0, first
        self.recommendations, self.events = [(-0.001, first)], []

    def __call__(self, desired):
        up = desired >= self.replicas
        window = self.behavior["scaleUp" if up else "scaleDown"]["stabilizationWindowSeconds"]
        recent = [number for at, number in self.recommendations if at >= self.now - window]
        stable = (min if up else max)([*recent, desired])
        self.recommendations.append((self.now, desired))
        rule = self.behavior["scaleUp" if stable > self.replicas else "scaleDown"]
        limits = []
        for policy in rule["policies"]:
            changed = sum(change for at, change in self.events if at > self.now - policy["periodSeconds"])
            start, value = self.replicas - changed, policy["value"]
            sign = 1 if stable > self.replicas else -1
            limits.append(start + sign * value if policy["type"] == "Pods" else
                          math.ceil(start * (100 + value) / 100) if sign > 0 else max(0, start * (100 - value)) // 100)
        chosen = {"Max": max, "Min": min}.get(rule["selectPolicy"]) if stable > self.replicas else \
            {"Max": min, "Min": max}.get(rule["selectPolicy"])
        limit = chosen(limits) if chosen else self.replicas
        if stable > self.replicas:
            new = min(stable, max(limit, self.replicas))
        else:
            new = max(stable, min(limit, self.replicas))
        new = max(1, new)
        if new != self.replicas:
            self.events.append((self.now, new - self.replicas))
        self.replicas, self.now = new, self.now + 15.0
        return new


@pytest.mark.parametrize("seed", range(40))
def test_any_behavior_of_a_manifest_is_followed(driver_of, seed):
    """Random rules over a random walk of the demand: each step as the lists say."""
    rng = np.random.default_rng(seed)

    def side(longest):
        return {"stabilizationWindowSeconds": int(rng.choice([0, 30, 60, longest])),
                "selectPolicy": str(rng.choice(["Max", "Min"] if seed % 5 else ["Max", "Disabled"])),
                "policies": [{"type": str(rng.choice(["Pods", "Percent"])), "value": int(rng.integers(1, 120)) // 3 + 1,
                              "periodSeconds": int(rng.choice([15, 45, 60, 300]))} for _ in range(rng.integers(1, 4))]}

    behavior = {"scaleUp": side(120), "scaleDown": side(300)}
    driver, expected, replicas = driver_of(target_utilisation(0.5, behavior=behavior)), Kubernetes(behavior, 8), 8
    demand = 4.0
    for _ in range(300):
        demand = float(np.clip(demand * rng.lognormal(0.0, 0.35), 0.2, 60.0))
        utilisation = min(1.0, demand / replicas)
        off = abs(utilisation / 0.5 - 1.0) > 0.1
        desired = max(1, math.ceil(replicas * utilisation / 0.5 - 1e-9)) if off else replicas
        answer = driver(replicas, utilisation=utilisation)
        assert answer == expected(desired)
        replicas = int(answer)


def test_what_was_removed_within_a_policys_period_may_come_back_at_once(driver_of):
    """The policy counts from the replicas at the start of its period, 10: not from the 4 that are left."""
    pods = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
    everything = {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                  "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}
    driver = driver_of(target_utilisation(0.5, behavior={"scaleUp": pods, "scaleDown": everything}))
    assert driver(10, utilisation=0.5) == 10
    assert driver(10, utilisation=0.2) == 4
    assert driver(4, utilisation=1.0) == 8
    assert driver(8, utilisation=1.0) == 12  # as many as the start of the period and two


def test_target_tracking_waits_for_three_minutes_above_and_fifteen_below(driver_of):
    driver = driver_of(target_tracking(0.5))
    assert [driver(4, utilisation=0.9) for _ in range(3)] == [4, 4, 8]       # 7.2, at the third minute
    assert driver(8, utilisation=0.9) == 15                                  # 14.4: beyond what it wanted before
    assert driver(15, ready=8, starting=7, utilisation=0.9) == 15            # and now no more, while that starts
    assert [driver(15, utilisation=0.46) for _ in range(20)] == [15] * 20    # between nine tenths of the target and it
    answers = [driver(15, utilisation=0.1) for _ in range(15)]
    assert answers == [15] * 14 + [3]
    assert [driver(3, utilisation=0.05) for _ in range(2)] == [3, 3]         # scale-in cooldown
    assert [driver(3, utilisation=1.0) for _ in range(3)] == [3, 3, 6]       # which does not hold up scaling out
    fixed = driver_of(target_tracking(0.5, disable_scale_in=True))
    assert [fixed(9, utilisation=0.0) for _ in range(30)] == [9] * 30


def test_the_lengths_of_aws_alarms_are_sourced_facts():
    """3 and 15 datapoints of a minute, 27% for a target of 30%: what ECS users see of alarms that AWS makes."""
    rows = {row["figure"]: row for row in read_facts("autoscalers")}
    assert {name: float(row["value"]) for name, row in rows.items()} == {
        "alarm_period_s": 60, "minutes_above": 3, "minutes_below": 15, "low_share": 27 / 30}
    assert all(row["as_of"] and (row["source_url"] or "Weak" in row["note"]) for row in rows.values())


def test_queue_length_divides_the_queue_by_the_target(driver_of):
    driver = driver_of(queue_length(5, stabilisation_s=0))
    assert driver(2, waiting=17, in_service=4) == 5
    assert driver(5, waiting=20, in_service=6) == 5   # 5.2: within the tolerance
    assert driver(5, waiting=6, in_service=1) == 2


def test_queue_length_goes_to_zero_after_its_cooldown_and_comes_back_when_it_polls(driver_of):
    driver = driver_of(queue_length(5, cooldown_s=60, stabilisation_s=0, polling_s=30, period_s=15))
    assert driver(1, in_service=1) == 1
    assert [driver(1) for _ in range(4)] == [1, 1, 1, 0]
    assert driver(0) == 0                # polls, and finds nothing
    assert driver(0, waiting=9) == 0     # does not poll yet
    assert driver(0, waiting=9) == 1


def test_concurrency_target_follows_the_stable_window_in_calm(driver_of):
    driver = driver_of(concurrency_target(10, stable_s=60, period_s=2))
    assert [driver(3, ongoing=28) for _ in range(30)] == [3] * 30
    falling = [driver(3, ongoing=10) for _ in range(30)]
    assert falling[0] == 3                                   # 27.4 on the mean of 60 s
    assert falling[-1] == 1                                  # 10
    means = [(28 * (29 - k) + 10 * (k + 1)) / 30 for k in range(30)]
    assert falling == [math.ceil(mean / 10) for mean in means]


def test_concurrency_target_panics_on_a_burst_and_gives_nothing_up_for_a_stable_window(driver_of):
    driver = driver_of(concurrency_target(10, stable_s=60, panic_s=6, period_s=2))
    for _ in range(31):
        driver(2, ongoing=20)
    assert driver(2, ongoing=20) == 2
    assert [driver(2, ongoing=80) for _ in range(3)] == [4, 6, 8]     # mean of 6 s: 40, 60, 80
    calm = [driver(8, ongoing=5) for _ in range(40)]
    assert calm[:29] == [8] * 29                                      # until 60 s after the last alarm
    assert calm[-1] == 4                                              # half at a time: scale-down rate 2


def test_concurrency_target_starts_in_panic_with_more_than_one_replica(driver_of):
    """Nothing is given up before a stable window of 60 s has passed; one replica alone starts in calm."""
    driver = driver_of(concurrency_target(10, stable_s=60, period_s=2))
    answers = [driver(6, ongoing=5) for _ in range(31)]
    assert answers == [6] * 30 + [3]      # at 62 s, half at a time
    alone = driver_of(concurrency_target(10, stable_s=60, period_s=2))
    assert [alone(1) for _ in range(30)] == [1] * 29 + [0]   # active for a stable window before it may go


def test_concurrency_target_wakes_and_sleeps(driver_of):
    driver = driver_of(concurrency_target(1, stable_s=60, period_s=2))
    assert driver(0, waiting=1) == 1
    assert driver(1, ongoing=1) >= 1
    assert [driver(1) for _ in range(31)][-1] == 0


def functions_of_ray() -> SimpleNamespace:
    """Ray's own functions, taken from its source: importing ray.serve needs web packages that have no part in them."""
    result = importlib.util.find_spec("ray")
    if result is None:
        pytest.skip("Ray is an option")
    source = Path(result.origin).parent / "serve" / "autoscaling_policy.py"
    wanted = ("_apply_scaling_factors", "_apply_delay_logic", "_DELAY_ELAPSED_EPS_S")
    body = [node for node in ast.parse(source.read_text(encoding="utf-8")).body
            if getattr(node, "name", None) in wanted
            or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in wanted)]
    names = {"math": math, "SERVE_AUTOSCALING_DECISION_COUNTERS_KEY": "count",
             "SERVE_AUTOSCALING_DECISION_TIMESTAMP_KEY": "since"}
    exec(compile(ast.Module(body, []), str(source), "exec", __future__.annotations.compiler_flag), names)
    return SimpleNamespace(**{name: names[name] for name in wanted})


def test_ray_serve_decides_as_ray_does(driver_of):
    """Over a random walk of ongoing requests, replicas starting at once."""
    ray = functions_of_ray()
    config = SimpleNamespace(upscale_delay_s=3.0, downscale_delay_s=6.0, downscale_to_zero_delay_s=None,
                             get_upscaling_factor=lambda: 0.8, get_downscaling_factor=lambda: 0.3)
    driver = driver_of(ray_serve(2.0, 3.0, 6.0, 30.0, upscaling_factor=0.8, downscaling_factor=0.3, period_s=1.0))
    rng = np.random.default_rng(0)
    levels = np.repeat(rng.choice([0.0, 3.0, 12.0, 40.0], 60), 30)
    state, target, seen, changes = {}, 1, [], 0
    for ongoing in levels * rng.uniform(0.7, 1.3, len(levels)):
        seen.append(ongoing)
        mean = float(np.mean(seen[-30:]))
        if target == 0:
            expected = 1 if mean > 0 else 0  # Ray's cold start: ceil(1 * upscaling factor)
        else:
            scaled = ray._apply_scaling_factors(mean / 2.0, target, config)
            expected, state = ray._apply_delay_logic(max(0, scaled), target, config, state, driver.now + 1.0)
        assert driver(target, ongoing=ongoing) == expected
        changes += expected != target
        target = expected
    assert changes > 50


@pytest.mark.parametrize(("call", "message"), [
    (lambda: target_utilisation(0), "target above 0"),
    (lambda: target_utilisation(period_s=0), "more than 0, not 0"),
    (lambda: target_utilisation(request=1.5), "request above 0 and at most 1"),
    (lambda: target_utilisation(behavior={"scaleup": {}}), "Unknown rule 'scaleup' in behavior"),
    (lambda: target_utilisation(behavior={"scaleUp": {"policy": []}}), "Unknown entry 'policy' in scaleUp"),
    (lambda: target_utilisation(behavior={"scaleUp": {"selectPolicy": "max"}}), "Unknown selectPolicy 'max'"),
    (lambda: target_utilisation(behavior={"scaleDown": {"policies": []}}), "needs one policy or more"),
    (lambda: target_utilisation(behavior={"scaleDown": {"policies": [{"type": "Pods", "value": 0,
                                                                      "periodSeconds": 60}]}}), "A policy of behavior"),
    (lambda: target_tracking(1.2), "target between 0 and 1"),
    (lambda: queue_length(0), "more than 0 requests"),
    (lambda: concurrency_target(1, panic_s=90), "panic window within"),
    (lambda: ray_serve(-1), "positive figures"),
])
def test_settings_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
