"""Each policy against its original's documentation or code, and in the simulator as in plain Python."""

import __future__

import ast
import importlib.util
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.cloud_distributed import (
    Fleet,
    Policy,
    ServiceTimes,
    concurrency_target,
    poisson,
    predictive,
    queue_length,
    ray_serve,
    read_trace,
    schedule,
    simulate,
    target_utilisation,
)
from helpers.cloud_distributed.traffic.generators import with_rate
from helpers.lab import InputError

RECORDINGS = Path(os.environ.get("TRACES", "none"))  # a folder with the two public recordings, to be fetched


class Driver:
    """Calls a policy as the simulator does, with signals that a test chooses."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.now = policy, 0.0
        self.memory, self.parameters = np.zeros(policy.memory), np.array(policy.parameters, float)

    def __call__(self, target: float = 1, **seen: float) -> float:
        self.now += self.policy.period_s
        signals = {"ready": target, "starting": 0, "waiting": 0, "in_service": 0, "arrived": 0, "ongoing": 0,
                   "utilisation": 0} | seen
        return self.policy.decide(SimpleNamespace(now_s=self.now, elapsed_s=self.policy.period_s, target=target,
                                                  **signals), self.memory, self.parameters)


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
def test_target_utilisation_scales_up_as_kubernetes_does(ready, starting, utilisation, target, expected):
    driver = Driver(target_utilisation(target))
    assert driver(ready + starting, ready=ready, starting=starting, utilisation=utilisation) == expected


def test_target_utilisation_scales_down_to_the_highest_proposal_of_the_window():
    """Proposals of 10 at 15 s and 4 from 30 s on: 10 stays in the window until 315 s."""
    driver = Driver(target_utilisation(0.5, stabilisation_s=300))
    assert driver(10, utilisation=0.5) == 10
    answers = [driver(10, utilisation=0.2) for _ in range(21)]
    assert answers == [10] * 20 + [4]
    assert driver.now == 330.0


def test_queue_length_divides_the_queue_by_the_target():
    driver = Driver(queue_length(5, stabilisation_s=0))
    assert driver(2, waiting=17, in_service=4) == 5
    assert driver(5, waiting=20, in_service=6) == 5   # 5.2: within the tolerance
    assert driver(5, waiting=6, in_service=1) == 2


def test_queue_length_goes_to_zero_after_its_cooldown_and_comes_back_when_it_polls():
    driver = Driver(queue_length(5, cooldown_s=60, stabilisation_s=0, polling_s=30, period_s=15))
    assert driver(1, in_service=1) == 1
    assert [driver(1) for _ in range(4)] == [1, 1, 1, 0]
    assert driver(0) == 0                # polls, and finds nothing
    assert driver(0, waiting=9) == 0     # does not poll yet
    assert driver(0, waiting=9) == 1


def test_concurrency_target_follows_the_stable_window_in_calm():
    driver = Driver(concurrency_target(10, stable_s=60, period_s=2))
    assert [driver(3, ongoing=28) for _ in range(30)] == [3] * 30
    falling = [driver(3, ongoing=10) for _ in range(30)]
    assert falling[0] == 3                                   # 27.4 on the mean of 60 s
    assert falling[-1] == 1                                  # 10
    means = [(28 * (29 - k) + 10 * (k + 1)) / 30 for k in range(30)]
    assert falling == [math.ceil(mean / 10) for mean in means]


def test_concurrency_target_panics_on_a_burst_and_gives_nothing_up_for_a_stable_window():
    driver = Driver(concurrency_target(10, stable_s=60, panic_s=6, period_s=2))
    for _ in range(30):
        driver(2, ongoing=20)
    assert driver(2, ongoing=20) == 2
    assert [driver(2, ongoing=80) for _ in range(3)] == [4, 6, 8]     # mean of 6 s: 40, 60, 80
    calm = [driver(8, ongoing=5) for _ in range(40)]
    assert calm[:29] == [8] * 29                                      # until 60 s after the last alarm
    assert calm[-1] == 4                                              # half at a time: scale-down rate 2


def test_concurrency_target_wakes_and_sleeps():
    driver = Driver(concurrency_target(1, stable_s=60, period_s=2))
    assert driver(0, waiting=1) == 1
    assert driver(1, ongoing=1) >= 1
    assert [driver(1) for _ in range(31)][-1] == 0


def test_a_schedule_repeats_and_holds_over_midnight():
    driver = Driver(schedule({8 * 3600: 10, 20 * 3600: 3}, period_s=3600))
    day = [driver() for _ in range(24)]          # asked at 1, 2, ... 24 o'clock
    assert day == [3] * 7 + [10] * 12 + [3] * 5
    assert [driver() for _ in range(24)] == day


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


def test_ray_serve_decides_as_ray_does():
    """Over a random walk of ongoing requests, replicas starting at once."""
    ray = functions_of_ray()
    config = SimpleNamespace(upscale_delay_s=3.0, downscale_delay_s=6.0, downscale_to_zero_delay_s=None,
                             get_upscaling_factor=lambda: 0.8, get_downscaling_factor=lambda: 0.3)
    driver = Driver(ray_serve(2.0, 3.0, 6.0, 30.0, upscaling_factor=0.8, downscaling_factor=0.3, period_s=1.0))
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


def test_a_forecast_is_ahead_of_the_second_morning():
    """Eight times the traffic from 8 to 20 o'clock, and ten minutes to start a replica: it helps to know yesterday."""
    arrivals = with_rate(lambda t: np.where(np.abs(t % 86_400 - 14 * 3600) < 6 * 3600, 8.0, 1.0), 8.0, 2 * 86_400, 0)
    service = np.full(len(arrivals), 0.5)
    common = {"replicas": 2, "startup_s": 600, "max_replicas": 60}
    late = []
    for season_s in (86_400, 30 * 86_400):  # the second one never sees a season
        run = simulate(arrivals, service, Fleet(policy=predictive(2.0, 0.6, season_s, lead_s=900), **common))
        late.append(np.mean(run.latency_s[arrivals >= 86_400] > 5.0))
    assert late[0] < 0.1 * late[1]
    assert late[1] > 0.01


