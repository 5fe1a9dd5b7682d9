"""Service times that are drawn from measured ones."""

import math

import numpy as np
import pytest

from helpers.cloud_distributed import Fleet, ServiceTimes, simulate
from helpers.lab import InputError


def test_drawn_service_times_have_the_measured_distribution():
    measured = {1: np.array([0.1, 0.2, 0.6]), 3: np.array([0.4, 1.0])}
    times = ServiceTimes(measured)
    run = simulate(np.arange(300_000) * 10.0, times, Fleet())
    values, counts = np.unique(run.latency_s, return_counts=True)
    np.testing.assert_allclose(values, measured[1])
    np.testing.assert_allclose(counts / 300_000, 1 / 3, atol=0.005)
    assert times.mean_s(1) == pytest.approx(0.3)
    assert times.mean_s(2) == pytest.approx((0.3 + 0.7) / 2)


def test_batches_larger_than_measured_are_refused():
    with pytest.raises(InputError, match="measured up to batch size 4"):
        simulate([0.0], ServiceTimes({1: [0.1], 4: [0.2]}), Fleet(batch_size=8))
    with pytest.raises(InputError, match="positive numbers"):
        ServiceTimes({1: [0.1, math.inf]})
    with pytest.raises(InputError, match="whole number of 0 or more"):
        simulate([0.0], [1.0], Fleet(), seed=-1)
