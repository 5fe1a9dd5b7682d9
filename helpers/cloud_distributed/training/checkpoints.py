"""How often to save a training run that may be interrupted: Young's and Daly's intervals, checked by simulation."""

import math

import numba
import numpy as np

from helpers.lab.errors import InputError


def young_interval(checkpoint_s: float, between_failures_s: float) -> float:
    """Seconds of work between two checkpoints, to the first order: sqrt(2 * checkpoint * between failures).

    Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.
    """
    _require(checkpoint_s=checkpoint_s, between_failures_s=between_failures_s)
    return math.sqrt(2 * checkpoint_s * between_failures_s)


def daly_interval(checkpoint_s: float, between_failures_s: float) -> float:
    """Seconds of work between two checkpoints, to a higher order.

    Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3), 2006,
    equation 37. Where a checkpoint takes half of the time between failures or longer, that time itself.
    """
    _require(checkpoint_s=checkpoint_s, between_failures_s=between_failures_s)
    if checkpoint_s >= 2 * between_failures_s:
        return between_failures_s
    part = checkpoint_s / (2 * between_failures_s)
    return math.sqrt(2 * checkpoint_s * between_failures_s) * (1 + math.sqrt(part) / 3 + part / 9) - checkpoint_s


def expected_run_s(work_s: float, interval_s: float, checkpoint_s: float, restart_s: float,
                   between_failures_s: float) -> float:
    """Mean seconds from start to end for exponential times between failures.

    Args:
        work_s: the run's length if nothing ever failed and nothing were saved.
        interval_s: seconds of work between two checkpoints.
        restart_s: from a failure until work goes on; another failure in that time starts it anew.

    Daly's complete model: M exp(R/M) (exp((t + d)/M) - 1) for each stretch of t seconds of work and d of saving. The
    last stretch is as long as what is left, and also ends with a checkpoint: the result.

    Raises:
        InputError: a number that makes no sense, or no failure-free stretch is ever likely to pass.
    """
    _require(work_s=work_s, interval_s=interval_s, between_failures_s=between_failures_s)
    if min(checkpoint_s, restart_s) < 0:
        raise InputError(f"Seconds must not be negative; got checkpoint_s={checkpoint_s}, restart_s={restart_s}.")
    whole = math.floor(work_s / interval_s * (1 + 1e-12))
    rest = max(0.0, work_s - whole * interval_s)
    if max(min(interval_s, work_s) + checkpoint_s, restart_s) / between_failures_s > 500:
        raise InputError(f"With a failure every {between_failures_s:g} s, a stretch of {interval_s:g} s practically "
                         "never ends: save more often.")
    stretches = whole * math.expm1((interval_s + checkpoint_s) / between_failures_s)
    if rest > 1e-9 * work_s:
        stretches += math.expm1((rest + checkpoint_s) / between_failures_s)
    return between_failures_s * math.exp(restart_s / between_failures_s) * stretches


def simulate_runs(work_s: float, interval_s: float, checkpoint_s: float, restart_s: float, between_failures_s: float,
                  runs: int = 1000, seed: int = 0) -> np.ndarray:
    """Seconds from start to end of each of `runs` simulated runs, (runs,) float64. Arguments as `expected_run_s`.

    Failures come at exponential distances in wall-clock time, also while saving and restarting; what was done since
    the last finished checkpoint is lost.
    """
    expected_run_s(work_s, interval_s, checkpoint_s, restart_s, between_failures_s)  # refuses what never ends
    if runs < 1:
        raise InputError(f"At least one run is needed; got {runs}.")
    return _simulate(work_s, interval_s, checkpoint_s, restart_s, between_failures_s, runs, seed)


@numba.njit(cache=True)
def _simulate(work_s, interval_s, checkpoint_s, restart_s, between_failures_s, runs, seed):
    np.random.seed(seed)
    found = np.empty(runs)
    for run in range(runs):
        now, saved = 0.0, 0.0
        failure = np.random.exponential(between_failures_s)
        while work_s - saved > 1e-9 * work_s:
            stretch = min(interval_s, work_s - saved)
            if now + stretch + checkpoint_s <= failure:
                now += stretch + checkpoint_s
                saved += stretch
                continue
            now = failure
            failure = now + np.random.exponential(between_failures_s)
            while now + restart_s > failure:
                now = failure
                failure = now + np.random.exponential(between_failures_s)
            now += restart_s
        found[run] = now
    return found


def _require(**seconds: float) -> None:
    for name, value in seconds.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0 seconds and finite; got {value}.")
