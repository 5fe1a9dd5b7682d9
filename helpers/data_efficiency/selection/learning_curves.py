"""How accuracy grows with labels: a power law through a few points, with a band, checked where it was not fitted."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit
from helpers.data_efficiency.options import USD_PER_LABEL
from helpers.data_efficiency.vectors import Features
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval
from helpers.lab.progress import Progress, silent

EXPONENTS = np.linspace(0.05, 2.0, 79)
DRAWS = 500


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """error(n) = floor + scale * n^-exponent, and as many bootstrap draws of the three: `draws` (m, 3)."""

    floor: float
    scale: float
    exponent: float
    draws: np.ndarray

    def accuracy(self, labels: float | np.ndarray) -> np.ndarray:
        """Accuracy with so many labels."""
        return 1 - self.floor - self.scale * np.asarray(labels, float) ** -self.exponent

    def band(self, labels: Sequence[float]) -> pd.DataFrame:
        """Columns labels, accuracy, low, high: the fit with its 95% bootstrap band."""
        n = np.asarray(labels, float)
        curves = 1 - self.draws[:, :1] - self.draws[:, 1:2] * n[None, :] ** -self.draws[:, 2:]
        low, high = percentile_interval(curves, axis=0)
        return pd.DataFrame({"labels": n, "accuracy": self.accuracy(n), "low": low, "high": high})

    def labels_to_reach(self, accuracy: float) -> tuple[float, float, float]:
        """(labels, low, high) with which the curve reaches an accuracy; inf where it never does.

        Raises:
            InputError: not a share between 0 and 1.
        """
        if not 0 < accuracy < 1:
            raise InputError(f"An accuracy is a share between 0 and 1, not {accuracy}.")
        draws = np.array([_inverse(*draw, accuracy) for draw in self.draws])
        low, high = np.quantile(draws, [0.025, 0.975], method="nearest")  # between a number and infinity is nothing
        return _inverse(self.floor, self.scale, self.exponent, accuracy), float(low), float(high)

    def next_point(self, labels: float, usd_per_label: float = USD_PER_LABEL) -> tuple[float, float]:
        """(labels, dollars) that one more point of accuracy takes from `labels` on; inf where there is none."""
        goal = float(self.accuracy(labels)) + 0.01
        more = _inverse(self.floor, self.scale, self.exponent, goal) - labels if goal < 1 else np.inf
        return more, more * usd_per_label


def measure_curve(data: Features, sizes: Sequence[int] | None = None, seeds: int = 5,
                  progress: Progress = silent) -> pd.DataFrame:
    """Test accuracy with few and with many labels, drawn at random, the smaller draws within the larger ones.

    Args:
        sizes: numbers of labels; by default eight steps, each 1.5 times the last, up to all training rows.

    Returns:
        Columns labels, seed, accuracy.
    """
    total = len(data.train_y)
    if sizes is None:
        sizes = sorted({max(len(data.labels), round(total / 1.5**step)) for step in range(8)})
    if min(sizes) < 1 or max(sizes) > total:
        raise InputError(f"{data.task} has {total} training rows; sizes must be 1 to {total}.")
    rows = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(total)
        for number, size in enumerate(sizes):
            progress((seed + number / len(sizes)) / seeds, f"{size:,} labels, seed {seed + 1} of {seeds}")
            part = np.sort(order[:size])
            model = fit(data.train[part], data.train_y[part], len(data.labels))
            rows.append({"labels": int(size), "seed": seed, "accuracy": model.accuracy(data.test, data.test_y)})
    progress(1.0, "done")
    return pd.DataFrame(rows)


def fit_curve(points: pd.DataFrame) -> LearningCurve:
    """A power law with a floor (Hestness et al., arXiv 1712.00409), by least squares over the mean accuracies.

    Args:
        points: columns labels, seed and accuracy, at least three different numbers of labels.

    The band draws whole seeds, so that what was lucky in one draw stays together; with one seed, the residuals.

    Raises:
        InputError: fewer than three numbers of labels.

    >>> import pandas as pd
    >>> from helpers.data_efficiency import fit_curve
    >>> points = pd.DataFrame({"labels": [100, 400, 1600], "seed": 0, "accuracy": [0.8, 0.9, 0.95]})
    >>> round(float(fit_curve(points).accuracy(6400)), 3)
    0.975
    """
    table = points.pivot_table(index="seed", columns="labels", values="accuracy")
    sizes, errors = table.columns.to_numpy(float), 1 - table.to_numpy()
    if len(sizes) < 3:
        raise InputError(f"A learning curve needs three or more different numbers of labels, not {len(sizes)}.")
    best = _least_squares(sizes, errors.mean(0))
    if len(errors) > 1:
        means = bootstrap_draws(np.mean, errors, draws=DRAWS).T  # (draws, sizes)
    else:
        fitted = best[0] + best[1] * sizes ** -best[2]
        means = fitted + np.random.default_rng(0).choice(errors[0] - fitted, (DRAWS, len(sizes)))
    return LearningCurve(*best, np.array([_least_squares(sizes, mean) for mean in means]))


def check_curve(points: pd.DataFrame) -> dict[str, float]:
    """Fit on the left half of the curve, predict its end, and look: labels, predicted, low, high, measured, off.

    The left half is every number of labels up to half of the largest.
    """
    most = points["labels"].max()
    curve = fit_curve(points[points["labels"] <= most / 2])
    guess = curve.band([most]).iloc[0]
    measured = float(points.loc[points["labels"] == most, "accuracy"].mean())
    return {"labels": float(most), "predicted": float(guess["accuracy"]), "low": float(guess["low"]),
            "high": float(guess["high"]), "measured": measured, "off": float(guess["accuracy"]) - measured}


def _least_squares(sizes: np.ndarray, errors: np.ndarray) -> tuple[float, float, float]:
    """(floor, scale, exponent): for each exponent of the grid the best floor and scale are known in closed form."""
    powers = sizes[None, :] ** -EXPONENTS[:, None]
    centred = powers - powers.mean(1, keepdims=True)
    scale = (centred * (errors - errors.mean())).sum(1) / (centred**2).sum(1)
    floor = errors.mean() - scale * powers.mean(1)
    below = floor < 0  # an error is no less than nothing
    scale = np.where(below, (powers * errors).sum(1) / (powers**2).sum(1), scale)
    floor = np.where(below, 0.0, floor)
    flat = scale < 0  # nor does it grow with labels
    scale, floor = np.where(flat, 0.0, scale), np.where(flat, errors.mean(), floor)
    lost = ((floor[:, None] + scale[:, None] * powers - errors) ** 2).sum(1)
    best = int(lost.argmin())
    return float(floor[best]), float(scale[best]), float(EXPONENTS[best])


def _inverse(floor: float, scale: float, exponent: float, accuracy: float) -> float:
    left = 1 - accuracy - floor
    if left <= 0:
        return float("inf")
    return float((scale / left) ** (1 / exponent)) if scale > 0 else 0.0
