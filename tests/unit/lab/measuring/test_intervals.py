"""Intervals against published values, closed forms, SciPy and simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import (
    bootstrap_draws,
    bootstrap_interval,
    clustered_wilson,
    holm,
    mcnemar_p,
    mean_interval,
    p_of_interval,
    paired_difference,
    paired_differences,
    paired_mean_interval,
    paired_mean_p,
    percentile_interval,
    ratio_of_means,
    ratio_of_medians,
    ratio_over_processes,
    wilson,
)

Z = 1.959963984540054  # the normal distribution's 97.5% point


def answers(both: int, reference_only: int, candidate_only: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """(reference, candidate), whether each row was answered correctly."""
    counts = [both, reference_only, candidate_only, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


# Newcombe, Statistics in Medicine 17:857 (1998), Table I, method 3
@pytest.mark.parametrize(("correct", "total", "low", "high"), [
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)])
def test_wilson_gives_the_published_intervals(correct, total, low, high):
    assert wilson(correct, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("correct", "total"), [(0, 1), (3, 3), (7, 9), (500, 600)])
def test_wilson_is_the_closed_form(correct, total):
    p, n = correct / total, total
    middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    assert wilson(correct, total) == pytest.approx((middle - half, middle + half), abs=1e-9)


# Cavo et al. (2012) in Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8
def test_the_paired_difference_is_the_published_one():
    reference, candidate = answers(59, 16, 6, 80)
    assert paired_difference(reference, candidate) == pytest.approx((-0.0621, -0.1186, -0.0046), abs=5e-5)


def score_limits(p: float, n: int) -> tuple[float, float]:
    """Where the score test just rejects, found by search: no closed form."""
    def excess(x):
        return (p - x) ** 2 * n - Z**2 * x * (1 - x)

    inside = min(max(p, 1e-9), 1 - 1e-9)  # at 0 and 1 the estimate itself is a root, and not the one sought
    low = optimize.brentq(excess, 0, inside, xtol=1e-14) if p > 0 else 0.0
    return low, (optimize.brentq(excess, inside, 1, xtol=1e-14) if p < 1 else 1.0)


@pytest.mark.parametrize("table", [(30, 5, 2, 3), (0, 4, 9, 1), (50, 0, 0, 10), (10, 10, 10, 10), (9, 8, 0, 0)])
def test_the_paired_difference_is_newcombes_method_10(table):
    both, reference_only, candidate_only, neither = table
    n = sum(table)
    p, q = (both + candidate_only) / n, (both + reference_only) / n
    (low_p, high_p), (low_q, high_q) = score_limits(p, n), score_limits(q, n)
    product = both * neither - reference_only * candidate_only
    corrected = max(product - n / 2, 0) if product > 0 else product
    margins = p * (1 - p) * q * (1 - q)
    phi = corrected / n**2 / math.sqrt(margins) if margins else 0.0
    below, above = np.array([p - low_p, high_q - q]), np.array([high_p - p, q - low_q])
    correlation = np.array([[1, -phi], [-phi, 1]])
    expected = p - q, p - q - math.sqrt(below @ correlation @ below), p - q + math.sqrt(above @ correlation @ above)
    assert paired_difference(*answers(*table)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("p_reference", "better", "worse", "n"), [(0.8, 0.03, 0.05, 150), (0.95, 0.02, 0.02, 100)])
def test_the_paired_interval_covers_the_truth_in_95_of_100_runs(p_reference, better, worse, n):
    """`better` and `worse`: shares of rows that only the candidate, or only the reference, gets right."""
    shares = [p_reference - worse, worse, better, 1 - p_reference - better]
    tables = np.random.default_rng(5).multinomial(n, shares, size=1500)
    unique, counts = np.unique(tables, axis=0, return_counts=True)
    inside = 0
    for table, count in zip(unique, counts, strict=True):
        _, low, high = paired_difference(*answers(*table))
        inside += count * (low <= better - worse <= high)
    assert inside / len(tables) >= 0.93


def test_swapping_the_two_models_mirrors_the_interval():
    reference, candidate = answers(40, 7, 3, 10)
    delta, low, high = paired_difference(reference, candidate)
    assert paired_difference(candidate, reference) == pytest.approx((-delta, -high, -low), abs=1e-12)


def test_identical_answers_differ_by_nothing_but_not_with_certainty():
    reference, _ = answers(50, 0, 0, 10)
    delta, low, high = paired_difference(reference, reference)
    assert delta == 0
    assert low < 0 < high


def test_one_of_several_candidates_counts_only_among_all_of_them():
    rows = np.arange(100)
    lost = {name: rows >= count for name, count in (("a", 6), ("b", 0), ("c", 8))}
    alone = paired_differences(rows >= 0, {"a": lost["a"]})
    together = paired_differences(rows >= 0, lost)
    assert alone[0][-1]  # 6 lost of 6 that differ: 2 / 2^6 = 0.031
    assert [row[-1] for row in together] == [False, False, True]  # 2 x 0.031; 3 x 2 / 2^8 = 0.023
    assert [row[:4] for row in together] == [(name, *paired_difference(rows >= 0, right))
                                             for name, right in lost.items()]


def test_rows_of_different_length_are_not_compared():
    with pytest.raises(ValueError, match="equally long"):
        paired_difference(np.ones(3, bool), np.ones(4, bool))


# Two-sided exact binomial: twice the tail of the smaller of the two counts, over 2^n
@pytest.mark.parametrize(("won", "lost", "p"), [
    (1, 6, 2 * (1 + 7) / 2**7), (0, 5, 2 / 2**5), (2, 8, 2 * (1 + 10 + 45) / 2**10), (4, 4, 1.0), (0, 0, 1.0)])
def test_mcnemar_is_the_binomial_of_the_disagreements(won, lost, p):
    assert mcnemar_p(*answers(20, lost, won, 5)) == pytest.approx(p)


def interleaved(ratio: float, rounds: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of two models: what slows a round down slows both, and each has noise of its own."""
    common = np.exp(rng.normal(0, 0.3, rounds))
    reference, candidate = np.exp(rng.normal(0, 0.05, (2, rounds)))
    return ratio * common * reference, common * candidate


