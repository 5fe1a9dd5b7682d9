"""All ways to adapt an encoder beside full fine-tuning."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.efficient_architectures import compare_adapters, paired_over_seeds
from helpers.lab import InputError
from helpers.lab.progress import Progress


def test_each_way_and_seed_is_a_row_with_the_encoders_own_size(tiny_task, narrow_encoder):
    ways = [("full", 8), ("probe", 8), ("ia3", 8), ("lora", 4), ("bottleneck", 4)]
    runs = compare_adapters(tiny_task, ways, seeds=(0, 1), epochs=1, encoder=narrow_encoder)
    assert list(runs["way"]) == ["full", "probe", "ia3", "lora 4", "bottleneck 4"] * 2
    assert list(runs["seed"]) == [0] * 5 + [1] * 5
    assert runs["model_bytes"].nunique() == 1, "what an adapter adds is no part of the published encoder"
    assert (runs.set_index("way").loc["probe", ["trained", "share"]] == 0).all(axis=None)
    assert runs["share"].max() <= 1
    rows = len(tiny_task.validation)
    np.testing.assert_allclose(runs["validation"] * rows, (runs["validation"] * rows).round())


def test_points_are_paired_by_seed_and_their_interval_is_students():
    full, lora = np.array([0.90, 0.80, 0.85]), np.array([0.89, 0.80, 0.83])
    runs = pd.DataFrame({"way": ["full"] * 3 + ["lora"] * 3, "seed": [0, 1, 2] * 2, "accuracy": [*full, *lora]})
    row = paired_over_seeds(runs).set_index("way").loc["lora"]
    expected = stats.ttest_rel(100 * lora, 100 * full).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["points"] == pytest.approx(-1.0)
    assert row["p"] == pytest.approx(stats.ttest_rel(lora, full).pvalue)
    one = paired_over_seeds(runs[runs["seed"] == 0]).set_index("way").loc["lora"]
    assert np.isnan(one["low"])


def test_significance_takes_all_ways_into_account():
    full, shape = np.array([0.90, 0.91, 0.89, 0.90, 0.92]), np.array([1.0, 2.0, 3.0, 0.2, 2.5])
    losses = {"probe": 0.1 + 0.001 * shape, "ia3": 0.001 * shape, "bitfit": 0.001 * (shape - 2), "lora 8": 0 * shape}
    accuracy = {"full": full, **{way: full - loss for way, loss in losses.items()}}
    runs = pd.DataFrame([{"way": way, "seed": seed, "accuracy": one}
                         for way, values in accuracy.items() for seed, one in enumerate(values)])
    table = paired_over_seeds(runs).set_index("way")
    raw = {way: stats.ttest_rel(accuracy[way], full).pvalue for way in ("probe", "ia3", "bitfit")}
    assert table.loc["probe", "p"] == pytest.approx(min(1, 4 * raw["probe"]))
    assert table.loc["probe", "significant"]
    assert not table.loc["full", "significant"]
    assert all(table.loc[way, "p"] >= p for way, p in raw.items())
    assert raw["ia3"] < 0.05 <= table.loc["ia3", "p"], "its own interval leaves zero out, the family's test does not"


def test_an_unknown_way_is_refused_before_the_first_is_trained(tiny_task, narrow_encoder):
    said = []
    with pytest.raises(InputError, match="Unknown adapter 'prefix'"):
        compare_adapters(tiny_task, [("full", 8), ("prefix", 8)], encoder=narrow_encoder,
                         progress=Progress(lambda fraction, message: said.append(message)))
    assert not said


@pytest.mark.parametrize("wrong", [
    lambda task: compare_adapters(task, []),
    lambda task: compare_adapters(task, [("full", 8), ("full", 4)]),
    lambda task: compare_adapters(task, [("full", 8)], seeds=(1, 1)),
    lambda task: paired_over_seeds(pd.DataFrame({"way": ["lora"], "seed": [0], "accuracy": [0.5]})),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)
