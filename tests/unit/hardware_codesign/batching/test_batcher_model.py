"""The batcher on paper against queueing theory."""

import numpy as np
import pytest

from helpers.hardware_codesign.batching.batcher_model import (
    best_delay,
    max_rate,
    p95_of,
    service_table,
    simulate_batcher,
    slowed,
)
from helpers.lab import InputError

FIXED = {1: np.full(9, 0.01), 64: np.full(9, 0.01)}  # any batch takes 10 ms


def test_single_requests_wait_as_pollaczek_and_khinchin_say():
    """M/D/1: the mean wait is rho s / (2 (1 - rho))."""
    latencies = simulate_batcher(FIXED, rate=60.0, delay_s=0.0, max_batch=1, requests=200_000)
    assert latencies.mean() == pytest.approx(0.01 + 0.6 * 0.01 / (2 * 0.4), rel=0.02)


def test_an_idle_batcher_adds_its_delay_and_no_more():
    latencies = simulate_batcher(FIXED, rate=0.1, delay_s=0.03, max_batch=8, requests=500)
    assert np.quantile(latencies, 0.5) == pytest.approx(0.04)


def test_a_fixed_batch_waits_until_it_is_full():
    """The first of 8 waits for 7 more: 3.5 gaps on average."""
    latencies = simulate_batcher(FIXED, rate=100.0, delay_s=0.0, max_batch=8, requests=80_000, wait_for_full=True)
    assert latencies.mean() == pytest.approx(0.01 + 3.5 / 100, rel=0.03)


def test_service_times_lie_between_those_measured():
    table = service_table({1: np.array([0.01]), 5: np.array([0.03])}, 10)
    assert table[1:6, 0] == pytest.approx([0.01, 0.015, 0.02, 0.025, 0.03])
    assert table[10, 0] == pytest.approx(0.06)


def test_the_highest_rate_meets_the_target_and_half_more_does_not():
    times = {size: np.full(9, 0.002 + 0.004 * size) for size in (1, 8, 32)}
    rate, delay, _ = max_rate(times, 32, 0.1)
    assert p95_of(simulate_batcher(times, rate, delay, 32, seed=5)) <= 0.1
    assert p95_of(simulate_batcher(times, 1.5 * rate, delay, 32, seed=5)) > 0.1
    assert max_rate(times, 32, 0.005)[0] == 0


def test_waiting_pays_only_where_calls_have_a_price_of_their_own():
    no_price = {size: np.full(9, 0.004 * size) for size in (1, 8, 32)}
    assert best_delay(no_price, 100.0, 32, 0.2)[0] == 0


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"delay_s": -1.0}, {"max_batch": 0}])
def test_a_simulation_of_nothing_is_a_sentence(wrong):
    with pytest.raises(InputError, match="positive rate"):
        simulate_batcher(FIXED, **{"rate": 1.0, "delay_s": 0.0, "max_batch": 1} | wrong)


def test_times_under_load_are_those_alone_times_what_the_load_took_longer():
    alone = {1: np.array([0.01, 0.03]), 4: np.array([0.05, 0.05])}
    longer = slowed(alone, [(1, 0.03), (4, 0.075)])  # 105 ms where 20 and 50 were expected
    assert longer[1] == pytest.approx(np.array([0.015, 0.045]))
    assert longer[4] == pytest.approx(np.array([0.075, 0.075]))
    with pytest.raises(InputError, match="at least one call"):
        slowed(alone, [])
