"""The result of a simulation: latencies, lost requests, replica-hours, the time series; and exact quantiles."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.cloud_distributed.simulator.compiled import Outcome, compiled
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval

_MAX_SAMPLED = 2048  # requests per interval for the quantiles of the time series
_MIN_COUNTED = 200_000  # below this NumPy's selection is as quick
_SHIFT = 44     # of the 64 bits: sign, 11 of the exponent and 8 of the fraction are left, steps of 0.4 %


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """One simulated run of n requests.

    Attributes:
        arrivals: (n,) float64 seconds.
        wait_s, latency_s: (n,) float64 seconds from arrival to start and to answer; NaN where none came.
        outcome: (n,) int8, see Outcome.
        replica_hours: "reserved", "on_demand" and "spot" -> hours paid, from launch to end.
        end_s: when the clock stopped.
        queue_s: seconds that all requests together spent in the queue, summed up as queue length over time.
        busy_s, ready_s: seconds that slots worked, and were there to work.
        cold: requests that found no replica ready.
        launches: replicas launched, those at the start among them.
    """

    arrivals: np.ndarray
    wait_s: np.ndarray
    latency_s: np.ndarray
    outcome: np.ndarray
    replica_hours: dict[str, float]
    end_s: float
    queue_s: float
    busy_s: float
    ready_s: float
    cold: int
    launches: int
    series: Callable[[], pd.DataFrame] = dataclasses.field(repr=False)

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many requests ended as what; they add up to n."""
        return {one.name.lower(): int(np.count_nonzero(self.outcome == one)) for one in Outcome}

    @property
    def utilisation(self) -> float:
        """Busy share of the ready capacity."""
        return min(1.0, self.busy_s / self.ready_s) if self.ready_s else math.nan

    @property
    def mean_wait_s(self) -> float:
        """Mean of the answered requests' waits."""
        return _mean_answered(self.wait_s)

    def latency_quantiles_s(self, at: Sequence[float] = (0.5, 0.95, 0.99)) -> np.ndarray:
        """Exact quantiles of the answered requests' latencies."""
        return quantiles(self.latency_s, at)

    def late(self, deadline_s: float) -> float:
        """Fraction of all requests that were not answered within the deadline."""
        if not deadline_s > 0:
            raise InputError(f"deadline_s must be more than 0, not {deadline_s}.")
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
        requests that arrived since the row before: arrivals, unanswered, p50_s and p95_s (each from at most 2,048 of
        them, evenly spread).
        """
        rows = self.series()
        edges = np.searchsorted(self.arrivals, rows["t_s"].to_numpy(), side="right")
        first, last = np.concatenate([[0], edges])[:-1].astype(np.int64), edges
        unanswered = np.zeros(len(rows), np.int64)
        p50_p95 = np.full((len(rows), 2), np.nan)
        for k, (begin, end) in enumerate(zip(first, last, strict=True)):
            unanswered[k] = np.count_nonzero(self.outcome[begin:end])  # answered is 0
            some = self.latency_s[begin:end:max(1, -(-(end - begin) // _MAX_SAMPLED))]
            some = np.sort(some[~np.isnan(some)])
            if len(some):
                p50_p95[k] = _of_sorted(some, 0.5), _of_sorted(some, 0.95)
        return rows.assign(arrivals=last - first, unanswered=unanswered, p50_s=p50_p95[:, 0], p95_s=p50_p95[:, 1])


def replicate(scenario: Callable[[int], Run], runs: int = 10,
              engine: Literal["here", "local", "ray"] = "here") -> pd.DataFrame:
    """Independent runs of one scenario, and what their scatter says about its figures.

    Args:
        scenario: seed -> Run; draws its traffic from that seed too, or the interval leaves the traffic's luck out.
        runs: how many, with the seeds 0, 1, 2 ...
        engine: "here", one after the other; "local" or "ray" as in `helpers.lab.sweep`.

    Returns:
        One row for each figure of `Run.summary`: mean, and the 95 % interval of that mean (Student's t).

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
    counts = _count_leading_bits(values.view(np.uint64), values)
    below = np.concatenate([[0], np.cumsum(counts)])
    if not below[-1]:
        return np.full(len(at), np.nan)
    ranks = at * (below[-1] - 1)
    low = np.floor(ranks).astype(np.int64)
    wanted = np.unique(np.concatenate([low, np.minimum(low + 1, below[-1] - 1)]))
    bins = np.searchsorted(below, wanted, side="right") - 1
    values_at = {}
    for one in np.unique(bins):
        inside = np.sort(_collect(values.view(np.uint64), one, counts[one]))
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


def _of_sorted(values: np.ndarray, at: float) -> float:
    """A quantile as NumPy's default has it, without its overhead of a tenth of a millisecond."""
    rank = at * (len(values) - 1)
    low = int(rank)
    return values[low] + (rank - low) * (values[min(low + 1, len(values) - 1)] - values[low])


@compiled
def _count_leading_bits(bits, values):
    counts = np.zeros(1 << (64 - _SHIFT), np.int64)
    for i in range(len(bits)):
        if values[i] == values[i]:  # not NaN
            counts[bits[i] >> np.uint64(_SHIFT)] += 1
    return counts


@compiled
def _collect(bits, leading, size):
    collected = np.empty(size, np.uint64)
    k = 0
    for i in range(len(bits)):
        if bits[i] >> np.uint64(_SHIFT) == np.uint64(leading):
            collected[k] = bits[i]
            k += 1
    return collected.view(np.float64)
