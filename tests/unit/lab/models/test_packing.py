"""Weights in just so many bits."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.lab.models.packing import PackedWeight, pack, unpack


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.sampled_from([1, 3, 8]), st.integers(0, 2**32 - 1))
def test_packed_codes_come_back_as_they_were(bits, rows, groups, group_size, seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-2 ** (bits - 1), 2 ** (bits - 1), (rows, groups * group_size)).astype(np.int8)
    scale = torch.from_numpy(rng.random((rows, groups)).astype(np.float16))
    stored = pack("layer", PackedWeight(bits, group_size, torch.from_numpy(codes), scale))
    weights, packed = unpack({"other": torch.ones(2), **stored})
    back = packed["layer"]
    assert (back.bits, back.group_size) == (bits, group_size)
    np.testing.assert_array_equal(back.codes.numpy(), codes)
    np.testing.assert_array_equal(weights["layer.weight"].numpy(),
                                  codes * np.repeat(scale.float().numpy(), group_size, axis=1))
    assert sorted(weights) == ["layer.weight", "other"]
    assert stored["layer.packed.codes"].numel() == math.ceil(codes.size * bits / 8)
