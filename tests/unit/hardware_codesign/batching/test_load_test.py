"""A model under load: batch sizes, and the batcher against its prediction."""

import time

import numpy as np
import pandas as pd
import pytest

from helpers.hardware_codesign.batching.batcher_model import max_rate
from helpers.hardware_codesign.batching.load_test import batch_frame, batch_times, compare_with_load, knee
from helpers.lab import InputError


def test_batch_times_have_each_size(tiny_model):
    times = batch_times(tiny_model, ["a cat", "rain and fog"], (1, 4), calls=3)
    assert {size: len(seconds) for size, seconds in times.items()} == {1: 3, 4: 3}
    assert list(batch_frame(times)["batch"]) == [1, 4]
    with pytest.raises(InputError, match="at least one text"):
        batch_times(tiny_model, [])


def test_the_knee_is_the_highest_throughput_within_the_target():
    frame = pd.DataFrame({"batch": [1, 8, 64], "p95_ms": [5.0, 30.0, 200.0], "rows_per_s": [200.0, 260.0, 300.0]})
    assert knee(frame, 100)["batch"] == 8
    assert knee(frame, 4) is None


FIXED = {1: np.full(9, 0.01), 64: np.full(9, 0.01)}  # any batch takes 10 ms


def test_a_server_that_is_slower_under_load_gets_a_lower_rate():
    """Half of its calls take what was measured, the others four times as long: the load must see it."""
    class Server:
        calls = 0

        def predict(self, texts):
            self.calls += 1
            time.sleep(0.01 if self.calls % 2 else 0.04)
            return texts

    times = {1: np.full(5, 0.01)}
    result = compare_with_load(Server(), ["x"], times, targets_ms=(100,), seconds=2.0).loc[0]
    assert result["rate"] < 0.6 * max_rate(times, 1, 0.1)[0]
    assert result["predicted_p95_ms"] <= 100


def test_a_real_load_stands_beside_its_prediction(tiny_model):
    texts = ["a cat", "rain and fog and wind"]
    times = batch_times(tiny_model, texts, (1, 4), calls=4)
    frame = compare_with_load(tiny_model, texts, times, targets_ms=(200, 0.001), seconds=0.3)
    assert frame.loc[0, "answered_per_s"] > 0
    assert frame.loc[0, "predicted_p95_ms"] <= 200
    assert "no rate" in frame.loc[1, "note"]
    with pytest.raises(InputError, match="positive target"):
        compare_with_load(tiny_model, texts, FIXED, targets_ms=())
