"""Confidence intervals for proportions, paired differences, means and bootstrapped statistics, at 95 %."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from helpers.lab.errors import InputError

CONFIDENCE = 0.95
DRAWS = 2000


def wilson(correct: int, total: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion, as fractions (Wilson, 1927)."""
    interval = stats.binomtest(correct, total).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(reference: np.ndarray, candidate: np.ndarray) -> tuple[float, float, float]:
    """Difference of two accuracies on the same rows: (candidate - reference, low, high).

    Args:
        reference, candidate: (n,) bool, whether each row was answered correctly.

    Newcombe's score interval for paired proportions (Statistics in Medicine 17:2635, 1998,
    method 10): unlike a bootstrap it keeps a width when the two models never disagree.
    """
    reference, candidate = np.asarray(reference, bool), np.asarray(candidate, bool)
    if reference.shape != candidate.shape or reference.ndim != 1 or not len(reference):
        raise ValueError(f"two equally long rows of answers are needed, got {reference.shape} and {candidate.shape}")
    total = len(reference)
    both = int((reference & candidate).sum())
    neither = int((~reference & ~candidate).sum())
    lost = int((reference & ~candidate).sum())
    won = int((~reference & candidate).sum())
    p_candidate, p_reference = candidate.mean(), reference.mean()
    low_c, high_c = wilson(int(candidate.sum()), total)
    low_r, high_r = wilson(int(reference.sum()), total)
    phi = _continuity_corrected_phi(both, won, lost, neither)
    delta = float(p_candidate - p_reference)

    def spread(to_candidate: float, to_reference: float) -> float:
        return math.sqrt(max(0.0, to_candidate**2 - 2 * phi * to_candidate * to_reference + to_reference**2))

    return (delta, delta - spread(p_candidate - low_c, high_r - p_reference),
            delta + spread(high_c - p_candidate, p_reference - low_r))


def _continuity_corrected_phi(both: int, won: int, lost: int, neither: int) -> float:
    total = both + won + lost + neither
    margins = (both + won) * (lost + neither) * (both + lost) * (won + neither)
    if margins == 0:
        return 0.0
    product = both * neither - won * lost
    if product > 0:
        product = max(product - total / 2, 0)
    return product / math.sqrt(margins)


def mcnemar_p(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Exact McNemar test: the chance of so uneven a split of the disagreements if neither is better."""
    lost = int((reference & ~candidate).sum())
    won = int((~reference & candidate).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> tuple:
    """(mean, low, high) of independent repetitions, by Student's t.

    Args:
        values: (n,) or (n, columns), one row a repetition.

    Returns:
        Floats, or (columns,) arrays. One repetition says nothing about the scatter: its bounds are NaN.

    Raises:
        InputError: no repetition.

    >>> from helpers.lab.measuring.intervals import mean_interval
    >>> [round(float(figure), 2) for figure in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    values = np.asarray(values, float)
    if not len(values):
        raise InputError("A mean needs at least one repetition.")
    mean = values.mean(axis=0)
    if len(values) == 1:
        return mean, mean * math.nan, mean * math.nan
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values, axis=0)
    return mean, mean - half, mean + half


def paired_mean_interval(reference: ArrayLike, candidate: ArrayLike) -> tuple:
    """(mean of candidate - reference, low, high) of repetitions that share their seeds; see `mean_interval`."""
    return mean_interval(np.asarray(candidate, float) - np.asarray(reference, float))


def bootstrap_draws(statistic: Callable[..., ArrayLike], *samples: ArrayLike, paired: bool = True, draws: int = DRAWS,
                    seed: int = 0) -> np.ndarray:
    """(..., draws) float64: a statistic of samples whose rows are drawn again, with replacement.

    Args:
        statistic: called as `statistic(*samples, axis=-1)`, where samples are (..., draws, n) float64; it reduces the
            last axis, as NumPy's functions do.
        samples: (n,) or (n, columns) of one shape; a row is drawn whole, so that what its columns share stays together.
        paired: the same rows are drawn from every sample; else each sample, of any n, is drawn on its own.
    """
    samples = [np.asarray(sample, float) for sample in samples]
    if min(map(len, samples)) < 2:  # SciPy refuses it: every draw is the sample itself
        whole = [np.moveaxis(sample, 0, -1)[..., None, :] for sample in samples]
        return np.repeat(np.asarray(statistic(*whole, axis=-1), float), draws, axis=-1)
    return stats.bootstrap(samples, lambda *drawn, axis: np.asarray(statistic(*drawn, axis=axis), float),
                           n_resamples=draws, vectorized=True, paired=paired and len(samples) > 1, axis=0,
                           method="percentile", rng=np.random.default_rng(seed)).bootstrap_distribution


def percentile_interval(draws: ArrayLike, axis: int = -1) -> tuple:
    """(low, high) between which the middle 95 % of bootstrap draws lie."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=axis)
    return low, high


def bootstrap_interval(statistic: Callable[..., ArrayLike], *samples: ArrayLike, draws: int = DRAWS,
                       seed: int = 0) -> tuple[float, float, float]:
    """(statistic, low, high) of (n,) samples by the percentile bootstrap over paired rows; see `bootstrap_draws`.

    >>> import numpy as np
    >>> from helpers.lab.measuring.intervals import bootstrap_interval
    >>> median, low, high = bootstrap_interval(np.median, [1.0, 2.0, 3.0, 4.0, 100.0])
    >>> median
    3.0
    """
    samples = [np.asarray(sample, float) for sample in samples]
    low, high = percentile_interval(bootstrap_draws(statistic, *samples, draws=draws, seed=seed))
    return float(statistic(*samples, axis=-1)), float(low), float(high)


def ratio_of_medians(reference_s: np.ndarray, candidate_s: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """How many times faster: (median reference time / median candidate time, low, high).

    Args:
        reference_s, candidate_s: (rounds,) seconds, measured in the same interleaved rounds.

    The bootstrap draws whole rounds, so that what slowed both models in a round stays paired.
    """
    if np.array_equal(reference_s, candidate_s):
        return 1.0, 1.0, 1.0

    def ratio(reference: np.ndarray, candidate: np.ndarray, axis: int) -> np.ndarray:
        return np.median(reference, axis) / np.median(candidate, axis)

    return bootstrap_interval(ratio, reference_s, candidate_s, seed=seed)
