"""Attention: each kind against its definition by brute force."""

import math

import pytest
import torch

from helpers.efficient_architectures.attention.kernels import attend
from helpers.efficient_architectures.options import ATTENTIONS, Shape
from helpers.lab import InputError

SMALL = Shape(heads=4, kv_heads=2, head_dim=8, window=16)


def parts(length: int, shape: Shape, kind: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    keys = shape.kv_heads_of(kind)
    return [torch.randn(2, heads, length, shape.head_dim, dtype=torch.float64) for heads in (shape.heads, keys, keys)]


def by_hand(kind: str, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int) -> torch.Tensor:
    """Token by token, from the definitions."""
    result = torch.zeros_like(query)
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
                result[n, head, token] = weights @ values[seen] / weights.sum()
    return result


@pytest.mark.parametrize("length", [1, 15, 16, 70])
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_each_kind_is_what_its_definition_says(kind, length):
    given = parts(length, SMALL, kind)
    expected = by_hand(kind, *given, SMALL.window)
    torch.testing.assert_close(attend(kind, *given, window=SMALL.window), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("wrong", [
    lambda: attend("quadratic", *parts(4, SMALL, "full")),
    lambda: attend("full", torch.zeros(1, 3, 4, 8), torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 8)),
    lambda: attend("sliding window", *parts(4, SMALL, "full"), window=0),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
