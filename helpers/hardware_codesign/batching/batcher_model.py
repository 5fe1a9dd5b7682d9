"""A dynamic batcher on paper: a queue whose server takes all that wait, and how long it should wait for more."""

import bisect
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.lab.errors import InputError

Times = Mapping[int, np.ndarray]  # batch size -> measured seconds of calls of that size
_LEVELS = 64  # quantiles of the measured times that are drawn from
_HEADROOM = 0.8  # the rate that is called sustainable is this share of the highest one that the simulation sustains
_DELAYS = (0.0, 0.05, 0.1, 0.2, 0.4)  # shares of the target that a batch may wait for more requests


def simulate_batcher(times: Times, rate: float, delay_s: float, max_batch: int, *, requests: int = 4000, seed: int = 0,
                     wait_for_full: bool = False) -> np.ndarray:
    """Latencies in seconds of Poisson requests through one server that works in batches.

    A batch starts when the server is free and either `max_batch` requests wait or the oldest has waited
    `delay_s`; with `wait_for_full` only when `max_batch` wait: the fixed batch. Each call's seconds are drawn
    from those measured, between two measured sizes in proportion.

    Raises:
        InputError: a rate that is not positive, no times, or a negative delay.
    """
    if rate <= 0 or delay_s < 0 or max_batch < 1 or not times:
        raise InputError("A batcher needs measured times, a positive rate, a delay from 0 and a largest batch from 1.")
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, requests)).tolist()
    levels = rng.integers(0, _LEVELS, requests).tolist()
    service = service_table(times, max_batch).tolist()
    latencies, free, first = np.empty(requests), 0.0, 0
    while first < requests:
        full = first + max_batch - 1
        if wait_for_full:
            start = max(free, arrivals[min(full, requests - 1)])
        else:
            due = arrivals[first] + delay_s
            start = max(free, min(due, arrivals[full]) if full < requests else due)
        last = max(first + 1, min(bisect.bisect_right(arrivals, start), first + max_batch))
        free = start + service[last - first][levels[first]]
        latencies[first:last] = free - np.array(arrivals[first:last])
        first = last
    return latencies


def slowed(times: Times, calls: Sequence[tuple[int, float]]) -> Times:
    """The measured times as they are under load: scaled by how much longer the calls of a real load took.

    The senders take their share of the cores while the server computes, so that a call takes longer than the same
    call in a loop. One factor for all sizes: single rows spread because of their lengths, which a large batch
    averages out.

    Args:
        calls: rows and seconds of each call, as in `DynamicBatcher.calls`.

    Raises:
        InputError: no calls.
    """
    if not calls:
        raise InputError("Times under load need at least one call that was made under load.")
    alone = service_table(times, max(rows for rows, _ in calls)).mean(axis=1)
    factor = sum(seconds for _, seconds in calls) / sum(alone[rows] for rows, _ in calls)
    return {size: seconds * factor for size, seconds in times.items()}


def service_table(times: Times, max_batch: int) -> np.ndarray:
    """(max_batch + 1, levels) seconds of a call: row by batch size, column by quantile of the measured times.

    Between two measured sizes in proportion, beyond the largest in proportion to its size; row 0 is not used.
    """
    sizes = sorted(times)
    at = (np.arange(_LEVELS) + 0.5) / _LEVELS
    measured = np.array([np.quantile(times[size], at) for size in sizes])
    batches = np.arange(max_batch + 1)
    table = np.stack([np.interp(batches, sizes, column) for column in measured.T], axis=1)
    return table * np.maximum(1.0, batches / sizes[-1])[:, None]


def p95_of(latencies: np.ndarray) -> float:
    """The 95th percentile after the first tenth, in which the queue fills."""
    return float(np.quantile(latencies[len(latencies) // 10:], 0.95))


def best_delay(times: Times, rate: float, max_batch: int, target_s: float) -> tuple[float, float]:
    """(delay, predicted p95) of the delay, in shares of the target, with the lowest p95 at this rate.

    Ties within 2% go to the longer delay: larger batches leave more room.
    """
    delays = [(share * target_s, p95_of(simulate_batcher(times, rate, share * target_s, max_batch)))
              for share in _DELAYS]
    least = min(p95 for _, p95 in delays)
    return max(one for one in delays if one[1] <= 1.02 * least)


def max_rate(times: Times, max_batch: int, target_s: float, *, fixed: bool = False) -> tuple[float, float, float]:
    """(rate, delay, predicted p95): the most requests a second with the p95 within the target; rate 0 if none is.

    `fixed`: batches of exactly `max_batch`. Found by bisection, then lowered by a fifth: near its limit a queue
    is so sensitive that no measured service time is exact enough.
    """
    low, high = 0.0, 1.2 * max(size / float(np.mean(seconds)) for size, seconds in times.items())
    best = (0.0, 0.0, float("inf"))
    for _ in range(12):
        rate = (low + high) / 2
        delay, p95 = ((0.0, p95_of(simulate_batcher(times, rate, 0.0, max_batch, wait_for_full=True))) if fixed
                      else best_delay(times, rate, max_batch, target_s))
        if p95 <= target_s:
            low, best = rate, (rate, delay, p95)
        else:
            high = rate
    return _HEADROOM * best[0], best[1], best[2]
