"""All ways to adapt an encoder beside full fine-tuning."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.efficient_architectures import compare_adapters, paired_over_seeds
from helpers.lab import InputError


def test_each_way_and_seed_is_a_row_with_the_encoders_own_size(tiny_task, narrow_encoder):
    ways = [("full", 8), ("probe", 8), ("ia3", 8), ("lora", 4), ("bottleneck", 4)]
    runs = compare_adapters(tiny_task, ways, seeds=(0, 1), epochs=1, encoder=narrow_encoder)
    assert list(runs["way"]) == ["full", "probe", "ia3", "lora 4", "bottleneck 4"] * 2
    assert list(runs["seed"]) == [0] * 5 + [1] * 5
    assert runs["model_bytes"].nunique() == 1, "what an adapter adds is no part of the published encoder"
    assert (runs.set_index("way").loc["probe", ["trained", "share"]] == 0).all(axis=None)
    assert runs["share"].max() <= 1


def test_points_are_paired_by_seed_and_their_interval_is_students():
    full, lora = np.array([0.90, 0.80, 0.85]), np.array([0.89, 0.80, 0.83])
    runs = pd.DataFrame({"way": ["full"] * 3 + ["lora"] * 3, "seed": [0, 1, 2] * 2, "accuracy": [*full, *lora]})
    row = paired_over_seeds(runs).set_index("way").loc["lora"]
    expected = stats.ttest_rel(100 * lora, 100 * full).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["points"] == pytest.approx(-1.0)
    one = paired_over_seeds(runs[runs["seed"] == 0]).set_index("way").loc["lora"]
    assert np.isnan(one["low"])


@pytest.mark.parametrize("wrong", [
    lambda task: compare_adapters(task, []),
    lambda task: paired_over_seeds(pd.DataFrame({"way": ["lora"], "seed": [0], "accuracy": [0.5]})),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)
