"""Where and when the same work makes less carbon dioxide, by sourced figures of grids, and what moving it costs."""

import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts
from helpers.lab.money.costs import HOURS_PER_MONTH, Offer, grid_of

_FLEET_PUE = "Hyperscaler PUE: AWS global"


@functools.cache
def grids() -> dict[str, Mapping[str, str]]:
    """The regions of helpers/facts/grid.csv that have a carbon figure, by name."""
    return {row["region"]: row for row in read_facts("grid") if row["gco2e_per_kwh"]}


def where_to_run(kwh: float, home: Offer) -> pd.DataFrame:
    """The same energy in each region: kilograms of CO2e, and what the electricity costs there.

    Args:
        kwh: of the machines in a month, without the building's overhead.
        home: the machine; its provider's usual region is what the others are compared with.

    Returns:
        Cleanest first: region, year, pue, kg, saved_kg, saved (share of home's), electricity_usd (the power's price,
        not the provider's; NaN where none is sourced), source. Where a region has no sourced overhead of its buildings,
        it is AWS's over all sites.

    The figures are averages of a year, by several methods (consumption or production, direct or with the life cycle):
    differences below some tenths say little. Latency, and where data may go, are left out.

    Raises:
        InputError: energy below 0, or not finite.

    >>> from helpers.cloud_distributed import where_to_run
    >>> from helpers.lab import offer
    >>> where_to_run(100.0, offer("AWS m6i.large"))["region"].iloc[0]
    'Sweden'
    """
    _require(kwh)
    usual = float(next(row for row in read_facts("grid") if row["region"] == _FLEET_PUE)["pue"])
    rows = []
    for name, row in grids().items():
        pue = float(row["pue"] or usual)
        price = float(row["electricity_usd_per_kwh"]) if row["electricity_usd_per_kwh"] else np.nan
        rows.append({"region": name, "year": row["year"], "pue": pue,
                     "kg": kwh * pue * float(row["gco2e_per_kwh"]) / 1e3, "electricity_usd": kwh * pue * price,
                     "source": row["carbon_source_url"]})
    frame = pd.DataFrame(rows).sort_values("kg", kind="stable", ignore_index=True)
    at_home = float(frame["kg"][frame["region"] == grid_of(home)["region"]].iloc[0])
    frame.insert(4, "saved_kg", at_home - frame["kg"])
    frame.insert(5, "saved", 1 - frame["kg"] / at_home if at_home else 0.0)
    return frame


def when_to_run(kwh: float, machines: float, home: Offer, *, flexible: float = 1.0, hours: float = 1.0) -> pd.DataFrame:
    """A day's work done evenly, or a part of it in the cleanest hours: what that saves at most, and what it costs.

    Args:
        kwh: of the machines in a month, without the building's overhead; that of home's region is added.
        machines: that work on average, at home's price.
        flexible: share of the work that can wait for its hour. hours: of each day in which that is done.

    Returns:
        A row a grid of helpers/facts/grid_hours.csv: grid, cleanest_hour, kg_even, kg_moved, saved_kg, saved, machines
        (as many as the fullest hour needs), usd_owned (extra a month, if all of them are paid all day; rented by the
        hour it is nothing), as_of, source.

    All of the flexible work is counted with the cleanest hour's figure, however many hours it takes: a bound, exact for
    hours = 1. The rest is done evenly, with the grid's mean.

    Raises:
        InputError: a share outside of 0 to 1, hours outside of above 0 to 24, or figures below 0.

    >>> from helpers.cloud_distributed import when_to_run
    >>> from helpers.lab import offer
    >>> frame = when_to_run(100.0, 2.0, offer("AWS m6i.large"), flexible=0.5)
    >>> frame["grid"][0], float(frame["machines"][0])
    ('California (CAISO)', 25.0)
    """
    _require(kwh, machines)
    if not (0 <= flexible <= 1 and 0 < hours <= 24):
        raise InputError("flexible is a share from 0 to 1, and hours go from above 0 to 24; got "
                         f"{flexible} and {hours}.")
    fullest = machines * (1 - flexible + flexible * 24 / hours)
    extra_usd = (fullest - machines) * home.on_demand_usd_hour * HOURS_PER_MONTH
    rows, drawn_kwh = [], kwh * float(grid_of(home)["pue"])
    for row in read_facts("grid_hours"):
        mean, clean = float(row["mean_gco2_per_kwh"]), float(row["cleanest_gco2_per_kwh"])
        even, moved = drawn_kwh * mean / 1e3, drawn_kwh * ((1 - flexible) * mean + flexible * clean) / 1e3
        rows.append({"grid": row["grid"], "cleanest_hour": int(row["cleanest_hour"]), "kg_even": even,
                     "kg_moved": moved, "saved_kg": even - moved, "saved": 1 - moved / even if even else 0.0,
                     "machines": fullest, "usd_owned": extra_usd, "as_of": row["as_of"], "source": row["source_url"]})
    return pd.DataFrame(rows)


def moving_sentence(where: pd.DataFrame, when: pd.DataFrame) -> str:
    """Describe what moving to another region or other hours saves, computed from both tables."""
    best, home = where.iloc[0], where[where["saved_kg"] == 0].iloc[0]
    place = (f"The same work in {best['region']} makes {best['kg']:,.3g} kg of CO2e a month, instead of "
             f"{home['kg']:,.3g} at home ({best['saved']:.0%} less); what the machines cost there has no source here."
             if best["saved_kg"] > 0 else f"No region here is cleaner than home ({home['kg']:,.3g} kg a month).")
    hour = when.loc[when["saved"].idxmax()]
    if not hour["saved"] > 0:
        return f"{place} Moving hours saves nothing on these grids."
    least = when.loc[when["saved"].idxmin()]
    return (f"{place} Moving hours saves {hour['saved']:.0%} at most on the grid of {hour['grid']}, "
            f"{least['saved']:.0%} on that of {least['grid']}; it costs nothing more where machines are rented by the "
            f"hour, and ${hour['usd_owned']:,.0f} a month where the {hour['machines']:,.1f} machines of the fullest "
            "hour are paid all day.")


def _require(*figures: float) -> None:
    if not all(np.isfinite(figures)) or min(figures) < 0:
        raise InputError(f"Kilowatt-hours and machines are finite and 0 or more; got {', '.join(map(str, figures))}.")
