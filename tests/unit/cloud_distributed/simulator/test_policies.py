"""Schedules, forecasts and a user's own function, and every policy in the simulator."""

import math
import os
import sys
from math import sqrt
from pathlib import Path

import numba
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
from helpers.cloud_distributed.traffic.generators import from_counts
from helpers.lab import InputError

RECORDINGS = Path(os.environ.get("TRACES", "none"))  # a folder with the two public recordings, to be fetched


def test_a_schedule_repeats_and_holds_over_midnight(driver_of):
    driver = driver_of(schedule({8 * 3600: 10, 20 * 3600: 3}, period_s=3600))
    day = [driver() for _ in range(24)]          # asked at 1, 2, ... 24 o'clock
    assert day == [3] * 7 + [10] * 12 + [3] * 5
    assert [driver() for _ in range(24)] == day


def test_a_forecast_is_ahead_of_the_second_morning():
    """Eight times the traffic from 8 to 20 o'clock, and ten minutes to start a replica: it helps to know yesterday."""
    hours = np.arange(48) % 24
    counts = np.random.default_rng(0).poisson(np.where((hours >= 8) & (hours < 20), 8.0, 1.0) * 3600)
    arrivals = from_counts(counts, 3600.0, 0)
    service = np.full(len(arrivals), 0.5)
    common = {"replicas": 2, "startup_s": 600, "max_replicas": 60}
    late = []
    for season_s in (86_400, 30 * 86_400):  # the second one never sees a season
        run = simulate(arrivals, service, Fleet(policy=predictive(2.0, 0.6, season_s, lead_s=900), **common))
        late.append(np.mean(run.latency_s[arrivals >= 86_400] > 5.0))
    assert late[0] < 0.1 * late[1]
    assert late[1] > 0.01


def test_a_forecast_scales_yesterday_by_how_today_compares(driver_of):
    """Yesterday 10 a second, from the 31st of 60 steps on 30; today twice as much."""
    driver = driver_of(predictive(1.0, 1.0, season_s=3600, lead_s=0, period_s=60))
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
    run = simulate(np.zeros(8), np.full(8, 100.0), Fleet(1, policy=policy, balancer="central", sample_s=1.0))
    frame = run.frame().set_index("t_s")["ready"]
    assert frame[29.0] == 1
    assert frame[31.0] == 4                                    # half of 8
    np.testing.assert_allclose(np.sort(run.latency_s), [100, 130, 130, 130, 200, 230, 230, 230])


def test_a_cells_function_scales_the_fleet_in_a_process_that_has_not_its_text():
    """numba keeps what it compiled from a cell by the cell's text, which only the kernel has."""
    names: dict = {}
    exec(compile("def double(signals, memory, parameters):\n    return 2 * signals.target\n", "<ipython-input-1-0>",
                 "exec"), names)
    fleet = Fleet(1, policy=Policy("mine", names["double"], period_s=10.0), max_replicas=8)
    assert simulate(np.zeros(8), np.full(8, 100.0), fleet).frame()["ready"].max() > 1


def test_a_function_that_cannot_be_compiled_is_refused():
    def gives_all_it_has(signals, memory, parameters):
        return parameters

    with pytest.raises(InputError, match="'gives_all_it_has' cannot be compiled"):
        simulate([0.0], [1.0], Fleet(policy=Policy("all", gives_all_it_has)))


SEEN = []


@numba.njit
def prints_inside(number):
    print(number)
    return number


def prints(signals, memory, parameters):
    print(signals.waiting)
    return signals.target


def opens(signals, memory, parameters):
    return float(open("replicas.txt").read())


def notes(signals, memory, parameters):
    SEEN.append(signals.waiting)
    return signals.target


def calls_what_prints(signals, memory, parameters):
    return prints_inside(signals.target)


def writes_a_text(signals, memory, parameters):
    return float(f"{signals.target}")


def raises(signals, memory, parameters):
    if signals.waiting > 1e9:
        raise ValueError
    return signals.target


def asserts(signals, memory, parameters):
    assert signals.waiting < 1e9
    return signals.target


def catches(signals, memory, parameters):
    try:
        return signals.waiting / parameters[0]
    except ZeroDivisionError:
        return signals.target


def imports(signals, memory, parameters):
    import time

    return time.time()


def waits_for_ever(signals, memory, parameters):
    while signals.waiting >= 0:
        memory[0] += 1
    return signals.target


def counts_for_years(signals, memory, parameters):
    for _ in range(10**12):
        memory[0] += 1
    return signals.target


def reads_beyond(signals, memory, parameters):
    return memory[1]


def misspells(signals, memory, parameters):
    return signals.wating


def knows_nothing(signals, memory, parameters):
    return unheard_of  # noqa: F821


@pytest.mark.parametrize(("decide", "said"), [
    (prints, "uses 'print'"), (opens, "uses 'open'"), (notes, "uses 'SEEN'"), (calls_what_prints, "uses 'print'"),
    (writes_a_text, "makes a text"), (raises, "raises an error"), (asserts, "raises an error"),
    (catches, "catches errors"), (imports, "imports something"), (waits_for_ever, "has a while loop"),
    (counts_for_years, "takes more than 300,000 steps"), (reads_beyond, "place that is not there .* memory has 1 "),
    (misspells, "has no attribute 'wating'"), (knows_nothing, "uses 'unheard_of', which is not defined")])
def test_a_function_that_would_stop_the_kernel_is_refused_before_it_runs(decide, said):
    """`print` in compiled code waits for Python's lock for ever, a fault ends the process, a loop cannot be ended."""
    traced = sys.gettrace()
    with pytest.raises(InputError, match=rf"function '(?:{decide.__name__}|prints_inside)' .*{said}"):
        Policy("mine", decide)
    assert sys.gettrace() is traced
    assert SEEN == []


def test_something_that_is_no_function_is_refused():
    with pytest.raises(InputError, match="needs a function written with def, not a float"):
        Policy("mine", 3.0)


@numba.njit
def doubled(number):
    return 2.0 * number


def test_what_needs_no_python_is_accepted():
    """Loops within loops, numpy, names of math, functions compiled before, numbers from around, infinite results."""
    most = 5.0

    def busy(signals, memory, parameters):
        total = 0.0
        for row in range(3):
            for column in range(4):
                if row > column:
                    continue
                total += row * column
        wanted = doubled(sqrt(np.ceil(total))) if memory[0] > 0 else 1.0 / memory[0]
        memory[0] += 1
        return min(most, max(wanted, math.floor(parameters[0])))

    run = simulate([0.0, 30.0], [1.0, 1.0], Fleet(1, policy=Policy("busy", busy, (1.0,), period_s=10.0), sample_s=1.0))
    assert run.frame().set_index("t_s")["target"][15.0] == 5


@pytest.mark.parametrize(("call", "message"), [
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
