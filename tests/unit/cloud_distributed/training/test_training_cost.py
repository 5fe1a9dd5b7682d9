"""Checkpoint intervals against optimization and simulation; what a run costs on demand and on spot machines."""

import math

import pytest
from scipy.optimize import minimize_scalar

from helpers.cloud_distributed.training import training_cost
from helpers.lab import InputError, offer, offers


@pytest.mark.parametrize(("checkpoint", "between"), [(30.0, 36_000.0), (120.0, 7_200.0), (300.0, 1_800.0)])
def test_dalys_interval_is_the_best_one(checkpoint, between):
    def mean(interval):
        return training_cost.expected_run_s(100 * interval, interval, checkpoint, 60, between) / (100 * interval)

    best = minimize_scalar(mean, bounds=(1, 10 * between), method="bounded").fun
    assert mean(training_cost.daly_interval(checkpoint, between)) == pytest.approx(best, rel=0.002)
    assert training_cost.young_interval(checkpoint, between) == math.sqrt(2 * checkpoint * between)


def test_simulated_runs_take_as_long_as_dalys_model_says_and_are_best_at_his_interval():
    work, checkpoint, restart, between = 40_000.0, 60.0, 180.0, 5_000.0
    daly = training_cost.daly_interval(checkpoint, between)
    means = {}
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        seconds = training_cost.simulate_runs(work, factor * daly, checkpoint, restart, between, runs=20_000)
        means[factor] = seconds.mean()
        expected = training_cost.expected_run_s(work, factor * daly, checkpoint, restart, between)
        assert means[factor] == pytest.approx(expected, abs=4 * seconds.std() / math.sqrt(len(seconds)))
    assert min(means, key=means.get) == 1.0


def test_without_failures_only_the_checkpoints_are_added():
    seconds = training_cost.simulate_runs(1000, 300, 10, 60, 1e12, runs=3)
    assert seconds.tolist() == [1040, 1040, 1040]  # after 300, 600, 900 and in the end
    assert training_cost.expected_run_s(1000, 300, 10, 60, 1e12) == pytest.approx(1040)


def test_a_spot_run_is_priced_by_its_mean_time():
    machine = offer("AWS c7g.xlarge")  # its interruption band is "<5%"
    alone = training_cost.hours_between_interruptions(machine)
    assert math.exp(-730 / alone) == pytest.approx(0.95)
    run = training_cost.spot_run(machine, 100, workers=8, checkpoint_s=60, restart_s=300)
    seconds = training_cost.simulate_runs(360_000, run.interval_s, 60, 300, alone / 8 * 3600, runs=4000)
    assert run.hours == pytest.approx(seconds.mean() / 3600, rel=0.005)
    assert run.usd == pytest.approx(run.hours * 8 * 0.0551)


def test_every_offer_of_an_accelerator_is_priced_or_says_why_not():
    frame = training_cost.training_costs(10, 4, checkpoint_s=30, restart_s=120, accelerator="NVIDIA T4")
    assert len(frame) == 2 * sum(one.accelerator == "NVIDIA T4" for one in offers().values())
    cells = frame.set_index(["offer", "kind"])
    assert cells["usd"]["AWS g4dn.xlarge", "on demand"] == pytest.approx(10 * 4 * 0.526)
    assert cells["kg"]["AWS g4dn.xlarge", "on demand"] == pytest.approx(10 * 4 * 0.104 * 1.15 * 0.39625)  # 104 W
    assert math.isnan(cells["usd"]["Azure Standard_NC4as_T4_v3", "spot"])
    assert "no sourced spot price" in cells["note"]["Azure Standard_NC4as_T4_v3", "spot"]
    assert frame["source_url"].str.startswith("https://").all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: training_cost.spot_run(offer("AWS g5.xlarge"), 1, checkpoint_s=1, restart_s=1), "more than 20% a month"),
    (lambda: training_cost.spot_run(offer("GCP g2-standard-4"), 1, checkpoint_s=1, restart_s=1), "is not sourced"),
    (lambda: training_cost.training_costs(1, checkpoint_s=1, restart_s=1, accelerator="X"),
     "Choose one of: AWS Inferentia2"),
    (lambda: training_cost.on_demand_run(offer("AWS g5.xlarge"), 0), "0 hours"),
    (lambda: training_cost.young_interval(0, 5), "checkpoint_s must be above 0"),
    (lambda: training_cost.expected_run_s(1e6, 1e6, 1, 1, 10), "save more often"),
])
def test_what_makes_no_sense_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