def test_the_ratios_interval_covers_the_known_ratio():
    rng = np.random.default_rng(3)
    runs = [ratio_of_medians(*interleaved(2.0, 21, rng), seed=run) for run in range(150)]
    assert np.mean([low <= 2.0 <= high for _, low, high in runs]) >= 0.93
    assert all(low <= ratio <= high for ratio, low, high in runs)


def test_more_rounds_narrow_the_ratios_interval():
    rng = np.random.default_rng(0)
    few, many = (ratio_of_medians(*interleaved(2.0, rounds, rng)) for rounds in (7, 200))
    assert many[2] - many[1] < few[2] - few[1]


def test_a_ratio_of_a_model_to_itself_is_one():
    assert ratio_of_medians(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])) == (1.0, 1.0, 1.0)


def test_the_ratio_is_of_the_medians():
    ratio, _, _ = ratio_of_medians(np.array([4.0, 6.0, 100.0]), np.array([1.0, 2.0, 3.0]))
    assert ratio == 3.0


def test_a_means_interval_is_students():
    # Mean 2, standard deviation 1, three values: t = 4.3027.
    half = 4.3027 / 3**0.5
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - half, 2 + half), rel=1e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_means_interval_is_the_one_of_scipys_t_test(confidence):
    values = np.random.default_rng(0).normal(3, 2, 9)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert mean_interval(values, confidence) == pytest.approx((values.mean(), expected.low, expected.high))


def test_columns_have_the_intervals_that_they_have_alone():
    values = np.random.default_rng(1).normal(size=(6, 3))
    np.testing.assert_allclose(np.transpose(mean_interval(values)), [mean_interval(column) for column in values.T])


def test_equal_repetitions_have_an_interval_of_no_width():
    assert mean_interval([0.0, 0.0, 0.0]) == (0, 0, 0)


def test_one_repetition_has_a_mean_and_no_bounds_and_none_is_refused():
    mean, low, high = mean_interval([0.7])
    assert mean == 0.7
    assert math.isnan(low)
    assert math.isnan(high)
    with pytest.raises(InputError, match="at least one repetition"):
        mean_interval([])


@pytest.mark.parametrize("repetitions", [2, 3, 5])
def test_a_means_interval_covers_the_truth_in_95_of_100_runs_however_few_the_repetitions(repetitions):
    """1.96 standard errors would hold it in 70 to 88 of 100."""
    runs = np.random.default_rng(2).normal(1.0, 0.3, (repetitions, 4000))
    _, low, high = mean_interval(runs)
    assert np.mean((low <= 1.0) & (high >= 1.0)) == pytest.approx(0.95, abs=0.015)


def test_paired_means_are_those_of_the_differences():
    reference, candidate = np.array([0.5, 0.7, 0.6]), np.array([0.6, 0.9, 0.7])
    assert paired_mean_interval(reference, candidate) == mean_interval([0.6 - 0.5, 0.9 - 0.7, 0.7 - 0.6])


