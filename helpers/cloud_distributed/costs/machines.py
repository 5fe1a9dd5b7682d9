"""Cost of rented machines: the bill of a simulated run, and how much of a load to commit to for years."""

import dataclasses
import functools
import math

import numpy as np

from helpers.cloud_distributed.simulator.runs import Run
from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts
from helpers.lab.money.costs import HOURS_PER_MONTH, Offer, energy_of, grid_of

_TERMS = {"1 year": 12, "3 years": 36}  # of a commitment -> months


@dataclasses.dataclass(frozen=True)
class Bill:
    """Bill of a run, and of a month of 730 hours at the same rate.

    Two figures a month, never to be mixed: `usd_month` pays whole machines from launch to end, busy or not;
    `busy_usd_month` pays the seconds in which they work, if one could rent just those, as `lab.cost` counts.

    Attributes:
        usd, usd_by_kind: of the run, "reserved", "on_demand", "spot" -> dollars, at the hour's price.
        usd_month: discounts for use throughout a month taken off, where the provider gives them.
        usd_per_million: the month's dollars per million answered requests; None where none was answered.
        sustained_use: share of the on-demand price that is left by such a discount; 1 where there is none.
        wh_low: the run's energy if idle replicas took their idle power, or none where no figure is sourced; `wh` has
            every paid hour at full power. `wh` and `gco2e` are None where no power figure is sourced.
        kg_month: kilograms of CO2e of a month that goes as the run did, at full power; None likewise.
        sources: addresses and dates of the prices and power figures.
    """

    usd: float
    usd_by_kind: dict[str, float]
    usd_month: float
    busy_usd_month: float
    usd_per_million: float | None
    sustained_use: float
    wh_low: float | None
    wh: float | None
    gco2e: float | None
    kg_month: float | None
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """The cheapest split of a load: `base` committed machines for `term`, the rest by the hour."""

    offer: Offer
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
        advice = (f"commit to {self.base} machine{'s' * (self.base != 1)} for {self.term}" if self.base
                  else "commit to nothing")
        return (f"{self.offer.name}: {advice}, ${self.usd_month:,.2f} a month (${self.committed_usd_month:,.2f} "
                f"committed, ${self.on_demand_usd_month:,.2f} on demand, ${self.spot_usd_month:,.2f} spot); "
                f"{saved:.0%} less than all on demand. Prices of {self.offer.as_of}.")


def bill(run: Run, offer: Offer, years: int = 1) -> Bill:
    """Price a run whose replicas each take one machine of the offer.

    Args:
        years: of the commitment behind reserved replicas: 1 or 3.

    Raises:
        InputError: hours of a kind for which the offer has no price.

    >>> from helpers.cloud_distributed import Fleet, bill, simulate
    >>> from helpers.lab import offer
    >>> round(bill(simulate([0.0, 3599.0], [1.0, 1.0], Fleet(2)), offer("AWS m6i.large")).usd, 3)
    0.192
    """
    if years not in (1, 3):
        raise InputError(f"Commitments are for 1 or 3 years, not {years}.")
    prices = {"on_demand": offer.on_demand_usd_hour, "spot": offer.spot_usd_hour,
              "reserved": reserved_usd_hour(offer).get("1 year" if years == 1 else "3 years")}
    for kind, hours in run.replica_hours.items():
        if hours and prices[kind] is None:
            raise InputError(f"No {kind} price of {offer.name} is sourced: choose another offer, or add it with its "
                             "source to helpers/facts/instances.csv.")
    by_kind = {kind: hours * (prices[kind] or 0.0) for kind, hours in run.replica_hours.items()}
    usd = sum(by_kind.values())
    months = run.end_s / 3600 / HOURS_PER_MONTH
    share = _sustained_share(run, offer)
    usd_month = (usd - (1 - share) * by_kind["on_demand"]) / months if months else 0.0
    busy_usd_month = run.busy_s / run.concurrency / 3600 * offer.on_demand_usd_hour / months if months else 0.0
    answered = run.counts["answered"]
    wh_low, wh, gco2e, sources = _energy(run, offer)
    kg_month = gco2e / 1e3 / months if gco2e is not None and months else None
    return Bill(usd, by_kind, usd_month, busy_usd_month, usd_month * months / answered * 1e6 if answered else None,
                share, wh_low, wh, gco2e, kg_month, (f"{offer.source_url} ({offer.as_of})", *sources))


