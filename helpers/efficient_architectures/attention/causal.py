"""A small causal language model with any kind of attention, trained here: what does each kind cost in loss?"""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from helpers.efficient_architectures.attention.kernels import attend
from helpers.efficient_architectures.options import Shape, require_attention
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.progress import Progress, silent

BYTES = 256  # the vocabulary: a text's UTF-8 bytes
BATCH = 16


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training: `loss` is on held-out text, in nats a byte, with its 95 % interval over its pieces."""

    kind: str
    loss: float
    low: float
    high: float
    parameters: int
    train_s: float


class _Layer(nn.Module):
    """Attention of one kind and a feed-forward part, each behind a norm and added to its input."""

    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        width, own = shape.heads * shape.head_dim, shape.kv_heads_of(kind) * shape.head_dim
        self.kind, self.shape = kind, shape
        self.query, self.key, self.value = (nn.Linear(width, size) for size in (width, own, own))
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def forward(self, states: Tensor) -> Tensor:
        """(n, length, width) to the same."""
        n, length, width = states.shape
        calm = self.norms[0](states)
        parts = [layer(calm).view(n, length, -1, self.shape.head_dim).transpose(1, 2)
                 for layer in (self.query, self.key, self.value)]
        mixed = attend(self.kind, *parts, window=self.shape.window)
        states = states + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return states + self.feed(self.norms[1](states))


class LanguageModel(nn.Module):
    """Bytes to the logits of the next byte."""

    def __init__(self, kind: str, shape: Shape, layers: int, length: int) -> None:
        super().__init__()
        width = shape.heads * shape.head_dim
        self.bytes, self.places = nn.Embedding(BYTES, width), nn.Embedding(length, width)
        self.layers = nn.Sequential(*[_Layer(kind, shape) for _ in range(layers)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, BYTES))

    def forward(self, ids: Tensor) -> Tensor:
        """(n, length) int64 to (n, length, 256) logits."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.out(self.layers(self.bytes(ids) + self.places(places)))


def train_language_model(kind: str, texts: Sequence[str], *, shape: Shape | None = None, layers: int = 2,
                         length: int = 256, steps: int = 200, seed: int = 0, progress: Progress = silent) -> Trained:
    """Train on nine tenths of the texts, measure on the last tenth; all kinds see the same batches.

    Args:
        length: bytes that the model reads at once.

    Raises:
        InputError: an unknown kind, or texts too short for ten pieces of that length.
        Cancelled: `progress` was told to end; asked at each step.
    """
    require_attention(kind)
    shape = shape or Shape(heads=4, kv_heads=2, head_dim=32, window=32)
    stream = np.frombuffer("\n".join(texts).encode(), np.uint8)
    if len(stream) < 10 * (length + 1):
        raise InputError(f"Texts of at least {10 * (length + 1):,} bytes are needed for pieces of {length}; "
                         f"these have {len(stream):,}.")
    cut = len(stream) - max(len(stream) // 10, length + 1)
    torch.manual_seed(seed)
    model = LanguageModel(kind, shape, layers, length)
    began = time.perf_counter()
    _train(model, stream[:cut], length, steps, seed, progress)
    train_s = time.perf_counter() - began
    losses = _losses(model, stream[cut:], length)
    return Trained(kind, *map(float, mean_interval(losses)),
                   sum(weight.numel() for weight in model.parameters()), train_s)


def _train(model: nn.Module, stream: np.ndarray, length: int, steps: int, seed: int, progress: Progress) -> None:
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=max(2, steps))
    for step in range(steps):
        progress(step / steps, f"training: step {step + 1} of {steps}")
        starts = rng.integers(0, len(stream) - length, BATCH)
        pieces = torch.from_numpy(np.stack([stream[start:start + length + 1] for start in starts]).astype(np.int64))
        optimizer.zero_grad()
        _surprise(model, pieces).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def _losses(model: nn.Module, stream: np.ndarray, length: int, most: int = 64) -> np.ndarray:
    """(pieces,) mean loss of each held-out piece."""
    starts = range(0, len(stream) - length, length)[:most]
    pieces = torch.from_numpy(np.stack([stream[start:start + length + 1] for start in starts]).astype(np.int64))
    return torch.cat([_surprise(model, part) for part in pieces.split(BATCH)]).numpy()


def _surprise(model: nn.Module, pieces: Tensor) -> Tensor:
    """(n,) mean cross-entropy of each piece, of (n, length + 1) bytes."""
    logits = model(pieces[:, :-1])
    return nn.functional.cross_entropy(logits.transpose(1, 2), pieces[:, 1:], reduction="none").mean(1)