def test_a_paired_p_value_is_scipys():
    one, other = np.random.default_rng(3).normal(size=(2, 6))
    assert paired_mean_p(one, other) == pytest.approx(stats.ttest_rel(other, one).pvalue)
    assert paired_mean_p([1, 2], [1, 2]) == 1
    assert paired_mean_p([1, 2], [2, 3]) == 0
    assert math.isnan(paired_mean_p([1], [2]))


def test_the_p_value_of_an_interval_is_the_published_one():
    # Altman and Bland, BMJ 343:d2304: a ratio of 0.81 (0.70 to 0.94) has p = 0.005
    assert p_of_interval(*map(math.log, (0.81, 0.70, 0.94))) == pytest.approx(0.005, abs=0.001)


@pytest.mark.parametrize("value", [-3.0, -1.9, 0.0, 0.5, 2.1])
def test_the_p_value_of_a_normal_interval_is_that_of_the_z_test(value):
    p = p_of_interval(value, value - stats.norm.ppf(0.975), value + stats.norm.ppf(0.975))
    assert p == pytest.approx(2 * stats.norm.sf(abs(value)))


@pytest.mark.parametrize(("low", "high"), [(0.9, 1.8), (1.01, 3.0), (0.2, 1.3)])
def test_a_p_value_is_below_5_percent_where_the_interval_leaves_the_neutral_value_out(low, high):
    assert (p_of_interval(1.25, low, high, neutral=1.0) < 0.05) == (not low <= 1.0 <= high)


def test_an_interval_without_width_is_certain():
    assert p_of_interval(1.0, 1.0, 1.0) == 0.0
    assert p_of_interval(0.0, 0.0, 0.0) == 1.0


