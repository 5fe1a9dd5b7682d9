"""Which beginnings prompts share."""


import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import Prefixes
from helpers.lab import InputError


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=20), st.floats(0, 1), st.integers(1, 4))
def test_prompts_of_a_group_share_the_blocks_of_their_template_and_no_others(tokens, share, groups):
    prefixes = Prefixes.shared(tokens, share, groups, block=16)
    rows = np.split(prefixes.ids, prefixes.first[1:-1])
    assert [len(row) for row in rows] == [int(share * count) // 16 for count in tokens]
    for one in rows:
        for other in rows:  # alike from the first block to the end of the shorter one, or in none
            common = int(np.cumprod(one[:len(other)] == other[:len(one)]).sum())
            assert common in (0, min(len(one), len(other)))
            assert len(set(one.tolist()) & set(other.tolist())) == common
    assert len({row[0] for row in rows if len(row)}) <= groups
    assert prefixes.ids.min(initial=1) >= 1


def test_equal_hashes_are_equal_blocks():
    prefixes = Prefixes.of_hashes([[5, 900], [], [5, 7]])
    assert (prefixes.block, prefixes.first.tolist()) == (512, [0, 2, 2, 4])
    assert prefixes.ids[0] == prefixes.ids[2]
    assert len(set(prefixes.ids.tolist())) == 3


@pytest.mark.parametrize("call", [lambda: Prefixes.shared([9], 1.5), lambda: Prefixes.shared([9], 0.5, groups=0),
                                  lambda: Prefixes.of_hashes([[1]], block=0)])
def test_shares_and_blocks_that_cannot_be_are_refused(call):
    with pytest.raises(InputError, match=r"share is from 0|1 token or more"):
        call()
