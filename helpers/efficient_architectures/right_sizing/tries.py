"""Faster iteration: how many trainings fit into a working day, from the seconds that one of them took."""

from collections.abc import Sequence

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.checks import TOLERANCE

DAY_S = 8 * 3600  # a working day


def tries_a_day(names: Sequence[str], seconds: Sequence[float], accuracies: Sequence[float]) -> pd.DataFrame:
    """How often each can be trained one after the other in eight hours, beside the first.

    Args:
        names: of ways to make a model, the reference first.
        seconds: that each took, on one machine and the same rows.
        accuracies: fractions of test rows that each answers correctly.

    Returns:
        Columns name, seconds, tries (whole ones; looking at their results is not counted), times (as many tries as the
        first, from the seconds), points (of accuracy, more than the first).

    Raises:
        InputError: nothing to compare, or a time that is not above 0.

    >>> from helpers.efficient_architectures import tries_a_day
    >>> tries_a_day(["large", "small"], [3600.0, 60.0], [0.9, 0.85])["tries"].tolist()
    [8, 480]
    """
    if len(names) < 2 or min(seconds) <= 0:
        raise InputError("Tries a day need two ways to train or more, each with its seconds, above 0.")
    tries = pd.DataFrame({"name": names, "seconds": seconds, "accuracy": accuracies})
    return pd.DataFrame({"name": tries["name"], "seconds": tries["seconds"],
                         "tries": (DAY_S // tries["seconds"]).astype(int),
                         "times": tries["seconds"][0] / tries["seconds"],
                         "points": 100 * (tries["accuracy"] - tries["accuracy"][0])})


def explain_tries(table: pd.DataFrame, points: float) -> str:
    """Which way near the reference's accuracy can be tried most often; of `tries_a_day`.

    Args:
        points: of accuracy that a way may be below the reference to be named.

    Each was timed in one recording: a factor below 1.25, by which a second one may differ, is no difference.
    """
    first, others = table.iloc[0], table.iloc[1:]
    faster, slower = (others["times"] > TOLERANCE).sum(), (others["times"] < 1 / TOLERANCE).sum()
    opening = (f"{first['name']} can be trained {first['tries']:,} times in eight hours. Of {len(others)} others "
               f"{faster} can be trained more often, {slower} less often")
    near = others[others["points"] >= -points]
    if near.empty:
        best = others.loc[others["points"].idxmax()]
        return (f"{opening}; none comes within {points:g} points of its accuracy. The nearest, {best['name']}, loses "
                f"{-best['points']:.1f} points for {best['tries']:,} tries.")
    best = near.loc[near["times"].idxmax()]
    if best["times"] <= TOLERANCE:
        return f"{opening}; within {points:g} points of its accuracy, none can be tried more often."
    gap = f"{abs(best['points']):.1f} points {'below' if best['points'] < 0 else 'above'} it"
    return (f"{opening}. The most tries within {points:g} points of its accuracy: {best['name']}, {best['tries']:,}, "
            f"{best['times']:,.1f} times as many, {gap}.")
