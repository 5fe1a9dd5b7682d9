"""Intervals at 95% for proportions, paired differences, means and bootstrapped statistics; and what many tests say."""

import math
from collections.abc import Callable, Mapping

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


def clustered_wilson(right: ArrayLike, clusters: ArrayLike) -> tuple[float, float]:
    """Wilson's interval of a proportion whose rows come in clusters, as repetitions of one message do: (low, high).

    Args:
        right: (n,) bool. clusters: (n,) of any kind, equal for rows of one cluster.

    Rows of a cluster that agree tell less than as many independent ones: the interval is that of the effective number
    of rows, p (1 - p) over the variance of p between clusters (Kish, Survey Sampling, 1965). Where all rows are alike,
    it is that of clusters that agree within themselves.

    >>> from helpers.lab.measuring.intervals import clustered_wilson, wilson
    >>> [round(end, 6) for end in clustered_wilson([True, True, False, False], ["a", "a", "b", "b"])]
    [0.094531, 0.905469]
    >>> [round(end, 6) for end in wilson(1, 2)]
    [0.094531, 0.905469]
    """
    right, (_, places) = np.asarray(right, float), np.unique(np.asarray(clusters), return_inverse=True)
    sizes, p, total = np.bincount(places), float(right.mean()), len(right)
    between = float(((np.bincount(places, right) - p * sizes) ** 2).sum()) / total**2
    rows = min(total, p * (1 - p) / between) if between > 0 else total**2 / float((sizes**2).sum())
    z2 = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) ** 2
    centre, half = p + z2 / (2 * rows), math.sqrt(z2 * p * (1 - p) / rows + (z2 / (2 * rows)) ** 2)
    return (centre - half) / (1 + z2 / rows), (centre + half) / (1 + z2 / rows)


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


def paired_mean_p(reference: ArrayLike, candidate: ArrayLike) -> float:
    """P-value of Student's paired t test of repetitions that share their seeds; below 0.05 where the interval of
    `paired_mean_interval` leaves zero out. One repetition gives NaN."""
    differences = np.asarray(candidate, float) - np.asarray(reference, float)
    if np.ptp(differences) == 0 and len(differences) > 1:  # no scatter, for which SciPy warns
        return float(not differences.any())
    return float(stats.ttest_1samp(differences, 0).pvalue) if len(differences) > 1 else math.nan


def p_of_interval(value: float, low: float, high: float, neutral: float = 0.0) -> float:
    """The two-sided p-value of a 95% interval (Altman and Bland, BMJ 343:d2304, 2011); for a ratio, of logs.

    The error is normal, and as wide as the interval on the side of `neutral`, since those of the bootstrap need not
    be symmetric: so p is below 0.05 exactly where the interval leaves `neutral` out.

    >>> from helpers.lab.measuring.intervals import p_of_interval
    >>> round(p_of_interval(1.0, -0.96, 2.96), 2)
    0.32
    """
    distance = abs(value - neutral)
    spread = (value - low if value > neutral else high - value) / stats.norm.ppf(0.5 + CONFIDENCE / 2)
    if distance == 0:
        return 1.0
    return float(2 * stats.norm.sf(distance / spread)) if spread else 0.0


