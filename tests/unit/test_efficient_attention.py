"""Attention: each kind against its definition by brute force, its costs against counts, and fitted exponents."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.efficient_architectures import (
    ATTENTIONS,
    Shape,
    attend,
    attention_macs,
    attention_times,
    best_for_budget,
    cache_bytes,
    cache_table,
    fit_error_law,
    fit_exponents,
    peak_working_bytes,
    train_with_attention,
    working_bytes,
)
from helpers.lab import InputError

SMALL = Shape(heads=4, kv_heads=2, head_dim=8, window=16)


def parts(length: int, shape: Shape, kind: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    keys = shape.keys_of(kind)
    return [torch.randn(2, heads, length, shape.head_dim, dtype=torch.float64) for heads in (shape.heads, keys, keys)]


def by_hand(kind: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int) -> torch.Tensor:
    """Token by token, from the definitions."""
    found = torch.zeros_like(query)
    group = query.shape[1] // key.shape[1]
    for n in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys, values = key[n, head // group], value[n, head // group]
            for token in range(query.shape[2]):
                first = max(0, token - window + 1) if kind == "sliding window" else 0
                seen, q = slice(first, token + 1), query[n, head, token]
                if kind == "linear":
                    weights = (torch.nn.functional.elu(keys[seen]) + 1) @ (torch.nn.functional.elu(q) + 1)
                else:
                    weights = torch.exp(keys[seen] @ q / math.sqrt(len(q)))
                found[n, head, token] = weights @ values[seen] / weights.sum()
    return found


@pytest.mark.parametrize("length", [1, 15, 16, 70])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_each_kind_is_what_its_definition_says(kind, length):
    given = parts(length, SMALL, kind)
    expected = by_hand(kind, *given, SMALL.window)
    torch.testing.assert_close(attend(kind, *given, window=SMALL.window), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("kind", "length"), [("full", 9), ("sliding window", 9), ("sliding window", 40)])
def test_multiplications_are_those_of_the_pairs_that_are_looked_at(kind, length):
    pairs = sum(1 for i in range(length) for j in range(i + 1) if kind == "full" or i - j < SMALL.window)
    assert attention_macs(kind, length, SMALL) == pairs * 2 * SMALL.heads * SMALL.head_dim


def test_the_cache_on_paper_is_what_transformers_holds():
    table = cache_table([64, 100], Shape(heads=4, kv_heads=2, head_dim=8, window=32)).dropna()
    assert set(table["kind"]) == {"full", "grouped-query", "multi-query", "sliding window"}
    np.testing.assert_allclose(table["measured_bytes"], table["paper_bytes"], rtol=0.05)


def test_a_cache_grows_with_the_key_value_heads_and_stops_at_the_window():
    per_token = {kind: cache_bytes(kind, 1001, SMALL) - cache_bytes(kind, 1000, SMALL) for kind in ATTENTIONS}
    assert per_token["full"] == 2 * 4 * 8 * 4
    assert per_token["full"] == 2 * per_token["grouped-query"] == 4 * per_token["multi-query"]
    assert per_token["sliding window"] == per_token["linear"] == 0


def test_the_matrix_is_what_fused_attention_never_holds():
    shape = Shape(heads=2, kv_heads=1, head_dim=16, window=32)
    kept, fused = (peak_working_bytes(kind, 512, shape) for kind in ("full, matrix kept", "full"))
    assert kept >= 2 * 2 * 512**2 * 4
    assert fused < kept / 4


@pytest.mark.parametrize("kind", ATTENTIONS[:4])
@pytest.mark.parametrize("length", [256, 1024])
def test_the_formula_for_memory_is_within_five_percent_of_what_is_allocated(kind, length):
    shape = Shape(heads=4, kv_heads=2, head_dim=32)
    measured = peak_working_bytes(kind, length, shape)
    assert working_bytes(kind, length, shape, torch.get_num_threads()) == pytest.approx(measured, rel=0.05)


def test_exponents_of_made_up_times_are_found_again():
    rng = np.random.default_rng(0)
    rows = [{"kind": kind, "length": length, "round": number,
             "seconds": 1e-9 * length**power * np.exp(rng.normal(0, 0.02))}
            for kind, power in (("full", 2.0), ("linear", 1.0)) for length in (256, 512, 1024, 2048)
            for number in range(9)]
    found = fit_exponents(pd.DataFrame(rows)).set_index("kind")
    for kind, power in (("full", 2.0), ("linear", 1.0)):
        assert found.low[kind] <= found.exponent[kind] <= found.high[kind]
        assert found.exponent[kind] == pytest.approx(power, abs=0.02)


def test_times_come_for_each_kind_length_and_round():
    found = attention_times([32, 64], ["full", "linear"], SMALL, rounds=3)
    assert len(found) == 2 * 2 * 3
    assert (found["seconds"] > 0).all()


def test_a_language_model_learns_what_stands_within_its_window():
    """After 'ab' comes c or d by turns: whoever sees one byte is left with ln 2 in two of seven places."""
    texts, losses = ["abcabd " * 400], {}
    for window in (1, 16):
        losses[window] = train_with_attention("sliding window", texts, shape=Shape(2, 1, 16, window), layers=1,
                                              length=32, steps=250).loss
    assert losses[1] > 0.95 * 2 / 7 * math.log(2)
    assert losses[16] < 0.8 * 2 / 7 * math.log(2)


def test_a_law_is_found_again_and_a_budget_names_the_best():
    costs = np.geomspace(1e3, 1e7, 9)
    law = fit_error_law(costs, 0.03 + 4.0 * costs**-0.4)
    assert (law.floor, law.factor, law.exponent) == pytest.approx((0.03, 4.0, 0.4), rel=0.02)
    assert law.error(1e9) == pytest.approx(0.03 + 4.0 * 1e9**-0.4, rel=0.02)
    models = pd.DataFrame({"name": ["a", "b", "c"], "accuracy": [0.8, 0.9, 0.9], "macs": [1, 5, 9]})
    assert best_for_budget(models, 9)["name"] == "b"
    assert best_for_budget(models, 4)["name"] == "a"
    assert best_for_budget(models, 0.5) is None


@pytest.mark.parametrize("wrong", [
    lambda: attend("quadratic", *parts(4, SMALL, "full")),
    lambda: attend("full", torch.zeros(1, 3, 4, 8), torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)),
    lambda: attend("sliding window", *parts(4, SMALL, "full"), window=0),
    lambda: Shape(heads=3, kv_heads=2),
    lambda: attention_times([], rounds=3),
    lambda: fit_exponents(pd.DataFrame({"kind": ["full"], "length": [8], "round": [0], "seconds": [1.0]})),
    lambda: train_with_attention("full", ["short"]),
    lambda: fit_error_law([1, 1, 1], [0.1, 0.1, 0.1]),
    lambda: working_bytes("linear", 64, SMALL),
    lambda: best_for_budget(pd.DataFrame({"accuracy": [1.0]}), 3),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
