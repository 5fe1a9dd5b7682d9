"""Accuracy against size: a law fitted to measured models, and the best of them for a budget."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from helpers.lab.errors import InputError


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
    """
    costs, errors = np.asarray(costs, float), np.asarray(errors, float)
    if costs.shape != errors.shape or len(np.unique(costs)) < 3 or costs.min() <= 0 or errors.min() <= 0:
        raise InputError("A law needs models of three different costs or more, each with a cost and an error above 0.")

    def line(floor: float) -> tuple[np.ndarray, float]:
        rest = np.log(errors - floor)
        coefficients = np.polyfit(np.log(costs), rest, 1)
        expected = floor + np.exp(np.polyval(coefficients, np.log(costs)))
        return coefficients, float(((np.log(expected) - np.log(errors)) ** 2).sum())

    found = minimize_scalar(lambda floor: line(floor)[1], bounds=(0.0, 0.999 * errors.min()), method="bounded")
    floor = float(found.x) if found.fun < line(0.0)[1] else 0.0
    (slope, start), _ = line(floor)
    return ErrorLaw(floor, float(np.exp(start)), -float(slope))


def best_for_budget(models: pd.DataFrame, budget: float, cost: str = "macs") -> pd.Series | None:
    """The row with the highest accuracy among those that cost at most so much; None where none does.

    Args:
        models: with the columns `accuracy` and the one named by `cost`.

    Raises:
        InputError: a column is missing.
    """
    if missing := [name for name in ("accuracy", cost) if name not in models]:
        raise InputError(f"The table of models has no column '{missing[0]}'. Its columns: {', '.join(models)}.")
    able = models[models[cost] <= budget]
    return None if able.empty else able.sort_values(["accuracy", cost], ascending=[False, True]).iloc[0]