def holm(p_values: ArrayLike) -> np.ndarray:
    """(m,) p-values of m comparisons, adjusted so that the best of many is not taken for luck (Holm, 1979).

    With those below 0.05 called significant, the chance of one false call among all of them is at most 5%.
    A NaN, a comparison that could not be tested, stays one and does not count.

    >>> from helpers.lab.measuring.intervals import holm
    >>> holm([0.01, 0.04, 0.03, 0.005]).round(3).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    p_values = np.asarray(p_values, float)
    adjusted, tested = np.full(len(p_values), math.nan), np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p_values[order]))
    return adjusted


def significant_of_many(p_values: ArrayLike) -> np.ndarray:
    """(m,) bool: which of m comparisons that are read together are significant, see `holm`; one not tested is not.

    >>> from helpers.lab.measuring.intervals import significant_of_many
    >>> significant_of_many([0.01, 0.04, 0.03, math.nan]).tolist()
    [True, False, False, False]
    """
    return holm(p_values) < 1 - CONFIDENCE


def paired_differences(reference: np.ndarray,
                       candidates: Mapping[str, np.ndarray]) -> list[tuple[str, float, float, float, bool]]:
    """Several candidates that are read together beside one reference: (name, difference, low, high, significant).

    Args:
        reference, candidates: (n,) bool, whether each row was answered correctly; see `paired_difference`.

    Significant is by McNemar's test with all candidates taken into account (`holm`); each interval is its own.

    >>> import numpy as np
    >>> from helpers.lab import paired_differences
    >>> [(name, significant) for name, *_, significant in paired_differences(
    ...     np.ones(20, bool), {"4 bits": np.ones(20, bool), "2 bits": np.arange(20) < 8})]
    [('4 bits', False), ('2 bits', True)]
    """
    significant = significant_of_many([mcnemar_p(reference, right) for right in candidates.values()])
    return [(name, *paired_difference(reference, right), bool(counts))
            for (name, right), counts in zip(candidates.items(), significant, strict=True)]


def ratio_of_means(numerator: ArrayLike, denominator: ArrayLike) -> tuple[float, float, float]:
    """(mean of numerator / mean of denominator, low, high) of repetitions that share their seeds (Fieller, 1954).

    The bounds are NaN where the denominator is not distinguishable from zero, or with one repetition: any ratio may
    be true.

    >>> from helpers.lab.measuring.intervals import ratio_of_means
    >>> [round(figure, 3) for figure in ratio_of_means([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])]
    [0.4, -0.192, 0.599]
    """
    pair = np.stack([np.asarray(numerator, float), np.asarray(denominator, float)])
    above, below = pair.mean(axis=1)
    count = pair.shape[1]
    ratio = float(above / below) if below else math.nan
    if count < 2:
        return ratio, math.nan, math.nan
    (var_above, both), (_, var_below) = np.cov(pair) * stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) ** 2 / count
    square = below**2 - var_below
    if square <= 0:
        return ratio, math.nan, math.nan
    # The bounds r are where the mean of numerator - r * denominator is just not distinguishable from zero.
    middle = above * below - both
    half = math.sqrt(max(0.0, middle**2 - square * (above**2 - var_above)))  # rounding alone makes it negative
    return ratio, float((middle - half) / square), float((middle + half) / square)


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
    """(low, high) between which the middle 95% of bootstrap draws lie."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=axis)
    return low, high


def bootstrap_interval(statistic: Callable[..., ArrayLike], *samples: ArrayLike,
                       seed: int = 0) -> tuple[float, float, float]:
    """(statistic, low, high) of (n,) samples by the percentile bootstrap over paired rows; see `bootstrap_draws`.

    >>> import numpy as np
    >>> from helpers.lab.measuring.intervals import bootstrap_interval
    >>> median, low, high = bootstrap_interval(np.median, [1.0, 2.0, 3.0, 4.0, 100.0])
    >>> median
    3.0
    """
    samples = [np.asarray(sample, float) for sample in samples]
    low, high = percentile_interval(bootstrap_draws(statistic, *samples, seed=seed))
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


def ratio_over_processes(reference_s: ArrayLike, candidate_s: ArrayLike) -> tuple[float, float, float]:
    """How many times faster, from several fresh processes: (ratio, low, high), within which a second recording falls.

    Args:
        reference_s, candidate_s: (processes,) median seconds of each process.

    The same program is a few percent faster or slower from one process to the next (where its memory lies, which
    kernels were chosen), which no number of rounds in one of them shows. The ratio is the geometric mean over
    processes; the interval is Student's for the mean of as many other processes, on the scale of logarithms.

    Raises:
        InputError: fewer than two processes.

    >>> from helpers.lab.measuring.intervals import ratio_over_processes
    >>> [round(figure, 2) for figure in ratio_over_processes([2.0, 2.1, 2.2], [1.0, 1.0, 1.1])]
    [2.03, 1.84, 2.24]
    """
    logs = np.log(np.asarray(reference_s, float) / np.asarray(candidate_s, float))
    count = len(logs)
    if count < 2:
        raise InputError("An interval over processes needs at least two of them.")
    half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * logs.std(ddof=1) * math.sqrt(2 / count)
    return tuple(float(math.exp(logs.mean() + shift)) for shift in (0.0, -half, half))
