"""What a simulated run costs: dollars, watt-hours and grams of CO2e of its replica-hours."""

import dataclasses

from helpers.cloud_distributed.simulator.runs import Run
from helpers.lab.errors import InputError
from helpers.lab.money.costs import DEFAULT_GRID, Offer, read_facts

MONTH_H = 730.0


@dataclasses.dataclass(frozen=True)
class Bill:
    """Of the whole run. `wh` and `gco2e` are None where no power figure is sourced.

    Attributes:
        usd_by_kind: "reserved", "on_demand", "spot" -> dollars.
        usd_month: if all of a month of 730 hours went as this run did.
        usd_per_million: per million answered requests; None where none was answered.
        wh_low: the same energy if idle replicas took their idle power, or none where no figure is sourced; `wh` has
            every paid hour at full power.
        sources: addresses and dates of the prices and power figures.
    """

    usd: float
    usd_by_kind: dict[str, float]
    usd_month: float
    usd_per_million: float | None
    wh_low: float | None
    wh: float | None
    gco2e: float | None
    sources: tuple[str, ...]


def bill(run: Run, offer: Offer, years: int = 1, reserved_usd_hour: float | None = None,
         spot_usd_hour: float | None = None) -> Bill:
    """Price a run whose replicas each take one machine of the offer.

    Args:
        years: of the commitment behind reserved replicas: 1 or 3.
        reserved_usd_hour, spot_usd_hour: where the offer names none, or yours differ.

    Raises:
        InputError: hours of a kind for which the offer has no price.
    """
    if years not in (1, 3):
        raise InputError(f"Commitments are for 1 or 3 years, not {years}.")
    prices = {"on_demand": offer.on_demand_usd_hour, "spot": spot_usd_hour or offer.spot_usd_hour,
              "reserved": reserved_usd_hour or _reserved_price(offer, years)}
    for kind, hours in run.replica_hours.items():
        if hours and prices[kind] is None:
            raise InputError(f"No {kind} price of {offer.name} is known: give {kind}_usd_hour=, or take another offer.")
    by_kind = {kind: hours * (prices[kind] or 0.0) for kind, hours in run.replica_hours.items()}
    usd = sum(by_kind.values())
    answered = run.counts["answered"]
    wh_low, wh, gco2e, sources = _energy(run, offer)
    return Bill(usd, by_kind, usd * MONTH_H / (run.end_s / 3600) if run.end_s else 0.0,
                usd / answered * 1e6 if answered else None, wh_low, wh, gco2e,
                (f"{offer.source_url} ({offer.as_of})", *sources))


def _reserved_price(offer: Offer, years: int) -> float | None:
    for row in read_facts("instances"):
        if f"{row['provider']} {row['instance']}" == offer.name and row[f"reserved_{years}y_usd_hour"]:
            return float(row[f"reserved_{years}y_usd_hour"])
    return None


def _energy(run: Run, offer: Offer) -> tuple[float | None, float | None, float | None, tuple[str, ...]]:
    """(low, high) watt-hours with the building's overhead, grams of the high one, and sources."""
    if offer.watts_full is None:
        return None, None, None, ()
    region = DEFAULT_GRID[offer.name.split()[0]]
    grid = next(row for row in read_facts("grid") if row["region"] == region)
    instance = offer.name.split(maxsplit=1)[1]
    power = next((row for row in read_facts("instance_power") if row["instance"] == instance), None)
    hours = sum(run.replica_hours.values()) * float(grid["pue"])
    idle = float(power["watts_idle"]) if power else 0.0
    busy = run.utilisation if run.ready_s else 0.0
    wh = hours * offer.watts_full
    sources = (f"{grid['carbon_source_url']} ({grid['year']})",)
    if power:
        sources += (f"{power['source_url']} ({power['as_of']})",)
    return hours * (idle + busy * (offer.watts_full - idle)), wh, wh / 1000 * float(grid["gco2e_per_kwh"]), sources
