"""The result of a simulation: latencies, lost requests, replica-hours, the time series; and exact quantiles."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.cloud_distributed.simulator.compiled import LEAST_BIN, SHIFT, WAITED_S, Outcome, Tally, compiled
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval

_MAX_SAMPLED = 512  # requests per interval for the quantiles of the time series
_MIN_COUNTED = 200_000  # below this NumPy's selection is as quick
_SHIFT = 44     # of the 64 bits: sign, 11 of the exponent and 8 of the fraction are left, steps of 0.4%
_LEAST, _COUNTS = 1003 << 8, 1044 << 8  # below 2**-20 s all share a bin


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One simulated run of n requests.

    Attributes:
        arrivals: (n,) float64 seconds.
        replica_hours: "reserved", "on_demand" and "spot" -> hours paid, from launch to end.
        end_s: when the clock stopped.
        queue_s: seconds that all requests together spent in the queue, summed up as queue length over time.
        busy_s, ready_s: seconds that slots of ready replicas worked, and were there to work.
        cold: requests that found no replica ready.
        launches: replicas launched, those at the start among them.
        each: gives wait_s, latency_s and outcome.
        tally: what was counted of very many requests, where those are simulated again for `each`.
        concurrency: slots of a replica.
    """

    arrivals: np.ndarray
    replica_hours: dict[str, float]
    end_s: float
    queue_s: float
    busy_s: float
    ready_s: float
    cold: int
    launches: int
    series: Callable[[], pd.DataFrame] = dataclasses.field(repr=False)
    each: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]] = dataclasses.field(repr=False)
    tally: Tally | None = dataclasses.field(default=None, repr=False)
    concurrency: int = 1

    @functools.cached_property
    def _of_each(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.each()

    @property
    def wait_s(self) -> np.ndarray:
        """(n,) float64 seconds from arrival to start; NaN where none came."""
        return self._of_each[0]

    @property
    def latency_s(self) -> np.ndarray:
        """(n,) float64 seconds from arrival to answer; NaN where none came."""
        return self._of_each[1]

    @property
    def outcome(self) -> np.ndarray:
        """(n,) int8, see Outcome."""
        return self._of_each[2]

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many requests ended as what; they add up to n."""
        counts = self.tally.outcomes if self.tally else np.bincount(self.outcome, minlength=len(Outcome))
        return {one.name.lower(): int(counts[one]) for one in Outcome}

    @property
    def utilisation(self) -> float:
        """Busy share of the ready capacity."""
        return self.busy_s / self.ready_s if self.ready_s else math.nan

    @property
    def mean_wait_s(self) -> float:
        """Mean of the answered requests' waits."""
        if self.tally:
            answered = self.counts["answered"]
            return float(self.tally.sums_s[WAITED_S]) / answered if answered else math.nan
        return _mean_answered(self.wait_s)

    def latency_quantiles_s(self, at: Sequence[float] = (0.5, 0.95, 0.99)) -> np.ndarray:
        """Quantiles of the answered requests' latencies: exact up to a million requests, beyond to 0.1%."""
        if self.tally:
            return _counted_quantiles(self.tally.latencies, at)
        return quantiles(self.latency_s, at)

    def late(self, deadline_s: float) -> float:
        """Fraction of all requests that were not answered within the deadline.

        Exact up to a million requests; beyond, those within 0.1% of the deadline are shared out.
        """
        if not deadline_s > 0:
            raise InputError(f"deadline_s must be more than 0, not {deadline_s}.")
        if self.tally:
            return 1.0 - _counted_within(self.tally.latencies, deadline_s) / max(1, len(self.arrivals))
        return 1.0 - float(np.count_nonzero(self.latency_s <= deadline_s)) / max(1, len(self.latency_s))

    def summary(self) -> dict[str, float]:
        """One row of figures: counts, latencies, replica-hours."""
        p50, p95, p99 = self.latency_quantiles_s()
        return {"requests": len(self.arrivals), **self.counts, "mean_wait_s": self.mean_wait_s,
                "p50_s": float(p50), "p95_s": float(p95), "p99_s": float(p99), "cold": self.cold,
                "launches": self.launches, "utilisation": self.utilisation,
                **{f"{kind}_hours": hours for kind, hours in self.replica_hours.items()}}

    def frame(self) -> pd.DataFrame:
        """The time series, one row a sample.

        Columns: t_s; at that moment ready, starting and target replicas, and requests waiting and in_service; of the
        requests that arrived since the row before: arrivals, unanswered, p50_s and p95_s (each from at most 512 of
        them, evenly spread).
        """
        rows = self.series()
        edges = np.searchsorted(self.arrivals, rows["t_s"].to_numpy(), side="right")
        bounds = np.concatenate([[0], edges]).astype(np.int64)
        if self.tally:
            unanswered = self.tally.unanswered[:len(rows)]
            quantiles = _quantiles_between(self.tally.sampled, -(-bounds // self.tally.stride), _MAX_SAMPLED)
        else:
            lost = np.concatenate([[0], np.cumsum(self.outcome != Outcome.ANSWERED)])
            unanswered = np.diff(lost[bounds])
            quantiles = _quantiles_between(self.latency_s, bounds, _MAX_SAMPLED)
        return rows.assign(arrivals=np.diff(bounds), unanswered=unanswered, p50_s=quantiles[:, 0],
                           p95_s=quantiles[:, 1])


def replicate(scenario: Callable[[int], Run], runs: int = 10,
              engine: Literal["here", "local", "ray"] = "here") -> pd.DataFrame:
    """Independent runs of one scenario, and what their scatter says about its figures.

    Args:
        scenario: seed -> Run; draws its traffic from that seed too, or the interval leaves the traffic's luck out.
        runs: how many, with the seeds 0, 1, 2 ...
        engine: "here", one after the other; "local" or "ray" as in `helpers.lab.sweep`.

    Returns:
        One row for each figure of `Run.summary`: mean, and the 95% interval of that mean (Student's t).

    >>> from helpers.cloud_distributed import Fleet, ServiceTimes, poisson, replicate, simulate
    >>> service = ServiceTimes({1: [0.1, 0.3]})
    >>> figures = replicate(lambda seed: simulate(poisson(4.0, 600.0, seed), service, Fleet(2), seed), runs=3)
    >>> list(figures.columns)
    ['mean', 'low', 'high']

    Raises:
        InputError: fewer than two runs, or an unknown engine.
    """
    from helpers.lab.sweeping import sweep

    if runs < 2:
        raise InputError("An interval needs at least two runs.")

    def summarised(seed: int) -> dict[str, float]:  # millions of latencies stay where they were made
        return scenario(seed).summary()

    rows = ([summarised(seed) for seed in range(runs)] if engine == "here"
            else [row for _, row in sweep(summarised, {"seed": range(runs)}, engine)])
    figures = pd.DataFrame(rows)
    return pd.DataFrame({name: mean_interval(known if len(known := figures[name].dropna()) else [math.nan])
                         for name in figures}, index=["mean", "low", "high"]).T


def quantiles(values: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """As `numpy.nanquantile(values, at)` for (n,) float64 values >= 0; NaN where there is none.

    The bits of floats that are not negative sort as the floats do: count the leading bits, then sort only the
    values that share them with the one that is looked for.
    """
    at = np.asarray(at, float)
    if len(values) < _MIN_COUNTED:
        answered = values[~np.isnan(values)]
        return np.quantile(answered, at) if len(answered) else np.full(len(at), np.nan)
    values = np.ascontiguousarray(values)
    counts = _count_leading_bits(values.view(np.int64), values)
    below = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    if not below[-1]:
        return np.full(len(at), np.nan)
    ranks = at * (below[-1] - 1)
    low = np.floor(ranks).astype(np.int64)
    wanted = np.unique(np.concatenate([low, np.minimum(low + 1, below[-1] - 1)]))
    bins = np.searchsorted(below, wanted, side="right") - 1
    values_at = {}
    for one in np.unique(bins):
        inside = np.sort(_collect(values.view(np.int64), values, one, counts[one]))
        values_at |= {rank: inside[rank - below[one]] for rank in wanted[bins == one]}
    first = np.array([values_at[rank] for rank in low])
    second = np.array([values_at[min(rank + 1, below[-1] - 1)] for rank in low])
    return first + (ranks - low) * (second - first)


def _mean_answered(values: np.ndarray) -> float:
    whole = float(values.sum()) if len(values) else math.nan
    if not math.isnan(whole):  # all were answered: nothing to leave out, nothing to copy
        return whole / len(values)
    answered = values[~np.isnan(values)]
    return float(answered.mean()) if len(answered) else math.nan


def _counted_quantiles(counts: np.ndarray, at: Sequence[float]) -> np.ndarray:
    """The same from counts by leading bits, spread evenly within their bin."""
    at = np.asarray(at, float)
    bins = np.flatnonzero(counts)
    if not len(bins):
        return np.full(len(at), np.nan)
    below = np.concatenate([[0], np.cumsum(counts[bins], dtype=np.int64)])
    ranks = at * (below[-1] - 1)
    k = np.searchsorted(below, ranks, side="right") - 1
    low, high = ((bins[k] + LEAST_BIN + side << SHIFT).view(np.float64) for side in (0, 1))
    return low + (ranks - below[k] + 0.5) / counts[bins[k]] * (high - low)


def _counted_within(counts: np.ndarray, deadline_s: float) -> float:
    """How many are at or below a value, counting the value's own bin in proportion."""
    at = int(np.float64(deadline_s).view(np.int64) >> SHIFT)
    if at < LEAST_BIN:
        return 0.0
    low, high = (np.int64(at + side << SHIFT).view(np.float64) for side in (0, 1))
    inside = (deadline_s - low) / (high - low) * counts[at - LEAST_BIN]
    return float(counts[:at - LEAST_BIN].sum(dtype=np.int64)) + float(inside)


@compiled
def _quantiles_between(values, bounds, most):
    """(k, 2) median and 95th percentile of values[bounds[k]:bounds[k + 1]], evenly thinned to at most `most`.

    As NumPy's default has them; NaN where none is a number.
    """
    quantiles = np.full((len(bounds) - 1, 2), np.nan)
    some = np.empty(most)
    for k in range(len(quantiles)):
        begin, end = bounds[k], bounds[k + 1]
        step, size = max(1, -(-(end - begin) // most)), 0
        for i in range(begin, end, step):
            if values[i] == values[i]:  # not NaN
                some[size] = values[i]
                size += 1
        if size:
            some[:size].sort()
            for column, at in enumerate((0.5, 0.95)):
                rank = at * (size - 1)
                low = int(rank)
                quantiles[k, column] = some[low] + (rank - low) * (some[min(low + 1, size - 1)] - some[low])
    return quantiles


@compiled
def _count_leading_bits(bits, values):
    counts = np.zeros(_COUNTS, np.uint32)
    for i in range(len(bits)):
        if values[i] == values[i]:  # not NaN
            counts[max(0, (bits[i] >> _SHIFT) - _LEAST)] += 1
    return counts


@compiled
def _collect(bits, values, leading, size):
    collected = np.empty(size, np.float64)
    k = 0
    for i in range(len(bits)):
        if max(0, (bits[i] >> _SHIFT) - _LEAST) == leading and values[i] == values[i]:
            collected[k] = values[i]
            k += 1
    return collected
