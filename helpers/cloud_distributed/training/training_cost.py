"""What a training run costs and how long it takes on rented machines: on demand, or on spot with checkpoints."""

import dataclasses
import math
import re

import pandas as pd

from helpers.cloud_distributed.costs.serverless_prices import HOURS_A_MONTH
from helpers.cloud_distributed.training.checkpoints import daly_interval, expected_run_s
from helpers.lab.errors import InputError
from helpers.lab.money.costs import Offer, offers


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

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        text = (f"{self.workers} x {self.offer.name} {self.kind}: {self.hours:,.1f} h, ${self.usd:,.2f} "
                f"(price of {self.offer.as_of})")
        if self.interval_s is None:
            return text + "."
        return (f"{text}, saving every {self.interval_s / 60:,.0f} min against an interruption every "
                f"{self.hours_between_failures:,.1f} h.")


def hours_between_interruptions(offer: Offer) -> float:
    """Mean hours until a spot machine is taken away, from the offer's sourced monthly interruption band.

    The band's upper end p is taken, as the more careful: a share p of machines interrupted within 730 hours is
    a constant hazard of -ln(1 - p) / 730 h.

    Raises:
        InputError: no band is sourced, or it has no upper end (">20%").
    """
    found = re.search(r"monthly interruption band (?:<|[\d.]+-)([\d.]+)%", offer.note)
    if not found:
        open_ended = re.search(r"monthly interruption band >([\d.]+)%", offer.note)
        known = f"only says more than {open_ended[1]} % a month" if open_ended else "is not sourced"
        raise InputError(f"How often spot machines of {offer.name} are interrupted {known}: give "
                         "hours_between_failures=, from your own experience.")
    return -HOURS_A_MONTH / math.log1p(-float(found[1]) / 100)


def on_demand_run(offer: Offer, work_hours: float, workers: int = 1) -> RunCost:
    """A run on machines that nobody takes away: work_hours x workers x price."""
    _require_run(work_hours, workers)
    return RunCost(offer, "on demand", workers, work_hours, work_hours * workers * offer.on_demand_usd_hour, None, None)


def spot_run(offer: Offer, work_hours: float, workers: int = 1, *, checkpoint_s: float, restart_s: float,
             hours_between_failures: float | None = None) -> RunCost:
    """A run on spot machines that saves at Daly's interval: its mean time and dollars.

    Args:
        work_hours: of the undisturbed run with this many workers.
        workers: machines that train together; the loss of one stops all, so that they fail `workers` times as often.
        checkpoint_s, restart_s: seconds to save, and from an interruption until work goes on.
        hours_between_failures: of one machine; by default from the offer's sourced interruption band.

    Raises:
        InputError: no sourced spot price or interruption rate, or a number that makes no sense.
    """
    _require_run(work_hours, workers)
    if offer.spot_usd_hour is None:
        raise InputError(f"{offer.name} has no sourced spot price: choose another offer, or rent it on demand.")
    alone = hours_between_interruptions(offer) if hours_between_failures is None else hours_between_failures
    if not alone > 0:
        raise InputError(f"hours_between_failures must be above 0; got {alone}.")
    together_s = alone * 3600 / workers
    interval_s = min(daly_interval(checkpoint_s, together_s), work_hours * 3600)
    hours = expected_run_s(work_hours * 3600, interval_s, checkpoint_s, restart_s, together_s) / 3600
    return RunCost(offer, "spot", workers, hours, hours * workers * offer.spot_usd_hour, interval_s,
                   together_s / 3600)


def training_costs(work_hours: float, workers: int = 1, *, checkpoint_s: float, restart_s: float,
                   accelerator: str | None = None, hours_between_failures: float | None = None) -> pd.DataFrame:
    """The same run on every offer of helpers/facts with this accelerator (None: without one), cheapest first.

    Columns offer, kind, hours, usd, interval_min, hours_between_failures, as_of, source_url, note. Where a spot price
    or an interruption rate is not sourced, hours and usd are NaN and the note says which. The work takes equally long
    on each: compare offers of one accelerator.

    Raises:
        InputError: no offer has that accelerator.
    """
    rows = []
    matching = [one for one in offers().values() if (one.accelerator or "") == (accelerator or "")]
    if not matching:
        known = sorted({one.accelerator for one in offers().values() if one.accelerator})
        raise InputError(f"No offer has the accelerator '{accelerator}'. Known: {', '.join(known)}.")
    for one in matching:
        rows.append(_row(on_demand_run(one, work_hours, workers), one.note))
        try:
            rows.append(_row(spot_run(one, work_hours, workers, checkpoint_s=checkpoint_s, restart_s=restart_s,
                                      hours_between_failures=hours_between_failures), one.note))
        except InputError as unsourced:
            rows.append(_row(RunCost(one, "spot", workers, math.nan, math.nan, None, None), str(unsourced)))
    return pd.DataFrame(rows).sort_values("usd", ignore_index=True)


def _row(run: RunCost, note: str) -> dict:
    return {"offer": run.offer.name, "kind": run.kind, "hours": run.hours, "usd": run.usd,
            "interval_min": None if run.interval_s is None else run.interval_s / 60,
            "hours_between_failures": run.hours_between_failures, "as_of": run.offer.as_of,
            "source_url": run.offer.source_url, "note": note}


def _require_run(work_hours: float, workers: int) -> None:
    if not 0 < work_hours < math.inf or workers < 1:
        raise InputError(f"A run takes some hours and a worker or more; got {work_hours} hours and {workers} workers.")
