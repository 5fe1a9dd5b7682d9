"""Intervals for accuracies, paired differences and speed ratios. All at 95 %."""

import math

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


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


def ratio_of_medians(reference_s: np.ndarray, candidate_s: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """How many times faster: (median reference time / median candidate time, low, high).

    Args:
        reference_s, candidate_s: (rounds,) seconds, measured in the same interleaved rounds.

    The bootstrap draws whole rounds, so that what slowed both models in a round stays paired.
    """
    reference_s, candidate_s = np.asarray(reference_s, float), np.asarray(candidate_s, float)
    ratio = float(np.median(reference_s) / np.median(candidate_s))
    if np.array_equal(reference_s, candidate_s):
        return 1.0, 1.0, 1.0
    rounds = np.random.default_rng(seed).integers(0, len(reference_s), (2000, len(reference_s)))
    ratios = np.median(reference_s[rounds], axis=1) / np.median(candidate_s[rounds], axis=1)
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return ratio, float(low), float(high)