def test_a_forecast_scales_yesterday_by_how_today_compares():
    """Yesterday 10 a second, from the 31st of 60 steps on 30; today twice as much."""
    driver = Driver(predictive(1.0, 1.0, season_s=3600, lead_s=0, period_s=60))
    for step in range(60):
        driver(arrived=60 * (10 if step < 30 else 30))
    answers = [driver(arrived=60 * (20 if step < 30 else 60)) for step in range(30)]
    assert answers[20] == pytest.approx(20, rel=0.05)
    assert answers[29] == pytest.approx(60, rel=0.05)  # sees the jump of the next step


POLICIES = [target_utilisation(0.6), queue_length(3), concurrency_target(0.8), ray_serve(1.5, period_s=1.0),
            predictive(5.0, season_s=1800.0), schedule({0: 4, 900: 8}, cycle_s=1800)]


@pytest.mark.parametrize("policy", POLICIES, ids=[one.name for one in POLICIES])
def test_each_policy_holds_a_load_that_three_replicas_can_serve(policy):
    arrivals = poisson(10, 4000, 0)
    run = simulate(arrivals, np.full(len(arrivals), 0.2), Fleet(2, policy=policy, startup_s=5, max_replicas=20))
    assert run.counts["answered"] == len(arrivals)
    assert run.late(5.0) < 0.05
    assert 2.0 <= run.replica_hours["on_demand"] / (run.end_s / 3600) <= 12


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="set TRACES to a folder with the recordings: they are not shipped")
@pytest.mark.parametrize("name", ["AzureLLMInferenceTrace_code.csv", "nab_elb_request_count_8c0756.csv"])
def test_real_traffic_runs_through_every_policy_and_nothing_is_lost(name):
    arrivals = read_trace(RECORDINGS / name).arrivals
    rng = np.random.default_rng(0)
    times = ServiceTimes({1: rng.gamma(4.0, 0.1, 500), 4: rng.gamma(4.0, 0.25, 500)})
    for policy in POLICIES:
        fleet = Fleet(1, policy=policy, startup_s=40, timeout_s=20, queue_limit=500, batch_size=4, spot_share=0.5,
                      interruptions_per_hour=0.5, failures_per_hour=0.1)
        run = simulate(arrivals, times, fleet)
        assert sum(run.counts.values()) == len(arrivals)
        assert run.counts["answered"] > 0.5 * len(arrivals)


def half_of_the_queue(signals, memory, parameters):
    """A policy as a user writes it."""
    memory[0] += 1
    if memory[0] < 3:
        return math.nan  # no change
    return parameters[0] * (signals.waiting + signals.in_service)


def test_a_users_own_function_scales_the_fleet():
    policy = Policy("mine", half_of_the_queue, parameters=(0.5,), period_s=10.0)
    run = simulate(np.zeros(8), np.full(8, 100.0), Fleet(1, policy=policy, sample_s=1.0))
    frame = run.frame().set_index("t_s")["ready"]
    assert frame[29.0] == 1
    assert frame[31.0] == 4                                    # half of 8
    np.testing.assert_allclose(np.sort(run.latency_s), [100, 130, 130, 130, 200, 230, 230, 230])


def test_a_function_that_cannot_be_compiled_is_refused():
    def reads_a_file(signals, memory, parameters):
        return float(open("replicas.txt").read())

    with pytest.raises(InputError, match="'reads_a_file' cannot be compiled"):
        simulate([0.0], [1.0], Fleet(policy=Policy("file", reads_a_file)))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: target_utilisation(0), "target between 0 and 1"),
    (lambda: queue_length(0), "more than 0 requests"),
    (lambda: concurrency_target(1, panic_s=90), "panic window within"),
    (lambda: ray_serve(-1), "positive figures"),
    (lambda: schedule({}), "one or more seconds"),
    (lambda: schedule({90_000: 1}), "from 0 to below 86400"),
    (lambda: predictive(0), "positive capacity"),
    (lambda: predictive(1, season_s=100, period_s=60), "two or more periods"),
    (lambda: Policy("x", half_of_the_queue, period_s=0), "period of more than 0"),
    (lambda: Policy("x", half_of_the_queue, (math.nan,)), "finite numbers"),
])
def test_settings_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
