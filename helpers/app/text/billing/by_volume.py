"""The same service for a small firm and a large one: what each change alone saves and costs, by requests a month."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.app.text.billing.amounts import months, usd
from helpers.app.text.billing.bills import ranked_changes
from helpers.app.text.billing.stages import FOLDER, labels_of, stages
from helpers.lab.money.bill import hosted_usd, repaid_in, serving
from helpers.lab.money.scenario import Scenario


def changes_by_volume(scenario: Scenario, volumes: Sequence[float], folder: Path = FOLDER) -> pd.DataFrame:
    """Each recorded change alone, at each volume: what it saves a month, costs once, and when that is repaid.

    Args:
        scenario: of what runs on machines; its own volume is not used, and it buys the same labels at each.
        volumes: requests a month.

    Returns:
        A row a volume and a change that saves something there: requests, change, page, today_usd (a month without the
        change), hosted_usd (a month of the scenario's hosted model, by the token), saved_usd and saved_usd_low (a
        month; the low end of the 95% interval), spent_usd (once: hours of work and computing), repaid_months (missing
        where it is never) and repaid_months_at_most (from the low end).

    Raises:
        InputError: a volume beyond the scenario's ends.

    >>> from helpers import app
    >>> from helpers.lab.money.scenario import Scenario
    >>> set(app.changes_by_volume(Scenario(), [1e6])["requests"])
    {1000000.0}
    """
    reference, _, singles = stages(folder, scenario.subject)
    rows = []
    for volume in volumes:
        each = dataclasses.replace(scenario, volume=float(volume))
        labels, counted, _ = labels_of(each, folder)
        today = serving(reference, each).always_usd.value + each.labels * each.usd_per_label
        for one in ranked_changes(each, reference, singles, labels if counted else None):
            saved = one.saved_usd
            rows.append((float(volume), one.name, one.strategy, today, hosted_usd(each), saved.value, saved.low,
                         one.spent_usd, _months(one.spent_usd, saved.value), _months(one.spent_usd, saved.low)))
    return pd.DataFrame(rows, columns=["requests", "change", "page", "today_usd", "hosted_usd", "saved_usd",
                                       "saved_usd_low", "spent_usd", "repaid_months", "repaid_months_at_most"])


def _months(spent_usd: float, saved_usd: float) -> float:
    months = repaid_in(spent_usd, saved_usd)
    return math.nan if months is None else months


def pays_from(frame: pd.DataFrame, within: float = 12.0) -> dict[str, float]:
    """Each change that pays at the largest volume, with the smallest volume from which on it does, at all above it.

    Args:
        frame: what `changes_by_volume` returned.
        within: months in which it has to be repaid, at the low end of what it saves.

    >>> from helpers.app.text.billing.by_volume import pays_from
    >>> pays_from(pd.DataFrame({"requests": [1.0, 2.0, 3.0], "change": "int8", "repaid_months_at_most": [3, 24, 6]}))
    {'int8': 3.0}
    """
    volumes, smallest = sorted(set(frame["requests"]), reverse=True), {}
    for change, rows in frame.groupby("change", sort=False):
        paying = set(rows.loc[rows["repaid_months_at_most"] <= within, "requests"])
        for volume in volumes:
            if volume not in paying:
                break
            smallest[change] = volume
    return dict(sorted(smallest.items(), key=lambda item: item[1]))


def volume_verdict(frame: pd.DataFrame, within: float = 12.0) -> str:
    """From which volume on each change pays within so many months, and what a firm at the smallest one should do.

    Args:
        frame: what `changes_by_volume` returned.
    """
    if frame.empty:
        return "No recorded change saves anything at any of these volumes."
    paying, smallest = pays_from(frame, within), frame["requests"].min()
    first = (f"Repaid within {within:g} months, from so many requests a month on: "
             + "; ".join(f"{name}, {volume:,.0f}" for name, volume in paying.items()) + "." if paying else
             f"At no volume up to {frame['requests'].max():,.0f} requests a month is a change repaid within "
             f"{within:g} months.")
    small = frame[frame["requests"] == smallest]
    best = small.loc[(12 * small["saved_usd"] - small["spent_usd"]).idxmax()]
    advice = ("do it" if best["repaid_months_at_most"] <= within else
              "leave it, unless the work takes a fraction of the hours that are counted here")
    return (f"{first} At {smallest:,.0f} a month the service costs {usd(best['today_usd'])}; the best change, "
            f"{best['change']}, saves {usd(best['saved_usd'])} of it, costs {usd(best['spent_usd'])} once and is "
            f"repaid in {months(best['repaid_months'])}: {advice}. {_hosted(small.iloc[0])}")


def _hosted(small: pd.Series) -> str:
    cheaper = small["hosted_usd"] < small["today_usd"]
    return (f"By the token, a hosted language model would cost {usd(small['hosted_usd'])} there: "
            f"{'less' if cheaper else 'no less'} than machines and labels. Whether it answers as well has to be "
            "measured.")
