"""Five ways to attend, all causal, all on torch's fused kernels where they have one."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from helpers.efficient_architectures.options import CHUNK, require_attention
from helpers.lab.errors import InputError


def attend(kind: str, query: Tensor, key: Tensor, value: Tensor, window: int = 128) -> Tensor:
    """Causal attention of one kind.

    Args:
        kind: one of ATTENTIONS.
        query: (n, heads, length, d); key, value: (n, kv_heads, length, d), where kv_heads divides heads.
        window: tokens that "sliding window" looks back, the token itself included.

    Returns:
        (n, heads, length, d).

    Raises:
        InputError: an unknown kind, or shapes that do not fit.
    """
    require_attention(kind)
    if (query.ndim != 4 or key.shape != value.shape or query.shape[1] % key.shape[1]
            or (query.shape[0], *query.shape[2:]) != (key.shape[0], *key.shape[2:])):
        raise InputError(f"Attention needs (n, heads, length, d) three times, heads a multiple of those of the keys; "
                         f"given: {tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}.")
    if kind == "sliding window":
        return sliding_window(query, *_as_many(query, key, value), window)
    if kind == "linear":
        return linear(query, *_as_many(query, key, value))
    if kind == "full, materialized":
        return materialized(query, *_as_many(query, key, value))
    grouped = key.shape[1] != query.shape[1]
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)


def _as_many(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values repeated for the heads that share them."""
    times = query.shape[1] // key.shape[1]
    return (key, value) if times == 1 else (key.repeat_interleave(times, 1), value.repeat_interleave(times, 1))


def materialized(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As in the textbook: all length x length weights are in memory at once, twice."""
    length = query.shape[2]
    scores = query @ key.transpose(2, 3)
    scores *= 1 / math.sqrt(query.shape[3])
    scores.masked_fill_(torch.ones(length, length, dtype=torch.bool, device=scores.device).triu_(1), -math.inf)
    return scores.softmax(-1) @ value


def sliding_window(query: Tensor, key: Tensor, value: Tensor, window: int) -> Tensor:
    """Each token looks at the `window` last ones, itself included (Beltagy et al., arXiv 2004.05150; Mistral 7B).

    In blocks of `window` tokens: a block's queries reach their own block and the one before, no further.
    """
    if window < 1:
        raise InputError(f"A window holds at least the token itself, not {window}.")
    n, heads, length, width = query.shape
    blocks = -(-length // window)
    padded = [functional.pad(part, (0, 0, 0, blocks * window - length)).reshape(n * heads, blocks, window, width)
              for part in (query, key, value)]
    previous_and_own = [torch.cat([functional.pad(part, (0, 0, 0, 0, 1, 0))[:, :-1], part], 2) for part in padded[1:]]
    position = torch.arange(window, device=query.device)[:, None]
    other = torch.arange(2 * window, device=query.device)[None]
    near = (other > position) & (other <= position + window)
    mask = near.expand(blocks, -1, -1).clone()
    mask[0] &= other >= window  # nothing comes before the first block
    mixed = functional.scaled_dot_product_attention(padded[0], *previous_and_own, attn_mask=mask[None])  # 4-D: fused
    return mixed.reshape(n, heads, blocks * window, width)[:, :, :length]


def linear(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Weights phi(q) phi(k) with phi = elu + 1, so that keys and values sum up into one d x d state.

    Katharopoulos et al., arXiv 2006.16236. Chunk by chunk: the state before the chunk, and the pairs inside it.
    """
    n, heads, length, width = query.shape
    chunks = -(-length // CHUNK)
    short = chunks * CHUNK - length

    def chunked(part: Tensor) -> Tensor:
        return functional.pad(part, (0, 0, 0, short)).reshape(n, heads, chunks, CHUNK, width)

    # A padded key must count nothing, and phi(0) is 1: so pad after phi.
    queries, keys, values = (chunked(part) for part in (_phi(query), _phi(key), value))
    states = _before(keys.transpose(3, 4) @ values)
    sums = _before(keys.sum(3, keepdim=True))
    inside = (queries @ keys.transpose(3, 4)).tril()
    total = queries @ states + inside @ values
    weight = queries @ sums.transpose(3, 4) + inside.sum(-1, keepdim=True)
    mixed = total / weight.clamp(min=1e-6)
    return mixed.reshape(n, heads, chunks * CHUNK, width)[:, :, :length]


def _phi(part: Tensor) -> Tensor:
    return functional.elu(part) + 1


def _before(chunks: Tensor) -> Tensor:
    """(n, heads, chunks, ...): what has been summed up before each chunk."""
    return functional.pad(chunks.cumsum(2), (0, 0, 0, 0, 1, 0))[:, :, :-1]