def split_load(load: np.ndarray, offer: Offer, *, months: float = 36.0, interruptible: float = 0.0,
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
    to the committed machines. Without spot it is the newsvendor's quantile: P(L > x) = c / d. Where the provider
    takes off for use throughout a month, d falls with the share of the month in which the x-th machine is used, so
    every whole number of machines is tried.

    Raises:
        InputError: a load or a share that makes no sense; no sourced commitment price; no sourced spot price
            though some of the load is interruptible.

    >>> from helpers.cloud_distributed import split_load
    >>> from helpers.lab import offer
    >>> split_load([4, 4, 4, 9], offer("GCP n2-standard-4"), months=12).base
    4
    """
    load = _require_load(load)
    if not (0 <= interruptible <= 1 and 0 <= spot_overhead < 1 and months > 0):
        raise InputError("interruptible lies from 0 to 1, spot_overhead from 0 to below 1, and months is above 0; got "
                         f"{interruptible}, {spot_overhead} and {months}.")
    reserved = reserved_usd_hour(offer)
    if not reserved:
        raise InputError(f"{offer.name} has no sourced price for a commitment: choose another offer (those of GCP "
                         "have one), or add it with its source to helpers/facts/instances.csv.")
    peak = offer.on_demand_usd_hour
    spot = min(peak, _spot_price(offer, interruptible) / (1 - spot_overhead))
    term, committed = min(((term, _price_over(months, term, usd)) for term, usd in reserved.items()),
                          key=lambda pair: pair[1])
    parts = _usd_per_hour(load, committed, peak, spot, interruptible, _sustained_tiers(offer))
    base = int(parts.sum(axis=0).argmin())
    alone = _usd_per_hour(load, committed, peak, spot, 0.0, _sustained_tiers(offer))
    return Split(offer, term if base else None, base, float(parts[:, base].sum()) * HOURS_PER_MONTH,
                 *(float(part) * HOURS_PER_MONTH for part in parts[:, base]), float(alone[1, 0]) * HOURS_PER_MONTH)


def questions_for_provider(load: np.ndarray, split: Split, months: int) -> list[str]:
    """List questions for a provider, each with the reader's figure that decides what the answer is worth.

    Args:
        load: (hours,) machines needed in each hour, as `split_load` took it.
        split: what `split_load` advises for it. months: how long the load is expected to last.

    Returns:
        Of the committed hours and of what is owed if the load falls, where committing pays; of the next machine, with
        the price below which it would pay, too; of a discount on what is paid by the hour.

    Raises:
        InputError: a load that makes no sense.

    >>> from helpers.cloud_distributed import questions_for_provider, split_load
    >>> from helpers.lab import offer
    >>> load = [4, 4, 4, 9]
    >>> len(questions_for_provider(load, split_load(load, offer("GCP n2-standard-4"), months=12), 12))
    4
    """
    load = _require_load(load)
    listed, base, asked = split.offer.on_demand_usd_hour, split.base, []
    if base:
        asked = [f"We would use {base} {split.offer.name} for {base * HOURS_PER_MONTH * months:,.0f} machine hours in "
                 f"{months} months. Your list has ${reserved_usd_hour(split.offer)[split.term]:.4f} an hour, committed "
                 f"for {split.term}, and ${listed:.4f} on demand. What do you offer for that volume?",
                 "May we change the kind of machine, or give some back? If our load ended after half of that time, "
                 f"${split.committed_usd_month * months / 2:,.0f} would be paid for nothing."]
    used = float((load > base).mean())
    worth = listed * float(_tiered(np.array([used]), _sustained_tiers(split.offer))[0])
    asked.append(f"Our machine number {base + 1} works in {used:.0%} of the hours. Below ${worth:.4f} an hour we would "
                 "commit to it, too. Do you have such a price?" if used else
                 f"No hour needs more than {base} machines. What does one more cost for an hour that nobody foresees?")
    by_hour = split.on_demand_usd_month + split.spot_usd_month
    asked.append(f"We pay ${by_hour:,.0f} a month by the hour. From which sum on do you give a discount without a "
                 "commitment, and is what we commit to a part of it?")
    return asked


def reserved_usd_hour(offer: Offer) -> dict[str, float]:
    """Term ("1 year", "3 years") -> dollars an hour with a commitment, for the terms that have a sourced price."""
    for row in read_facts("instances"):
        if f"{row['provider']} {row['instance']}" == offer.name:
            sourced = {term: row[f"reserved_{months // 12}y_usd_hour"] for term, months in _TERMS.items()}
            return {term: float(usd) for term, usd in sourced.items() if usd}
    return {}


def _energy(run: Run, offer: Offer) -> tuple[float | None, float | None, float | None, tuple[str, ...]]:
    """(low, high) watt-hours with the building's overhead, grams of the high one, and sources."""
    wh, gco2e = energy_of(offer, sum(run.replica_hours.values()))
    if wh is None:
        return None, None, None, ()
    instance = offer.name.split(maxsplit=1)[1]
    power = next((row for row in read_facts("instance_power") if row["instance"] == instance), None)
    idle = float(power["watts_idle"]) / offer.watts_full if power else 0.0  # of full power
    busy = run.utilisation if run.ready_s else 0.0
    grid = grid_of(offer)
    return (wh * (idle + busy * (1 - idle)), wh, gco2e,
            (f"{grid['carbon_source_url']} ({grid['year']})", offer.power_source))


def _usd_per_hour(load: np.ndarray, committed: float, on_demand: float, spot: float, interruptible: float,
                  tiers: tuple[float, ...]) -> np.ndarray:
    """(3, k) dollars an hour on average, committed, on demand and spot, with 0 to k - 1 machines committed."""
    bases = np.arange(math.ceil(load.max()) + 1)
    uncovered = _mean_above(load, bases)
    firm = _mean_above((1 - interruptible) * load, bases)
    used = firm - np.append(firm[1:], 0.0)  # share of the time in which the next machine is needed
    dear = np.cumsum(_tiered(used, tiers)[::-1])[::-1]  # of all machines from there on
    return np.stack([bases * committed, dear * on_demand, (uncovered - firm) * spot])


def _mean_above(load: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Mean of what goes beyond each base."""
    ordered = np.sort(load)
    sums = np.append(np.cumsum(ordered[::-1])[::-1], 0.0)
    first = np.searchsorted(ordered, bases, side="right")
    return (sums[first] - bases * (len(load) - first)) / len(load)


@functools.cache
def _sustained_tiers(offer: Offer) -> tuple[float, ...]:
    """Shares of the on-demand price in equal parts of a month of use; (1.0,) where nothing is taken off."""
    for row in read_facts("instances"):
        if f"{row['provider']} {row['instance']}" == offer.name and row["sustained_use_shares"]:
            return tuple(float(share) for share in row["sustained_use_shares"].split())
    return (1.0,)


def _tiered(used: np.ndarray, tiers: tuple[float, ...]) -> np.ndarray:
    """Cost of machines used for these shares of a month, in months at the full price."""
    begins = np.arange(len(tiers)) / len(tiers)
    return (np.clip(np.asarray(used)[:, None] - begins, 0, 1 / len(tiers)) * tiers).sum(axis=1)


def _sustained_share(run: Run, offer: Offer) -> float:
    """Share of the on-demand price that is left, if a month goes as the run did.

    The provider stacks the hours of all machines up to as few as possible that run as long as possible: the k-th of
    them runs as long as at least k do.
    """
    tiers = _sustained_tiers(offer)
    if tiers == (1.0,) or not run.replica_hours["on_demand"] or not run.end_s:
        return 1.0
    rows = run.series()
    committed = round(run.replica_hours["reserved"] / (run.end_s / 3600))
    hourly = np.maximum(rows["ready"] + rows["starting"] - committed, 0).to_numpy(float)
    at_least = (hourly[:, None] > np.arange(int(hourly.max()))).mean(axis=0)
    return float(_tiered(at_least, tiers).sum() / at_least.sum())


def _price_over(months: float, term: str, usd_hour: float) -> float:
    """Dollars for each hour of the load's life, each commitment paid to its end."""
    length = _TERMS[term]
    return usd_hour * math.ceil(months / length - 1e-9) * length / months


def _spot_price(offer: Offer, interruptible: float) -> float:
    if not interruptible:
        return offer.on_demand_usd_hour
    if offer.spot_usd_hour is None:
        raise InputError(f"{offer.name} has no sourced spot price: set interruptible to 0, or choose another offer.")
    return offer.spot_usd_hour


def _require_load(load: np.ndarray) -> np.ndarray:
    load = np.asarray(load, float)
    if load.ndim != 1 or not len(load) or not np.isfinite(load).all() or load.min() < 0:
        raise InputError("The load is needed as machines in each hour: (hours,) finite numbers, none below 0.")
    return load
