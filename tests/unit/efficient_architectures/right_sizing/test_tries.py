"""Tries that fit into eight hours, by hand; and what is said when the quick ones are good, bad, or not quick."""

import pytest

from helpers.efficient_architectures import explain_tries, tries_a_day
from helpers.lab import InputError

NAMES = ["large", "small", "tiny"]


def test_tries_by_hand():
    """Eight hours have 28,800 seconds: 137 times 210 s, and 30 s are left."""
    result = tries_a_day(NAMES, [210.0, 28_800.0, 28_801.0], [0.75, 0.5, 0.8])
    assert result["tries"].tolist() == [137, 1, 0]
    assert result["times"].tolist() == pytest.approx([1, 210 / 28_800, 210 / 28_801])
    assert result["points"].tolist() == pytest.approx([0, -25, 5])


@pytest.mark.parametrize(("seconds", "accuracies", "words"), [
    ((100, 10, 1), (0.9, 0.89, 0.5), ["2 can be trained more often", "small, 2,880, 10.0 times as many, 1.0 points"]),
    ((100, 10, 1), (0.9, 0.8, 0.85), ["none comes within 2 points", "tiny, loses 5.0 points for 28,800 tries"]),
    ((100, 10, 50), (0.9, 0.8, 0.91), ["tiny, 576, 2.0 times as many, 1.0 points above it"]),
    ((10, 100, 50), (0.9, 0.9, 0.91), ["0 can be trained more often, 2 less often", "none can be tried more often"]),
    ((100, 90, 95), (0.9, 0.9, 0.9), ["0 can be trained more often, 0 less often", "none can be tried more often"])])
def test_quick_ways_may_be_near_far_or_not_quick(seconds, accuracies, words):
    said = explain_tries(tries_a_day(NAMES, seconds, accuracies), points=2.0)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(("names", "seconds"), [(["alone"], [1.0]), (["a", "b"], [1.0, 0.0])])
def test_nothing_to_compare_is_refused(names, seconds):
    with pytest.raises(InputError, match="above 0"):
        tries_a_day(names, seconds, [0.5] * len(names))
