"""Power laws fitted to measurements: time over the length of a text, errors over the size of a model."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval

DRAWS = 1000  # of the bootstrap


def fit_exponents(times: pd.DataFrame, min_length: int = 0) -> pd.DataFrame:
    """The b of seconds = a * length^b for each kind, by least squares on logarithms of the medians.

    Args:
        times: of attention_times.
        min_length: lengths below it are left out: what does not grow with the text, and the window,
            bend the curve there.

    Returns:
        One row a kind: kind, exponent, low, high (95%; the bootstrap draws whole rounds, so that
        what slowed all lengths of a round stays together).

    Raises:
        InputError: fewer than two lengths remain.

    >>> times = pd.DataFrame({"kind": "full", "length": [8, 16], "round": 0, "seconds": [64.0, 256.0]})
    >>> fit_exponents(times)["exponent"].round(2).tolist()
    [2.0]
    """
    used = times[times["length"] >= min_length]
    if used["length"].nunique() < 2:
        raise InputError(f"An exponent needs two lengths of {min_length} tokens or more.")
    rows = []
    for kind, group in used.groupby("kind", sort=False):
        seconds = group.pivot(index="round", columns="length", values="seconds")
        logs = np.log(seconds.columns.to_numpy(float))
        values = seconds.to_numpy()  # (rounds, lengths)
        medians = bootstrap_draws(np.median, values, draws=DRAWS)  # (lengths, draws)
        low, high = percentile_interval([_slope(logs, drawn) for drawn in medians.T])
        rows.append({"kind": kind, "exponent": _slope(logs, np.median(values, axis=0)), "low": float(low),
                     "high": float(high)})
    return pd.DataFrame(rows)


def _slope(log_lengths: np.ndarray, seconds: np.ndarray) -> float:
    return float(np.polyfit(log_lengths, np.log(seconds), 1)[0])


@dataclasses.dataclass(frozen=True)
class ErrorLaw:
    """error = floor + factor * cost^-exponent."""

    floor: float
    factor: float
    exponent: float

    def error(self, cost: float) -> float:
        """The share of wrong answers that the law expects at a cost."""
        return self.floor + self.factor * cost**-self.exponent


def fit_error_law(costs: Sequence[float], errors: Sequence[float]) -> ErrorLaw:
    """The saturating power law of errors (fractions) over costs (parameters, or MACs), by least squares on logarithms.

    The floor is searched for between 0 and the smallest error; for each, factor and exponent are a straight line.

    Raises:
        InputError: fewer than three different costs, or a cost or error of 0 or less.

    >>> law = fit_error_law([1e3, 1e4, 1e5, 1e6], [0.33, 0.12, 0.054, 0.034])
    >>> round(law.error(1e7), 2)
    0.03
    """
    costs, errors = np.asarray(costs, float), np.asarray(errors, float)
    if costs.shape != errors.shape or len(np.unique(costs)) < 3 or costs.min() <= 0 or errors.min() <= 0:
        raise InputError("A law needs models of three different costs or more, each with a cost and an error above 0.")

    def line(floor: float) -> tuple[np.ndarray, float]:
        rest = np.log(errors - floor)
        coefficients = np.polyfit(np.log(costs), rest, 1)
        expected = floor + np.exp(np.polyval(coefficients, np.log(costs)))
        return coefficients, float(((np.log(expected) - np.log(errors)) ** 2).sum())

    fit = minimize_scalar(lambda floor: line(floor)[1], bounds=(0.0, 0.999 * errors.min()), method="bounded")
    floor = float(fit.x) if fit.fun < line(0.0)[1] else 0.0
    (slope, start), _ = line(floor)
    return ErrorLaw(floor, float(np.exp(start)), -float(slope))


def best_for_budget(models: pd.DataFrame, budget: float) -> pd.Series | None:
    """The row with the highest accuracy among rows of at most so many MACs; None if there is none.

    Args:
        models: with the columns `accuracy` and `macs`.

    Raises:
        InputError: a column is missing.
    """
    if missing := [name for name in ("accuracy", "macs") if name not in models]:
        raise InputError(f"The table of models has no column '{missing[0]}'. Its columns: {', '.join(models)}.")
    affordable = models[models["macs"] <= budget]
    return (None if affordable.empty else
            affordable.sort_values(["accuracy", "macs"], ascending=[False, True]).iloc[0])
