"""The exponents of times that grow with the length of a text."""

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval


def fit_exponents(times: pd.DataFrame, shortest: int = 0, draws: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The b of seconds = a * length^b for each kind, by least squares on logarithms of the medians.

    Args:
        times: of attention_times.
        shortest: lengths below it are left out: what does not grow with the text, and the window,
            bend the curve there.

    Returns:
        One row a kind: kind, exponent, low, high (95 %; the bootstrap draws whole rounds, so that
        what slowed all lengths of a round stays together).

    Raises:
        InputError: fewer than two lengths remain.
    """
    used = times[times["length"] >= shortest]
    if used["length"].nunique() < 2:
        raise InputError(f"An exponent needs two lengths of {shortest} tokens or more.")
    rows = []
    for kind, group in used.groupby("kind", sort=False):
        seconds = group.pivot(index="round", columns="length", values="seconds")
        logs = np.log(seconds.columns.to_numpy(float))
        values = seconds.to_numpy()
        medians = bootstrap_draws(np.median, values, draws=draws, seed=seed)  # (lengths, draws)
        low, high = percentile_interval([_slope(logs, drawn) for drawn in medians.T])
        rows.append({"kind": kind, "exponent": _slope(logs, np.median(values, axis=0)), "low": float(low),
                     "high": float(high)})
    return pd.DataFrame(rows)


def _slope(log_lengths: np.ndarray, seconds: np.ndarray) -> float:
    return float(np.polyfit(log_lengths, np.log(seconds), 1)[0])
