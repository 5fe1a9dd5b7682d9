"""Attention measured: times, caches and memory beside the formulas."""

import numpy as np
import pytest
import torch

from helpers.efficient_architectures import attention_times, cache_table, peak_working_bytes, working_bytes
from helpers.efficient_architectures.options import ATTENTIONS, Shape
from helpers.lab import InputError

SMALL = Shape(heads=4, kv_heads=2, head_dim=8, window=16)


def test_the_cache_on_paper_is_what_transformers_holds():
    table = cache_table([64, 100], Shape(heads=4, kv_heads=2, head_dim=8, window=32)).dropna()
    assert set(table["kind"]) == {"full", "grouped-query", "multi-query", "sliding window"}
    np.testing.assert_allclose(table["measured_bytes"], table["paper_bytes"], rtol=0.05)


def test_the_matrix_is_what_fused_attention_never_holds():
    shape = Shape(heads=2, kv_heads=1, head_dim=16, window=32)
    kept, fused = (peak_working_bytes(kind, 512, shape) for kind in ("full, materialized", "full"))
    assert kept >= 2 * 2 * 512**2 * 4
    assert fused < kept / 4


@pytest.mark.parametrize("kind", ATTENTIONS[:4])
@pytest.mark.parametrize("length", [256, 1024])
def test_the_formula_for_memory_is_within_five_percent_of_what_is_allocated(kind, length):
    shape = Shape(heads=4, kv_heads=2, head_dim=32)
    measured = peak_working_bytes(kind, length, shape)
    assert working_bytes(kind, length, shape, torch.get_num_threads()) == pytest.approx(measured, rel=0.05)


def test_times_come_for_each_kind_length_and_round():
    result = attention_times([32, 64], ["full", "linear"], SMALL, rounds=3)
    assert len(result) == 2 * 2 * 3
    assert (result["seconds"] > 0).all()


def test_times_need_a_length():
    with pytest.raises(InputError, match=r"lengths of 1 token or more.*\.$"):
        attention_times([], rounds=3)
