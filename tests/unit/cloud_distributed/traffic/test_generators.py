"""Generators against the rates that they promise."""

import numpy as np
import pytest
from scipy import stats

from helpers.cloud_distributed import bursts, diurnal, flash_crowd, poisson
from helpers.cloud_distributed.traffic.generators import from_counts
from helpers.lab import InputError

HOUR = 3600.0


def per_interval(arrivals: np.ndarray, width: float, seconds: float) -> np.ndarray:
    return np.bincount((arrivals / width).astype(int), minlength=round(seconds / width))


@pytest.mark.parametrize("arrivals", [
    poisson(5, HOUR, 1), diurnal(2, 7 * 24 * HOUR, 1, weekend=0.3), bursts(1, 20, 10 * HOUR, 1),
    flash_crowd(2, 2 * HOUR, 1)], ids=["poisson", "diurnal", "bursts", "flash crowd"])
def test_arrivals_are_ascending_seconds(arrivals):
    assert arrivals.dtype == np.float64
    assert arrivals[0] >= 0
    assert (np.diff(arrivals) >= 0).all()


def test_a_seed_gives_the_same_traffic_and_another_one_does_not():
    np.testing.assert_array_equal(bursts(1, 9, HOUR, 4), bursts(1, 9, HOUR, 4))
    assert not np.array_equal(poisson(5, 100, 1)[:20], poisson(5, 100, 2)[:20])


def test_poisson_gaps_are_exponential_and_counts_vary_as_much_as_their_mean():
    arrivals = poisson(10, 20_000, 0)
    assert stats.kstest(np.diff(arrivals)[:20_000], "expon", args=(0, 0.1)).pvalue > 0.001
    counts = per_interval(arrivals, 10, 20_000)
    assert counts.mean() == pytest.approx(100, rel=0.01)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.1)


def test_a_day_swings_around_its_mean_and_a_weekend_is_weaker():
    """Mean 5 a second; 5 * 1.6 at 15 o'clock and 5 * 0.4 at 3; Saturday half of it."""
    counts = per_interval(diurnal(5, 7 * 24 * HOUR, 0, swing=0.6, peak_hour=15, weekend=0.5), HOUR, 7 * 24 * HOUR)
    hours = counts.reshape(7, 24)
    assert hours[:5, :].mean() == pytest.approx(5 * HOUR, rel=0.01)
    assert hours[:5, 14:16].mean() == pytest.approx(5 * HOUR * (1 + 0.6 * np.sinc(2 / 24)), rel=0.01)
    assert hours[:5, 2:4].mean() == pytest.approx(5 * HOUR * (1 - 0.6 * np.sinc(2 / 24)), rel=0.02)
    assert hours[5:].sum() / 2 == pytest.approx(hours[:5].sum() / 5 / 2, rel=0.02)


def test_bursts_have_the_mean_rate_and_the_scatter_of_their_process():
    """Stays of 30 and 10 s: mean (30 * 1 + 10 * 9) / 40 = 3 a second. Counts of t seconds vary as the closed form
    of Fischer and Meier-Hellstern says: mean + 2 p q d^2 / r^2 * (r t - 1 + exp(-r t)), r the sum of both rates."""
    seconds, width = 400_000.0, 60.0
    counts = per_interval(bursts(1, 9, seconds, 0, quiet_s=30, busy_s=10), width, seconds - seconds % width)
    r, p = 1 / 30 + 1 / 10, 0.25
    variance = 3 * width + 2 * p * (1 - p) * 64 / r**2 * (r * width - 1 + np.exp(-r * width))
    assert counts.mean() == pytest.approx(3 * width, rel=0.02)
    assert counts.var() == pytest.approx(variance, rel=0.1)


def test_a_flash_crowd_rises_and_leaves():
    arrivals = flash_crowd(10, 6 * HOUR, 0, times=10, at_s=HOUR, rise_s=1, decay_s=600)
    counts = per_interval(arrivals, 60, 6 * HOUR) / 60
    assert counts[:59].mean() == pytest.approx(10, rel=0.03)
    assert counts[61:66].mean() == pytest.approx(10 * (1 + 9 * 2 * (np.exp(-0.1) - np.exp(-0.6))), rel=0.05)
    assert counts[-60:].mean() == pytest.approx(10, rel=0.03)


def test_counts_are_kept_by_the_arrivals_made_of_them():
    counts = np.array([3, 0, 1000, 7])
    arrivals = from_counts(counts, 60.0, 0)
    np.testing.assert_array_equal(per_interval(arrivals, 60.0, 240), counts)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: poisson(0, 10), "rate must be a number above 0"),
    (lambda: poisson(1e9, 1e9), "at most 500,000,000"),
    (lambda: poisson(1, float("nan")), "seconds must be a number above 0"),
    (lambda: diurnal(1, swing=2), "swing must be from 0 to 1"),
    (lambda: bursts(5, 1, 10), "quiet must be from 0 to busy"),
    (lambda: flash_crowd(1, 10, times=0.5), "times must be 1 or more"),
    (lambda: from_counts(np.array([1, -2]), 60), "Interval 2 has a negative count"),
])
def test_traffic_that_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
