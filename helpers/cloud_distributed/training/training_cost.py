"""Cost and duration of a training run on rented machines: on demand, or on spot machines with checkpoints.

How often to save: Young's and Daly's intervals, checked by simulation.
"""

import dataclasses
import math
import re

import numba
import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.money.costs import HOURS_PER_MONTH, Offer, energy_of, offers


@dataclasses.dataclass(frozen=True)
class RunCost:
    """One way to pay for a run. `interval_s` and the failure times are None on demand."""

    offer: Offer
    kind: str
    workers: int
    hours: float
    usd: float
    interval_s: float | None
    hours_between_failures: float | None


def hours_between_interruptions(offer: Offer) -> float:
    """Mean hours until a spot machine is taken away, from the offer's sourced monthly interruption band.

    The band's upper end p is taken, as the more careful: a share p of machines interrupted within 730 hours is
    a constant hazard of -ln(1 - p) / 730 h.

    Raises:
        InputError: no band is sourced, or it has no upper end (">20%").
    """
    band = re.search(r"monthly interruption band (?:<|[\d.]+-)([\d.]+)%", offer.note)
    if not band:
        open_ended = re.search(r"monthly interruption band >([\d.]+)%", offer.note)
        gap = f"only says more than {open_ended[1]}% a month" if open_ended else "is not sourced"
        raise InputError(f"How often spot machines of {offer.name} are interrupted {gap}: choose "
                         "another offer, or rent it on demand.")
    return -HOURS_PER_MONTH / math.log1p(-float(band[1]) / 100)


def on_demand_run(offer: Offer, work_hours: float, workers: int = 1) -> RunCost:
    """A run on machines that nobody takes away: work_hours x workers x price."""
    _require_run(work_hours, workers)
    return RunCost(offer, "on demand", workers, work_hours, work_hours * workers * offer.on_demand_usd_hour, None, None)


def spot_run(offer: Offer, work_hours: float, workers: int = 1, *, checkpoint_s: float, restart_s: float) -> RunCost:
    """A run on spot machines that saves at Daly's interval: its mean time and dollars.

    Args:
        work_hours: of the undisturbed run with this many workers.
        workers: machines that train together; the loss of one stops all, so that they fail `workers` times as often.
        checkpoint_s, restart_s: seconds to save, and from an interruption until work goes on.

    Raises:
        InputError: no sourced spot price or interruption rate, or a number that makes no sense.
    """
    _require_run(work_hours, workers)
    if offer.spot_usd_hour is None:
        raise InputError(f"{offer.name} has no sourced spot price: choose another offer, or rent it on demand.")
    together_s = hours_between_interruptions(offer) * 3600 / workers
    interval_s = min(daly_interval(checkpoint_s, together_s), work_hours * 3600)
    hours = expected_run_s(work_hours * 3600, interval_s, checkpoint_s, restart_s, together_s) / 3600
    return RunCost(offer, "spot", workers, hours, hours * workers * offer.spot_usd_hour, interval_s,
                   together_s / 3600)


def training_costs(work_hours: float, workers: int = 1, *, checkpoint_s: float, restart_s: float,
                   accelerator: str | None = None) -> pd.DataFrame:
    """The same run on every offer of helpers/facts with this accelerator (None: without one), cheapest first.

    Columns offer, kind, hours, usd, kg (of CO2e, at full power), interval_min, hours_between_failures, as_of,
    source_url, note. Where a spot price, an interruption rate or a power is not sourced, what needs it is NaN; the note
    says which price or rate. The work takes equally long
    on each: compare offers of one accelerator.

    Raises:
        InputError: no offer has that accelerator.
    """
    rows = []
    matching = [one for one in offers().values() if (one.accelerator or "") == (accelerator or "")]
    if not matching:
        accelerators = sorted({one.accelerator for one in offers().values() if one.accelerator})
        raise InputError(f"Unknown accelerator '{accelerator}'. Choose one of: {', '.join(accelerators)}.")
    for one in matching:
        rows.append(_row(on_demand_run(one, work_hours, workers), one.note))
        try:
            rows.append(_row(spot_run(one, work_hours, workers, checkpoint_s=checkpoint_s, restart_s=restart_s),
                             one.note))
        except InputError as unsourced:
            rows.append(_row(RunCost(one, "spot", workers, math.nan, math.nan, None, None), str(unsourced)))
    return pd.DataFrame(rows).sort_values("usd", ignore_index=True)


def young_interval(checkpoint_s: float, between_failures_s: float) -> float:
    """Seconds of work between two checkpoints, to the first order: sqrt(2 * checkpoint * between failures).

    Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974.

    >>> from helpers.cloud_distributed import young_interval
    >>> round(young_interval(checkpoint_s=120, between_failures_s=6 * 3600))
    2277
    """
    _require_positive(checkpoint_s=checkpoint_s, between_failures_s=between_failures_s)
    return math.sqrt(2 * checkpoint_s * between_failures_s)


def daly_interval(checkpoint_s: float, between_failures_s: float) -> float:
    """Seconds of work between two checkpoints, to a higher order.

    Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", FGCS 22(3), 2006,
    equation 37. Where a checkpoint takes half of the time between failures or longer, that time itself.
    """
    _require_positive(checkpoint_s=checkpoint_s, between_failures_s=between_failures_s)
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
        restart_s: from a failure until work goes on; another failure in that time starts it again.

    Daly's complete model: M exp(R/M) (exp((t + d)/M) - 1) for each stretch of t seconds of work and d of saving. The
    last stretch is as long as what is left, and also ends with a checkpoint: the result.

    Raises:
        InputError: a number that makes no sense, or no failure-free stretch is ever likely to pass.
    """
    _require_positive(work_s=work_s, interval_s=interval_s, between_failures_s=between_failures_s)
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
                  runs: int = 1000) -> np.ndarray:
    """Seconds from start to end of each of `runs` simulated runs, (runs,) float64. Arguments as `expected_run_s`.

    Failures come at exponential distances in wall-clock time, also while saving and restarting; what was done since
    the last finished checkpoint is lost.
    """
    expected_run_s(work_s, interval_s, checkpoint_s, restart_s, between_failures_s)  # refuses what never ends
    if runs < 1:
        raise InputError(f"At least one run is needed; got {runs}.")
    return _simulate(work_s, interval_s, checkpoint_s, restart_s, between_failures_s, runs)


def _row(run: RunCost, note: str) -> dict:
    _, grams = energy_of(run.offer, run.hours * run.workers)
    return {"offer": run.offer.name, "kind": run.kind, "hours": run.hours, "usd": run.usd,
            "kg": math.nan if grams is None else grams / 1e3,
            "interval_min": None if run.interval_s is None else run.interval_s / 60,
            "hours_between_failures": run.hours_between_failures, "as_of": run.offer.as_of,
            "source_url": run.offer.source_url, "note": note}


def _require_run(work_hours: float, workers: int) -> None:
    if not 0 < work_hours < math.inf or workers < 1:
        raise InputError(f"A run takes some hours and a worker or more; got {work_hours} hours and {workers} workers.")


@numba.njit(cache=True)
def _simulate(work_s, interval_s, checkpoint_s, restart_s, between_failures_s, runs):
    np.random.seed(0)
    total_s = np.empty(runs)
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
        total_s[run] = now
    return total_s


def _require_positive(**seconds: float) -> None:
    for name, value in seconds.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} must be above 0 seconds and finite; got {value}.")
