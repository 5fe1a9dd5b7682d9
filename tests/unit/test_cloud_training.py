"""Workers that train together: the exchange, memory on paper, checkpoints and what a run costs."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from helpers.cloud_distributed.training import checkpoints, communication, memory
from helpers.cloud_distributed.training import training_cost as run_costs
from helpers.cloud_distributed.training.data_parallel import (
    Settings,
    measured_overlap,
    predicted_step_s,
    train_distributed,
)
from helpers.cloud_distributed.training.workers import run_workers
from helpers.lab import InputError, offer, offers
from helpers.lab.errors import Cancelled
from helpers.lab.progress import Progress

SMALL = {"width": 48, "layers": 2, "steps": 12}


@pytest.fixture(scope="module")
def runs():
    """The same 64 rows a step: by one worker, by two that accumulate twice, by two that send bf16."""
    return {"one": train_distributed(1, Settings(batch=64, **SMALL)),
            "two": train_distributed(2, Settings(batch=16, accumulate=2, **SMALL)),
            "bf16": train_distributed(2, Settings(batch=32, compress=True, **SMALL))}


def test_two_workers_that_accumulate_learn_what_one_learns(runs):
    np.testing.assert_allclose(runs["two"].weights, runs["one"].weights, atol=2e-5)
    np.testing.assert_allclose(runs["two"].losses, runs["one"].losses, rtol=1e-4)
    assert runs["one"].losses[-1] < runs["one"].losses[0]
    assert runs["one"].gradient_bytes == 4 * (64 * 48 + 48 + 48 * 48 + 48 + 48 * 10 + 10)


def test_gradients_sent_as_bf16_teach_nearly_the_same(runs):
    moved = np.linalg.norm(runs["one"].weights - runs["bf16"].weights)
    assert 0 < moved < 0.02 * np.linalg.norm(runs["one"].weights)  # bf16 keeps 8 bits, so it cannot be the same


def test_each_step_is_timed_with_and_without_exchange(runs):
    for run in runs.values():
        assert run.step_s.shape == run.compute_s.shape == (12,)
        assert min(run.step_s.min(), run.compute_s.min()) > 0
        assert run.rows_per_s == pytest.approx(64 / np.median(run.step_s))


def test_the_overlap_is_what_the_model_needs_to_match_a_run(runs):
    link = communication.Link.given(1e-3, 1e9, "a test")
    exchange = 2e-3 + runs["two"].gradient_bytes / 1e9
    for visible in (0.25 * exchange, exchange, 3 * exchange):
        run = dataclasses.replace(runs["two"], compute_s=np.full(12, 0.1), step_s=np.full(12, 0.1 + visible))
        assert measured_overlap(run, link) == pytest.approx(1 - visible / exchange)
        assert predicted_step_s(run, link, measured_overlap(run, link))[0] == pytest.approx(0.1 + visible)
    half = dataclasses.replace(run, settings=runs["bf16"].settings)
    assert predicted_step_s(half, link)[0] == pytest.approx(0.1 + 2e-3 + run.gradient_bytes / 2e9)
    with pytest.raises(InputError, match="One worker exchanges nothing"):
        measured_overlap(runs["one"], link)


def test_workers_know_each_other_and_results_come_by_rank():
    def sum_of_ranks():
        import torch
        import torch.distributed as dist

        ranks = torch.tensor([float(dist.get_rank())])
        dist.all_reduce(ranks)
        return dist.get_rank(), dist.get_world_size(), ranks.item()

    assert run_workers(sum_of_ranks, 2) == [(0, 2, 1.0), (1, 2, 1.0)]


def test_a_workers_failure_reaches_the_caller_and_ends_its_partner():
    def one_fails():
        import torch.distributed as dist

        if dist.get_rank() == 1:
            raise KeyError("no such layer")
        dist.barrier()  # the other waits for it

    with pytest.raises(RuntimeError, match="no such layer"):
        run_workers(one_fails, 2, timeout_s=60)


def test_a_run_of_workers_can_be_cancelled_and_refuses_nonsense():
    with pytest.raises(Cancelled):
        run_workers(lambda: None, 1, progress=Progress(cancelled=lambda: True))
    with pytest.raises(InputError, match="counted from 1"):
        run_workers(lambda: None, 0)
    with pytest.raises(InputError, match="counted from 1"):
        train_distributed(1, Settings(batch=0))


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_the_ring_sends_as_much_as_one_that_is_played_through(workers):
    chunks = np.random.default_rng(0).integers(0, 9, (workers, workers)).astype(float)  # [worker, chunk]
    held, rounds, sent = chunks.copy(), 0, 0
    for adds in (True, False):  # first sums go round, then whole sums
        for turn in range(workers - 1):
            before = held.copy()
            for worker in range(workers):
                chunk = (worker - turn + (not adds)) % workers
                to = (worker + 1) % workers
                held[to, chunk] = before[worker, chunk] + (before[to, chunk] if adds else 0)
            rounds, sent = rounds + 1, sent + 1
    np.testing.assert_array_equal(held, np.tile(chunks.sum(axis=0), (workers, 1)))
    count, latency, speed = 6e6, 3e-4, 2e9
    expected = rounds * latency + sent * (count / workers) / speed
    assert communication.ring_allreduce_s(count, workers, latency, speed) == pytest.approx(expected)


def test_a_known_link_is_found_in_noisy_times_and_its_interval_covers_it():
    sizes, rng = communication.SIZES, np.random.default_rng(0)
    true = np.array([2 * 2e-4 + size / 1.2e9 for size in sizes])
    link = communication.fit_link(sizes, true * rng.lognormal(0, 0.15, (40, len(sizes))), 2, "a test")
    assert (link.latency_s, link.bytes_per_s) == pytest.approx((2e-4, 1.2e9), rel=0.1)
    low, high = np.quantile(link.draws, [0.005, 0.995], axis=0)
    assert (low <= [2e-4, 1.2e9]).all()
    assert (high >= [2e-4, 1.2e9]).all()


def test_times_that_do_not_grow_with_the_bytes_are_refused_and_noise_alone_is_not():
    with pytest.raises(InputError, match="do not grow with the bytes"):
        communication.fit_link([10_000, 10_000_000], np.full((5, 2), 1e-3), 2, "a test")
    noisy = np.array([[1e-3, 9e-3], [1e-3, 9e-3], [1e-3, 9e-3], [5e-3, 1e-3], [5e-3, 1e-3]])
    link = communication.fit_link([10_000, 10_000_000], noisy, 2, "a test")
    assert math.isfinite(link.bytes_per_s)
    assert np.isinf(link.draws[:, 1]).any()
    assert communication.step_s(0.1, 1e6, 2, link)[1] >= 0.1


def test_the_link_of_this_machine_is_measured():
    found = communication.calibrate(sizes=(2**14, 2**18, 2**22), rounds=6, compress=True)
    assert "in bf16" in found.link.source
    assert found.link.bytes_per_s > 1e6
    assert found.frame["low_ms"].gt(0).all()
    assert found.frame["measured_ms"].iloc[2] > found.frame["measured_ms"].iloc[0]
    assert "GB/s" in found.sentence()


def test_two_workers_on_a_slow_link_are_slower_than_one():
    slow = communication.Link.given(1e-3, 1e7, "100 Mbit/s, nominal")
    frame = communication.scaling(0.1, 9e6, slow, workers=(1, 2, 1024)).set_index("workers")
    assert frame["speedup"][1] == 1
    assert frame["speedup"][2] == pytest.approx(2 * 0.1 / (0.1 + 2 * 2 * 1e-3 + 0.9))  # in two buckets
    assert communication.slowest_useful_link(0.1, 9e6) == pytest.approx(9e7)
    assert frame["step_s"][1024] == pytest.approx(0.1 + 2 * 2 * 1023 * 1e-3 + 2 * 1023 / 1024 * 0.9)


def test_an_exchange_hides_behind_the_backward_pass_only():
    link = communication.Link.given(0, 1e9, "a test")
    assert communication.step_s(0.3, 1e8, 2, link, overlap=1.0, calls=1)[0] == pytest.approx(0.3)
    assert communication.step_s(0.3, 1e9, 2, link, overlap=1.0, calls=1)[0] == pytest.approx(0.3 + 1.0 - 0.2)


def test_uncertainty_of_the_link_reaches_the_extrapolation():
    link = communication.Link(1e-4, 1e9, np.array([[5e-5, 2e9], [1e-4, 1e9], [2e-4, 5e8]]), "a test")
    last = communication.scaling(0.1, 1e8, link).iloc[-1]
    assert last["workers"] == 1024
    assert last["speedup_low"] < last["speedup"] < last["speedup_high"]


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.88)])
def test_memory_is_that_of_figure_1_of_the_zero_paper(stage, gigabytes):
    found = memory.training_memory(7.5e9, workers=64, stage=stage)
    assert found.total / 1e9 == pytest.approx(gigabytes, rel=0.005)
    assert memory.STAGES[stage] in found.sentence()


def test_memory_of_fp32_training_is_what_pytorch_holds():
    import torch

    module = torch.nn.Linear(300, 200)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    held = sum(p.nbytes + p.grad.nbytes for p in module.parameters())
    held += sum(t.nbytes for state in optimizer.state.values() for t in state.values() if t.ndim)
    count = sum(p.numel() for p in module.parameters())
    assert memory.training_memory(count, precision="fp32").total == held


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("parameters", [1e9, 7.5e9, 70e9])
def test_the_fewest_workers_that_hold_a_model_are_found(stage, parameters):
    room = 80 * 2**30
    fits = [n for n in range(1, 2000) if memory.training_memory(parameters, n, stage).total <= room]
    assert memory.workers_needed(parameters, "NVIDIA H100 SXM", stage) == (fits[0] if fits else None)


@pytest.mark.parametrize(("checkpoint", "between"), [(30.0, 36_000.0), (120.0, 7_200.0), (300.0, 1_800.0)])
def test_dalys_interval_is_the_best_one(checkpoint, between):
    def mean(interval):
        return checkpoints.expected_run_s(100 * interval, interval, checkpoint, 60, between) / (100 * interval)

    best = minimize_scalar(mean, bounds=(1, 10 * between), method="bounded").fun
    assert mean(checkpoints.daly_interval(checkpoint, between)) == pytest.approx(best, rel=0.002)
    assert checkpoints.young_interval(checkpoint, between) == math.sqrt(2 * checkpoint * between)


def test_simulated_runs_take_as_long_as_dalys_model_says_and_are_best_at_his_interval():
    work, checkpoint, restart, between = 40_000.0, 60.0, 180.0, 5_000.0
    daly = checkpoints.daly_interval(checkpoint, between)
    means = {}
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        seconds = checkpoints.simulate_runs(work, factor * daly, checkpoint, restart, between, runs=20_000)
        means[factor] = seconds.mean()
        expected = checkpoints.expected_run_s(work, factor * daly, checkpoint, restart, between)
        assert means[factor] == pytest.approx(expected, abs=4 * seconds.std() / math.sqrt(len(seconds)))
    assert min(means, key=means.get) == 1.0


def test_without_failures_only_the_checkpoints_are_added():
    seconds = checkpoints.simulate_runs(1000, 300, 10, 60, 1e12, runs=3)
    assert seconds.tolist() == [1040, 1040, 1040]  # after 300, 600, 900 and in the end
    assert checkpoints.expected_run_s(1000, 300, 10, 60, 1e12) == pytest.approx(1040)


def test_a_spot_run_is_priced_by_its_mean_time():
    machine = offer("AWS c7g.xlarge")  # its interruption band is "<5%"
    alone = run_costs.hours_between_interruptions(machine)
    assert math.exp(-730 / alone) == pytest.approx(0.95)
    run = run_costs.spot_run(machine, 100, workers=8, checkpoint_s=60, restart_s=300)
    seconds = checkpoints.simulate_runs(360_000, run.interval_s, 60, 300, alone / 8 * 3600, runs=4000)
    assert run.hours == pytest.approx(seconds.mean() / 3600, rel=0.005)
    assert run.usd == pytest.approx(run.hours * 8 * 0.0551)
    assert "spot" in run.sentence()


def test_every_offer_of_an_accelerator_is_priced_or_says_why_not():
    frame = run_costs.training_costs(10, 4, checkpoint_s=30, restart_s=120, accelerator="NVIDIA T4")
    assert len(frame) == 2 * sum(one.accelerator == "NVIDIA T4" for one in offers().values())
    cells = frame.set_index(["offer", "kind"])
    assert cells["usd"]["AWS g4dn.xlarge", "on demand"] == pytest.approx(10 * 4 * 0.526)
    assert math.isnan(cells["usd"]["Azure Standard_NC4as_T4_v3", "spot"])
    assert "no sourced spot price" in cells["note"]["Azure Standard_NC4as_T4_v3", "spot"]
    assert frame["source_url"].str.startswith("https://").all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: run_costs.spot_run(offer("AWS g5.xlarge"), 1, checkpoint_s=1, restart_s=1), "more than 20 % a month"),
    (lambda: run_costs.spot_run(offer("GCP g2-standard-4"), 1, checkpoint_s=1, restart_s=1), "is not sourced"),
    (lambda: run_costs.training_costs(1, checkpoint_s=1, restart_s=1, accelerator="X"), "Known: AWS Inferentia2"),
    (lambda: run_costs.on_demand_run(offer("AWS g5.xlarge"), 0), "0 hours"),
    (lambda: memory.training_memory(1e9, stage=4), "Stages are 0, 1, 2 and 3"),
    (lambda: memory.workers_needed(1e9, "AMD EPYC 9654 (Genoa)", 0), "no sourced memory size"),
    (lambda: memory.workers_needed(1e9, "X", 0), "There is no device 'X'"),
    (lambda: checkpoints.young_interval(0, 5), "checkpoint_s must be above 0"),
    (lambda: checkpoints.expected_run_s(1e6, 1e6, 1, 1, 10), "save more often"),
    (lambda: communication.fit_link([4], np.ones((3, 1)), 2, ""), "two sizes"),
    (lambda: communication.Link.given(0, 0, ""), "some bandwidth"),
    (lambda: communication.ring_allreduce_s(1, 0, 1, 1), "counted from 1"),
    (lambda: communication.step_s(0, 1, 2, communication.Link.given(0, 1, "")), "Computing takes time"),
])
def test_what_makes_no_sense_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
