"""Each autoscaler against its original's documentation or code."""

import __future__

import ast
import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.cloud_distributed import concurrency_target, queue_length, ray_serve, target_utilisation
from helpers.lab import InputError


@pytest.mark.parametrize(("ready", "starting", "utilisation", "target", "expected"), [
    (50, 0, 0.90, 0.75, 60),    # the example of kubernetes.io's post on tolerances (v1.33)
    (2, 0, 1.0, 0.5, 4),        # twice the target: twice the pods
    (10, 0, 0.54, 0.5, 10),     # 8 % off: within the tolerance of 10 %
    (10, 0, 0.56, 0.5, 12),     # 12 % off: 11.2, rounded up
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
    for _ in range(30):
        driver(2, ongoing=20)
    assert driver(2, ongoing=20) == 2
    assert [driver(2, ongoing=80) for _ in range(3)] == [4, 6, 8]     # mean of 6 s: 40, 60, 80
    calm = [driver(8, ongoing=5) for _ in range(40)]
    assert calm[:29] == [8] * 29                                      # until 60 s after the last alarm
    assert calm[-1] == 4                                              # half at a time: scale-down rate 2


def test_concurrency_target_wakes_and_sleeps(driver_of):
    driver = driver_of(concurrency_target(1, stable_s=60, period_s=2))
    assert driver(0, waiting=1) == 1
    assert driver(1, ongoing=1) >= 1
    assert [driver(1) for _ in range(31)][-1] == 0


def functions_of_ray() -> SimpleNamespace:
    """Ray's own functions, taken from its source: importing ray.serve needs web packages that have no part in them."""
    found = importlib.util.find_spec("ray")
    if found is None:
        pytest.skip("Ray is an option")
    source = Path(found.origin).parent / "serve" / "autoscaling_policy.py"
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
    (lambda: target_utilisation(0), "target between 0 and 1"),
    (lambda: queue_length(0), "more than 0 requests"),
    (lambda: concurrency_target(1, panic_s=90), "panic window within"),
    (lambda: ray_serve(-1), "positive figures"),
])
def test_settings_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
