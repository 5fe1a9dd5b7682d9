"""The same small language model with each kind of attention: what does a kind cost in loss?"""

import dataclasses
import functools
import math
import time
from collections.abc import Sequence

from helpers.efficient_architectures.attention.kernels import attend
from helpers.efficient_architectures.options import Shape, require_attention
from helpers.lab.errors import InputError
from helpers.lab.language.causal import MAX_CONTEXT, MIN_VOCABULARY, train_language_model
from helpers.lab.language.perplexity import negative_log_likelihood
from helpers.lab.progress import Progress, silent

MAX_HELD_OUT = 64  # pieces


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training: `loss` is on held-out text, in nats a byte, with its 95 % interval over its pieces."""

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
    model = train_language_model(
        pieces[:-held_out], vocabulary=MIN_VOCABULARY, layers=layers, width=shape.heads * shape.head_dim,
        heads=shape.heads, kv_heads=shape.kv_heads_of(kind),
        attention=functools.partial(attend, kind, window=shape.window), context=length + 1, steps=steps,
        progress=progress)
    train_s = time.perf_counter() - began
    likelihood = negative_log_likelihood(model, pieces[-held_out:][:MAX_HELD_OUT])
    low, high = likelihood.interval()
    return Trained(kind, math.log(likelihood.perplexity), math.log(low), math.log(high),
                   sum(weight.numel() for weight in model.module.parameters()), train_s)
