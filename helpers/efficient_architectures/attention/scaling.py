"""Time and memory of attention over the length of the text, measured."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from helpers.efficient_architectures.attention.kernels import attend
from helpers.efficient_architectures.options import (
    ATTENTIONS,
    Shape,
    attention_macs,
    cache_bytes,
    require_attention,
)
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.progress import Progress, silent


def attention_times(lengths: Sequence[int] = (512, 1024, 2048, 4096), kinds: Sequence[str] = ATTENTIONS,
                    shape: Shape | None = None, *, rounds: int = 7, progress: Progress = silent) -> pd.DataFrame:
    """Each kind on one text of each length, in turns, in float32.

    Returns:
        One row a kind, length and round: kind, length, round, seconds, macs (see attention_macs).

    Raises:
        InputError: an unknown kind, no length, or fewer than 2 rounds.
        Cancelled: the caller of `progress` wants an end; it is asked at each length.
    """
    shape = shape or Shape()
    for kind in kinds:
        require_attention(kind)
    if not lengths or min(lengths) < 1 or rounds < 2:
        raise InputError("Name lengths of 1 token or more, and 2 rounds or more.")
    rows = []
    with timing_turn(progress), torch.inference_mode():
        for number, length in enumerate(lengths):
            progress(number / len(lengths), f"timing {length:,} tokens")
            works = {kind: _work(kind, length, shape) for kind in kinds}
            for kind, seconds in seconds_in_turns(works, rounds).items():
                macs = attention_macs(kind, length, shape)
                rows += [{"kind": kind, "length": length, "round": index, "seconds": float(second), "macs": macs}
                         for index, second in enumerate(seconds)]
    return pd.DataFrame(rows)


def _work(kind: str, length: int, shape: Shape) -> Callable[[], torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, shape.head_dim, generator=random)
                         for heads in (shape.heads, shape.kv_heads_of(kind), shape.kv_heads_of(kind)))
    return partial(attend, kind, query, key, value, shape.window)


def measured_cache_bytes(kind: str, length: int, shape: Shape, layers: int = 2) -> int:
    """Bytes of keys and values that transformers really holds after a text of so many tokens.

    A small Mistral with random weights reads all tokens but one, and then that one; its cache's tensors
    are counted. (Right after a long text the window's keys are a view of all of them: it is the next
    token that lets go of the others.) Linear attention has no such cache there.

    Raises:
        InputError: "linear", or an unknown kind.
    """
    require_attention(kind)
    if kind == "linear":
        raise InputError("transformers' cache holds keys and values; linear attention has none.")
    from transformers import MistralConfig, MistralModel

    width = shape.heads * shape.head_dim
    config = MistralConfig(vocab_size=256, hidden_size=width, intermediate_size=width, num_hidden_layers=layers,
                           num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads_of(kind),
                           head_dim=shape.head_dim, max_position_embeddings=length + 1,
                           sliding_window=shape.window if kind == "sliding window" else None)
    model, ids = MistralModel(config).eval(), torch.zeros(1, length, dtype=torch.int64)
    with torch.inference_mode():
        cache = model(ids[:, :-1], use_cache=True).past_key_values
        cache = model(ids[:, -1:], past_key_values=cache, use_cache=True).past_key_values
    return sum(part.untyped_storage().nbytes() for layer in cache.layers for part in (layer.keys, layer.values))


def peak_working_bytes(kind: str, length: int, shape: Shape) -> int:
    """The most bytes that one call allocates beyond its inputs, as torch's profiler saw each of its allocations."""
    work = _work(kind, length, shape)
    with torch.inference_mode():
        work()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
            result = work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    del result
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def cache_table(lengths: Sequence[int], shape: Shape, kinds: Sequence[str] = ATTENTIONS[1:],
                layers: int = 2) -> pd.DataFrame:
    """The cache on paper beside transformers': kind, length, paper_bytes, measured_bytes (NaN for linear)."""
    rows = [{"kind": kind, "length": length, "paper_bytes": cache_bytes(kind, length, shape, layers),
             "measured_bytes": float("nan") if kind == "linear" else measured_cache_bytes(kind, length, shape, layers)}
            for kind in kinds for length in lengths]
    return pd.DataFrame(rows)
