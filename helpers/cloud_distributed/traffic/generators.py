"""When requests arrive: seeded generators of ascending arrival times.

Each returns (n,) float64 seconds from 0 to below `seconds`. Rates are requests a second. They vary exactly, as
a step function of time: the clock of a unit process runs faster and slower (Cinlar, 1975), which draws nothing in
vain.
"""

import math

import numba
import numpy as np

from helpers.lab.errors import InputError

DAY_S, WEEK_S = 86_400.0, 604_800.0
_MAX_ARRIVALS = 500_000_000  # 4 GB of arrivals
_STEP_S = 1.0  # in which a wave's rate stays
_MAX_PLACED = 1_000_000  # arrivals that are placed and sorted at once


def poisson(rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Independent arrivals at a constant rate.

    >>> from helpers.cloud_distributed import poisson
    >>> poisson(2.0, 3600.0).shape  # 7200 on average
    (7233,)

    Raises:
        InputError: a rate or time that is not positive, or more arrivals than fit in memory.
    """
    _require_positive(rate=rate, seconds=seconds)
    _require_fitting(rate * seconds)
    return _with_steps(np.array([rate]), np.array([0.0, seconds]), seed)


def diurnal(rate: float, seconds: float = DAY_S, seed: int = 0, swing: float = 0.6, peak_hour: float = 15.0,
            weekend: float = 1.0) -> np.ndarray:
    """A day's wave around the mean `rate`, from rate * (1 - swing) to rate * (1 + swing), and weaker weekends.

    Args:
        swing: 0 to 1.
        peak_hour: of the busiest time; the clock starts at midnight of a Monday. The rate changes every second.
        weekend: Saturdays' and Sundays' share of a weekday's traffic, 0 to 1.

    Raises:
        InputError: a figure outside of its bounds.
    """
    _require_positive(rate=rate, seconds=seconds)
    _require_fraction(swing=swing, weekend=weekend)

    edges = np.append(np.arange(0.0, seconds, _STEP_S), seconds)
    middle = (edges[:-1] + edges[1:]) / 2
    wave = 1 + swing * np.cos(2 * math.pi * (middle / DAY_S - peak_hour / 24))
    return _with_steps(rate * wave * np.where(middle % WEEK_S >= 5 * DAY_S, weekend, 1.0), edges, seed)


def bursts(quiet: float, busy: float, seconds: float, seed: int = 0, quiet_s: float = 300.0,
           busy_s: float = 60.0) -> np.ndarray:
    """A Markov-modulated Poisson process of two states: quiet and busy times of exponential length.

    Args:
        quiet, busy: the two rates.
        quiet_s, busy_s: mean length of a stay.

    The first state is drawn as often as the process is in it (Fischer and Meier-Hellstern, 1993).

    Raises:
        InputError: a figure that is not positive.
    """
    _require_positive(busy=busy, seconds=seconds, quiet_s=quiet_s, busy_s=busy_s)
    if not 0 <= quiet <= busy:
        raise InputError(f"quiet must be from 0 to busy ({busy:g}), not {quiet:g}.")
    rng = np.random.default_rng([seed, 2])
    starts_busy = bool(rng.random() * (quiet_s + busy_s) < busy_s)
    stays: list[float] = []
    while (total := sum(stays)) < seconds:
        pairs = 16 + int((seconds - total) / (quiet_s + busy_s) * 1.2)
        means = [busy_s, quiet_s] if starts_busy else [quiet_s, busy_s]
        stays += (rng.standard_exponential((pairs, 2)) * means).ravel().tolist()
    switches = np.concatenate([[0.0], np.cumsum(stays)])
    switches = np.append(switches[switches < seconds], seconds)
    rates = np.resize([busy, quiet] if starts_busy else [quiet, busy], len(switches) - 1)
    return _with_steps(rates, switches, seed)


def flash_crowd(rate: float, seconds: float, seed: int = 0, times: float = 10.0, at_s: float | None = None,
                rise_s: float = 30.0, decay_s: float = 600.0) -> np.ndarray:
    """A constant rate, and a crowd that comes within `rise_s` and leaves exponentially, in steps of a second.

    Args:
        times: the peak over the usual rate.
        at_s: when it begins; None: after a third of the time.

    Raises:
        InputError: a figure that is not positive, or a crowd that is none.
    """
    _require_positive(rate=rate, seconds=seconds, rise_s=rise_s, decay_s=decay_s)
    if times < 1:
        raise InputError(f"times must be 1 or more, not {times:g}.")
    begin = seconds / 3 if at_s is None else at_s

    edges = np.append(np.arange(0.0, seconds, _STEP_S), seconds)
    since = (edges[:-1] + edges[1:]) / 2 - begin
    rising = np.clip(since / rise_s, 0, 1)
    return _with_steps(rate * (1 + (times - 1) * rising * np.exp(-np.maximum(since - rise_s, 0) / decay_s)), edges,
                       seed)


def exponential_service(mean_s: float, count: int, seed: int = 0) -> np.ndarray:
    """(count,) float64 exponential service times, for comparing with queueing theory.

    Raises:
        InputError: a mean that is not positive.
    """
    _require_positive(mean_s=mean_s)
    return np.random.default_rng([seed, 3]).standard_exponential(count) * mean_s


def from_counts(counts: np.ndarray, width_s: float, seed: int = 0) -> np.ndarray:
    """Arrivals of which only the number per interval is known: spread evenly at random within each.

    Args:
        counts: (k,) int64, requests in [i, i + 1) * width_s.

    Given their number, the arrivals of a Poisson process are just so distributed.

    Raises:
        InputError: negative counts, or more arrivals than fit in memory.
    """
    _require_positive(width_s=width_s)
    counts = np.asarray(counts, np.int64)
    if len(counts) and counts.min() < 0:
        raise InputError(f"Interval {int(counts.argmin()) + 1} has a negative count ({counts.min()}).")
    _require_fitting(float(counts.sum()))
    arrivals = np.empty(int(counts.sum()))
    np.random.default_rng([seed, 4]).random(out=arrivals)
    ends = np.concatenate([[0], np.cumsum(counts)])
    first = 0
    while first < len(counts):  # some intervals at a time, in place: no second array of all arrivals
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + _MAX_PLACED, side="right")) - 1)
        part = arrivals[ends[first]:ends[last]]
        part += np.repeat(np.arange(first, last, dtype=np.float64), counts[first:last])
        part.sort()
        first = last
    arrivals *= width_s
    return arrivals


def _with_steps(rates: np.ndarray, edges: np.ndarray, seed: int) -> np.ndarray:
    """Arrivals at rates[k] from edges[k] to edges[k + 1]: a unit process on a clock that runs so fast."""
    expected = np.concatenate([[0.0], np.cumsum(rates * np.diff(edges))])  # requests until each edge
    if expected[-1] == 0:
        return np.empty(0)
    _require_fitting(float(expected[-1]))
    rng = np.random.default_rng(seed)
    count = rng.poisson(expected[-1])
    gaps = rng.standard_exponential(count + 1)  # scaled to the whole, their sums are sorted uniforms
    steps = np.diff(expected)
    _add_up(gaps, expected, edges, np.divide(np.diff(edges), steps, out=np.zeros_like(steps), where=steps > 0))
    return gaps[:-1]


@numba.njit(cache=True, nogil=True)
def _add_up(gaps: np.ndarray, expected: np.ndarray, edges: np.ndarray, pace: np.ndarray) -> None:
    """Turn gaps into times in place: sums scaled to the whole, as np.interp(sums, expected, edges) on the clock.

    pace: seconds for each request that is expected, by step; each edge is passed once, and nothing is divided.
    """
    total = 0.0
    for i in range(len(gaps)):
        total += gaps[i]
    scale = expected[-1] / total
    k, sum_, last = 0, 0.0, len(pace) - 1
    for i in range(len(gaps)):
        sum_ += gaps[i]
        at = sum_ * scale
        while k < last and at >= expected[k + 1]:
            k += 1
        gaps[i] = min(edges[k + 1], edges[k] + (at - expected[k]) * pace[k])  # rounding may not pass the edge


def _require_positive(**figures: float) -> None:
    for name, value in figures.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} must be a number above 0, not {value}.")


def _require_fraction(**figures: float) -> None:
    for name, value in figures.items():
        if not 0 <= value <= 1:
            raise InputError(f"{name} must be from 0 to 1, not {value}.")


def _require_fitting(expected: float) -> None:
    if expected > _MAX_ARRIVALS:
        raise InputError(f"That would be some {expected:,.0f} requests; at most {_MAX_ARRIVALS:,} are simulated at "
                         "once. Take a shorter time or a lower rate.")
