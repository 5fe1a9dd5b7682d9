"""This machine's peaks against their use."""

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.hardware_codesign.roofline.peaks import (
    _onnx_product,
    best_peaks,
    measure_peaks,
    recorded_peaks,
    torch_threads,
)
from helpers.lab import InputError
from helpers.lab.machine import usable_cores


def test_measured_peaks_are_positive_and_caches_are_not_slower_than_memory():
    result = measure_peaks(1, seconds=0.03)
    assert result.flops["fp32"] > 1e9
    assert result.bandwidth > 1e8
    assert result.cached > 0.5 * result.bandwidth
    row = pd.DataFrame([{"threads": 1, **result.flops, "bandwidth": result.bandwidth, "cached": result.cached}])
    assert recorded_peaks(row).flops == result.flops


@pytest.mark.parametrize(("precision", "like"), [
    ("int8", lambda rng: (rng.integers(0, 256, (8, 4)), rng.integers(-63, 64, (4, 6)))),
    ("fp32", lambda rng: (rng.random((8, 4), dtype=np.float32), rng.random((4, 6), dtype=np.float32)))])
def test_the_product_is_the_product(precision, like):
    left, right = like(np.random.default_rng(0))
    np.testing.assert_allclose(_onnx_product(precision, (8, 4, 6), 1)()[0], left @ right, rtol=1e-6)


@pytest.mark.parametrize("threads", [0, usable_cores() + 1])
def test_more_threads_than_cores_have_no_peak(threads):
    with pytest.raises(InputError, match="threads must be"):
        measure_peaks(threads)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_best_rate_of_several_measurements_counts():
    """As recorded once: another process had the second core while fp32 was measured."""
    disturbed = pd.DataFrame({"threads": [1, 2], "fp32": [89e9, 90e9], "int8": [143e9, 283e9]})
    quiet = pd.DataFrame({"threads": [1, 2], "fp32": [88e9, 170e9], "int8": [140e9, 281e9]})
    best = best_peaks([disturbed, quiet])
    assert best.to_dict("list") == {"threads": [1, 2], "fp32": [89e9, 170e9], "int8": [143e9, 283e9]}
