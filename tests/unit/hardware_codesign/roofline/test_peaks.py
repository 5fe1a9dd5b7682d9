"""This machine's peaks against their use."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.hardware_codesign.roofline.peaks import _int8_product, measure_peaks, recorded_peaks, torch_threads
from helpers.lab import InputError
from helpers.lab.machine import usable_cores


def test_measured_peaks_are_positive_and_caches_are_not_slower_than_memory():
    found = measure_peaks(1, seconds=0.03)
    assert found.flops["fp32"] > 1e9
    assert found.bandwidth > 1e8
    assert found.cached > 0.5 * found.bandwidth
    row = pd.DataFrame([{"threads": 1, **found.flops, "bandwidth": found.bandwidth, "cached": found.cached}])
    assert recorded_peaks(row).flops == found.flops


def test_the_int8_product_is_the_product():
    out = _int8_product(8, 1)()[0]
    rng = np.random.default_rng(0)
    right = rng.integers(-63, 64, (8, 8))
    left = rng.integers(0, 256, (8, 8))
    np.testing.assert_array_equal(out, left @ right)


@pytest.mark.parametrize("threads", [0, usable_cores() + 1])
def test_more_threads_than_cores_have_no_peak(threads):
    with pytest.raises(InputError, match="threads must be"):
        measure_peaks(threads)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
