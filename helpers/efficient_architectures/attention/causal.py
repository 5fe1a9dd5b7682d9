"""The same small language model with each kind of attention: what does a kind cost in loss?"""

import dataclasses
import functools
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig

from helpers.efficient_architectures.attention.kernels import attend
from helpers.efficient_architectures.options import Shape, require_attention
from helpers.lab.errors import InputError
from helpers.lab.language.perplexity import negative_log_likelihood
from helpers.lab.models.torch import device
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import train

MAX_CONTEXT = 512  # bytes that the model reads at once, the start among them
MAX_HELD_OUT = 64  # pieces
_VOCABULARY = 257  # each byte, and the start
_BATCH, _LEARNING_RATE = 16, 3e-3


def _given_attention(layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any,
                     **__: Any) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention; its result has the tokens before the heads."""
    return layer.given_attention(query, key, value).transpose(1, 2).contiguous(), None


AttentionInterface.register("given", _given_attention)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training: `loss` is on held-out text, in nats a byte, with its 95% interval over its pieces."""

    kind: str
    loss: float
    low: float
    high: float
    parameters: int
    train_s: float


def train_with_attention(kind: str, texts: Sequence[str], *, shape: Shape | None = None, layers: int = 2,
                         length: int = 256, steps: int = 200, progress: Progress = silent) -> Trained:
    """Train on nine tenths of the texts, measure on the last tenth; all kinds see the same batches.

    The model reads bytes, so that its loss does not hang on a vocabulary.

    Args:
        length: characters that the model reads at once.

    Raises:
        InputError: an unknown kind, a length that the model cannot read at once, or texts too short for
            ten pieces of that length.
        Cancelled: the caller of `progress` wants an end; asked at each step.
    """
    require_attention(kind)
    if not 1 <= length < MAX_CONTEXT:
        raise InputError(f"The model reads 1 to {MAX_CONTEXT - 1} characters at once, not {length}.")
    shape = shape or Shape(heads=4, kv_heads=2, head_dim=32, window=32)
    stream = "\n".join(texts)
    pieces = [stream[start:start + length] for start in range(0, len(stream) - length + 1, length)]
    if len(pieces) < 10:
        raise InputError(f"Texts of at least {10 * length:,} characters are needed for pieces of {length}; "
                         f"these have {len(stream):,}.")
    held_out = max(len(pieces) // 10, 1)
    began = time.perf_counter()
    rows = [_ids(piece) for piece in pieces]
    module = _llama(shape, shape.kv_heads_of(kind), layers, functools.partial(attend, kind, window=shape.window))
    stream = np.concatenate(rows[:-held_out])
    stream = stream[:len(stream) // (length + 1) * (length + 1)].reshape(-1, length + 1)  # (n, length + 1)
    _train(module, stream, steps, progress)
    train_s = time.perf_counter() - began
    likelihood = negative_log_likelihood(module, rows[-held_out:][:MAX_HELD_OUT])
    low, high = likelihood.interval()
    return Trained(kind, math.log(likelihood.perplexity), math.log(low), math.log(high),
                   sum(weight.numel() for weight in module.parameters()), train_s)


def _ids(text: str) -> list[int]:
    """0, which starts a text, and its bytes from 1 on; at most MAX_CONTEXT."""
    return [0, *(byte + 1 for byte in text.encode())][:MAX_CONTEXT]


def _llama(shape: Shape, kv_heads: int, layers: int,
           attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> nn.Module:
    """A Llama of bytes with this attention: queries, keys and values (n, heads, length, d) -> values mixed."""
    torch.manual_seed(0)
    width = shape.heads * shape.head_dim
    inner = max(32, 8 * width // 3 // 32 * 32)  # three matrices take what two of 4 * width would (Shazeer, 2002.05202)
    config = LlamaConfig(vocab_size=_VOCABULARY, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                         num_attention_heads=shape.heads, num_key_value_heads=kv_heads,
                         max_position_embeddings=MAX_CONTEXT, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
                         pad_token_id=None)
    module = AutoModelForCausalLM.from_config(config, attn_implementation="given")
    for layer in module.model.layers:
        layer.self_attn.given_attention = attention
    return module.to(device())


def _train(module: nn.Module, rows: np.ndarray, steps: int, progress: Progress) -> None:
    """AdamW with a warm-up and a cosine to a tenth, on (n, length) token ids."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=_LEARNING_RATE, weight_decay=0.05, betas=(0.9, 0.95))
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warm, 0.55 + 0.45 * np.cos(np.pi * min(1.0, step / steps))))
    target = next(module.parameters()).device

    def loss_of(part: list[int]) -> Tensor:
        ids = torch.from_numpy(rows[part]).to(target)                   # (batch, length)
        logits = module(ids).logits[:, :-1]                             # (batch, length - 1, vocabulary)
        return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    train(module, _batches(len(rows), min(_BATCH, len(rows)), random.Random(0)), loss_of, optimizer, steps=steps,
          schedule=schedule, progress=progress, say="training the language model")
    module.eval()


def _batches(rows: int, batch: int, rng: random.Random) -> Iterator[list[int]]:
    """Row numbers, shuffled again for each epoch; what does not fill a batch is left out of it."""
    for _ in itertools.count():
        order = rng.sample(range(rows), rows)
        yield from (order[start:start + batch] for start in range(0, rows - batch + 1, batch))