def test_holm_gives_the_worked_example_and_leaves_what_was_not_tested():
    """0.005 x 4, then 0.01 x 3, then 0.03 x 2; 0.04 x 1 is no less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.02]), [0.02, np.nan, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("seed", range(30))
def test_holm_is_the_closed_test_of_bonferronis(seed):
    """By brute force: the largest Bonferroni p-value of all subsets that a comparison is in; half of them with ties."""
    rng = np.random.default_rng(seed)
    p_values = rng.random(1 + seed % 5) ** 2
    p_values = p_values.round(1) if seed % 2 else p_values
    expected = [max(min(1.0, len(subset) * min(p_values[i] for i in subset))
                    for size in range(1, len(p_values) + 1)
                    for subset in itertools.combinations(range(len(p_values)), size) if place in subset)
                for place in range(len(p_values))]
    assert holm(p_values) == pytest.approx(expected)


def test_a_ratio_of_means_ends_where_the_t_test_of_its_difference_is_just_significant():
    gain, loss = np.array([0.05, 0.04, 0.05, 0.06, 0.04]), np.array([0.10, 0.08, 0.09, 0.11, 0.07])
    ratio, low, high = ratio_of_means(gain, loss)
    assert ratio == pytest.approx(gain.mean() / loss.mean())
    for bound in (low, high):
        assert stats.ttest_1samp(gain - bound * loss, 0).pvalue == pytest.approx(0.05)
    assert low < ratio < high


def test_a_ratio_over_what_may_be_nothing_has_no_bounds():
    ratio, low, high = ratio_of_means([0.01, 0.02, 0.01], [0.01, -0.01, 0.02])
    assert ratio == pytest.approx(2)
    assert math.isnan(low)
    assert math.isnan(high)
    assert math.isnan(ratio_of_means([1.0], [2.0])[1])


def test_a_ratio_of_means_covers_the_truth_in_95_of_100_runs():
    rng, hits = np.random.default_rng(4), 0
    for _ in range(1500):
        loss = rng.normal(0.10, 0.02, 5)
        _, low, high = ratio_of_means(0.6 * loss + rng.normal(0, 0.01, 5), loss)
        hits += low <= 0.6 <= high
    assert hits / 1500 == pytest.approx(0.95, abs=0.02)


def test_the_bootstrap_draws_whole_rows_of_all_paired_samples():
    table = np.stack([np.arange(6.0), np.arange(6.0) + 10], axis=1)

    def apart(one, other, axis):
        assert one.shape == (2, 50, 6)  # columns, draws, rows
        np.testing.assert_array_equal(one[1] - one[0], np.full((50, 6), 10))
        np.testing.assert_array_equal(other, one + 20)
        return one.mean(axis)

    assert bootstrap_draws(apart, table, table + 20, draws=50).shape == (2, 50)


def test_samples_that_are_not_paired_are_drawn_on_their_own():
    def same(one, other, axis):
        return (one == other).mean(axis)

    rows = np.arange(8)
    assert bootstrap_draws(same, rows, rows, draws=20).min() == 1
    assert bootstrap_draws(same, rows, rows, draws=20, paired=False).max() < 1


def test_bootstrapped_means_scatter_as_the_standard_error_says():
    values = np.random.default_rng(3).normal(size=200)
    draws = bootstrap_draws(np.mean, values)
    assert draws.std() == pytest.approx(values.std() / math.sqrt(200), rel=0.05)
    mean, low, high = bootstrap_interval(np.mean, values)
    assert (mean, low, high) == (values.mean(), *percentile_interval(draws))
    assert (low, high) == pytest.approx(mean_interval(values)[1:], abs=0.03)


def test_draws_of_a_pair_are_those_of_all_samples_with_repeats():
    """Of two values, both are the smaller one in a quarter of the draws: a minimum of 1 in three quarters."""
    draws = bootstrap_draws(np.min, [1.0, 2.0])
    assert set(draws) == {1.0, 2.0}
    assert (draws == 1).mean() == pytest.approx(0.75, abs=0.03)


def test_a_single_row_is_every_draw():
    assert bootstrap_interval(np.median, [3.0]) == (3.0, 3.0, 3.0)
    np.testing.assert_array_equal(bootstrap_draws(np.mean, [[1.0, 2.0]], draws=2), [[1.0, 1.0], [2.0, 2.0]])


def recording(rng, processes: int, rounds: int = 7, between: float = 0.03, within: float = 0.01) -> tuple:
    """(processes, rounds) seconds of two models, the first twice as slow: each process has a speed of its own."""
    speeds = np.exp(rng.normal(0, between, (2, processes, 1)))
    noise = np.exp(rng.normal(0, within, (2, processes, rounds)))
    return tuple(np.array([2.0, 1.0])[:, None, None] * speeds * noise)


def test_an_interval_over_processes_covers_a_second_recording_and_one_over_rounds_does_not():
    """As between recordings that said 2.185 to 2.257 and 2.287 to 2.362 of the same two models."""
    rng, covered = np.random.default_rng(0), {"processes": [], "rounds": []}
    for _ in range(400):
        (first, second) = ([np.median(times, axis=1) for times in recording(rng, 3)] for _ in range(2))
        _, low, high = ratio_over_processes(*first)
        covered["processes"].append(low <= ratio_over_processes(*second)[0] <= high)
        one, other = (recording(rng, 1) for _ in range(2))
        _, low, high = ratio_of_medians(one[0][0], one[1][0])
        covered["rounds"].append(low <= np.median(other[0]) / np.median(other[1]) <= high)
    assert np.mean(covered["processes"]) == pytest.approx(0.95, abs=0.03)
    assert np.mean(covered["rounds"]) < 0.5


def test_a_ratio_over_processes_is_their_geometric_mean():
    assert ratio_over_processes([2.0, 8.0], [1.0, 1.0])[0] == pytest.approx(4.0)
    assert ratio_over_processes([3.0, 3.0], [1.5, 1.5]) == pytest.approx((2.0, 2.0, 2.0))
    with pytest.raises(InputError, match="at least two"):
        ratio_over_processes([1.0], [2.0])


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(1, 9))
def test_rows_that_only_repeat_each_other_tell_as_much_as_one_of_them(outcomes, times):
    """Each of so many messages comes so often, always with the same outcome: Wilson's interval of the messages."""
    low, high = clustered_wilson(np.repeat(outcomes, times), np.repeat(np.arange(len(outcomes)), times))
    assert (low, high) == pytest.approx(wilson(sum(outcomes), len(outcomes)))


def test_an_interval_of_repeating_rows_holds_the_truth_where_the_plain_one_does_not():
    """60 messages, each right for good with a chance of 0.3, come 10 times each."""
    rng, covered = np.random.default_rng(0), {"plain": 0, "clustered": 0}
    for _ in range(400):
        right = np.repeat(rng.random(60) < 0.3, 10)
        for name, (low, high) in (("plain", wilson(int(right.sum()), 600)),
                                  ("clustered", clustered_wilson(right, np.repeat(np.arange(60), 10)))):
            covered[name] += low <= 0.3 <= high
    assert covered["plain"] / 400 < 0.6
    assert covered["clustered"] / 400 > 0.92
