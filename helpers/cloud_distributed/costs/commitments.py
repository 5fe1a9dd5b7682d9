"""Base load and peaks: how much to commit to for years, and what to rent by the hour or on the spot market."""

import dataclasses
import math

import numpy as np
import pandas as pd

from helpers.cloud_distributed.costs.serverless_prices import HOURS_A_MONTH
from helpers.lab.errors import InputError
from helpers.lab.money.costs import read_facts

_TERMS = {"1 year": (12, "reserved_1y_usd_hour"), "3 years": (36, "reserved_3y_usd_hour")}


@dataclasses.dataclass(frozen=True)
class HourPrices:
    """Dollars an hour for one machine, as sourced; None where no source was found."""

    name: str
    on_demand: float
    spot: float | None
    reserved: dict[str, float]
    as_of: str
    source_url: str
    note: str


@dataclasses.dataclass(frozen=True)
class Split:
    """The cheapest split of a load: `base` committed machines for `term`, the rest by the hour."""

    prices: HourPrices
    term: str | None
    base: int
    usd_month: float
    committed_usd_month: float
    on_demand_usd_month: float
    spot_usd_month: float
    all_on_demand_usd_month: float

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        saved = 1 - self.usd_month / self.all_on_demand_usd_month if self.all_on_demand_usd_month else 0.0
        kept = (f"commit to {self.base} machine{'s' * (self.base != 1)} for {self.term}" if self.base
                else "commit to nothing")
        return (f"{self.prices.name}: {kept}, ${self.usd_month:,.2f} a month (${self.committed_usd_month:,.2f} "
                f"committed, ${self.on_demand_usd_month:,.2f} on demand, ${self.spot_usd_month:,.2f} spot); "
                f"{saved:.0%} less than all on demand. Prices of {self.prices.as_of}.")


def hour_prices(name: str) -> HourPrices:
    """All prices of one machine of helpers/facts/instances.csv, by 'PROVIDER INSTANCE'.

    Raises:
        InputError: no such machine, or not even an on-demand price.
    """
    rows = {f"{row['provider']} {row['instance']}": row for row in read_facts("instances")
            if row["on_demand_usd_hour"]}
    if name not in rows:
        raise InputError(f"There is no offer '{name}'. Known: {', '.join(rows)}.")
    row = rows[name]
    spot = row["spot_usd_hour_typical"]
    return HourPrices(name, float(row["on_demand_usd_hour"]), float(spot) if spot else None,
                      {term: float(row[column]) for term, (_, column) in _TERMS.items() if row[column]},
                      row["as_of"], row["source_url"], row["note"])


def load_duration(load: np.ndarray) -> pd.DataFrame:
    """The load-duration curve: columns machines (1, 2, …) and share, of the hours in which as many are needed."""
    load = _require_load(load)
    machines = np.arange(1, math.ceil(load.max()) + 1)
    above = len(load) - np.searchsorted(np.sort(load), machines - 1, side="right")
    return pd.DataFrame({"machines": machines, "share": above / len(load)})


def split_load(load: np.ndarray, prices: HourPrices, *, months: float = 36.0, interruptible: float = 0.0,
               spot_overhead: float = 0.1) -> Split:
    """How many machines to commit to, so that the load costs least.

    Args:
        load: (hours,) machines needed in each hour; a typical stretch of time, such as a week or a year.
        months: for how long the load will last. A commitment is paid to its end: three years for a load of one year
            cost three times as much an hour, and each commitment that is begun is paid in full.
        interruptible: share of the load that may run on spot machines, 0 to 1.
        spot_overhead: share of spot hours that is lost to interruptions and done again.

    A committed machine is paid in all hours at price c, and used in those in which the load L is above it. One
    more pays as long as what it replaces is dearer: (d - s) P(F > x) + s P(L > x) > c, where d and s are the
    on-demand and spot prices and F = (1 - interruptible) L, the load that must not be interrupted and comes first
    to the committed machines. The cost is convex in x, so the first x at which this fails is best. Without spot it is
    the newsvendor's quantile: P(L > x) = c / d.

    Raises:
        InputError: a load or a share that makes no sense; no sourced commitment price; no sourced spot price
            though some of the load is interruptible.
    """
    load = _require_load(load)
    if not (0 <= interruptible <= 1 and 0 <= spot_overhead < 1 and months > 0):
        raise InputError("interruptible lies from 0 to 1, spot_overhead from 0 to below 1, and months is above 0; got "
                         f"{interruptible}, {spot_overhead} and {months}.")
    if not prices.reserved:
        raise InputError(f"{prices.name} has no sourced price for a commitment: choose another offer (those of GCP "
                         "have one), or add it with its source to helpers/facts/instances.csv.")
    peak = prices.on_demand
    spot = min(peak, _spot_price(prices, interruptible) / (1 - spot_overhead))
    term, committed = min(((term, _price_over(months, term, usd)) for term, usd in prices.reserved.items()),
                          key=lambda pair: pair[1])
    base = _best_base(load, interruptible, committed, peak, spot)
    parts = costs_an_hour(load, base, committed, peak, spot, interruptible)
    return Split(prices, term if base else None, base, sum(parts) * HOURS_A_MONTH,
                 *(part * HOURS_A_MONTH for part in parts), load.mean() * peak * HOURS_A_MONTH)


def costs_an_hour(load: np.ndarray, base: float, committed: float, on_demand: float, spot: float,
                  interruptible: float) -> tuple[float, float, float]:
    """Dollars an hour on average, as (committed, on demand, spot), when `base` machines are committed."""
    uncovered = np.maximum(load - base, 0)
    firm = np.maximum((1 - interruptible) * load - base, 0)
    return base * committed, float(firm.mean() * on_demand), float((uncovered - firm).mean() * spot)


def _best_base(load: np.ndarray, interruptible: float, committed: float, on_demand: float, spot: float) -> int:
    """The whole number of machines next to the point where one more no longer pays."""
    steps = np.concatenate([(1 - interruptible) * load, load])
    worth = np.repeat([on_demand - spot, spot], len(load)) / len(load)
    order = np.argsort(steps)
    replaced = worth.sum() - np.cumsum(worth[order])  # just above each step
    exact = steps[order][np.argmax(replaced <= committed)] if worth.sum() > committed else 0.0
    return min({math.floor(exact), math.ceil(exact)},
               key=lambda base: (sum(costs_an_hour(load, base, committed, on_demand, spot, interruptible)), base))


def _price_over(months: float, term: str, usd_hour: float) -> float:
    """Dollars for each hour of the load's life, each commitment paid to its end."""
    length = _TERMS[term][0]
    return usd_hour * math.ceil(months / length - 1e-9) * length / months


def _spot_price(prices: HourPrices, interruptible: float) -> float:
    if not interruptible:
        return prices.on_demand
    if prices.spot is None:
        raise InputError(f"{prices.name} has no sourced spot price: set interruptible to 0, or choose another offer.")
    return prices.spot


def _require_load(load: np.ndarray) -> np.ndarray:
    load = np.asarray(load, float)
    if load.ndim != 1 or not len(load) or not np.isfinite(load).all() or load.min() < 0:
        raise InputError("The load is needed as machines in each hour: (hours,) finite numbers, none below 0.")
    return load
