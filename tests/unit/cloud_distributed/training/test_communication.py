"""The exchange on paper, and fitted to what was measured."""

import math

import numpy as np
import pytest

from helpers.cloud_distributed.training import communication
from helpers.lab import InputError


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
    result = communication.calibrate(sizes=(2**14, 2**18, 2**22), rounds=6, compress=True)
    assert "in bf16" in result.link.source
    assert result.link.bytes_per_s > 1e6
    assert result.frame["low_ms"].gt(0).all()
    assert result.frame["measured_ms"].iloc[2] > result.frame["measured_ms"].iloc[0]
    assert "GB/s" in result.sentence()


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


@pytest.mark.parametrize(("call", "message"), [
    (lambda: communication.fit_link([4], np.ones((3, 1)), 2, ""), "two sizes"),
    (lambda: communication.Link.given(0, 0, ""), "some bandwidth"),
    (lambda: communication.ring_allreduce_s(1, 0, 1, 1), "counted from 1"),
    (lambda: communication.step_s(0, 1, 2, communication.Link.given(0, 1, "")), "Computing takes time"),
])
def test_what_makes_no_sense_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
