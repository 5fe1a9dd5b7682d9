"""Training: one loop for all experiments, and the fine-tuning of a text classifier on it."""

import itertools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.lab.data.tokenizer import pad_for
from helpers.lab.progress import Progress, silent
from helpers.lab.training.architectures import head_of

BATCH = 32
NOT_LEARNED = -100  # the label of what no loss is taken of, as torch's cross-entropy has it

Batch = TypeVar("Batch")


def length_batches(lengths: Sequence[int], size: int, rng: random.Random) -> list[list[int]]:
    """All rows in shuffled batches of rows of like length: little padding, still random.

    Rows are shuffled, cut into pools of 16 batches, and sorted by length only inside a pool.
    """
    rows = list(range(len(lengths)))
    rng.shuffle(rows)
    pools = [sorted(rows[start:start + 16 * size], key=lambda row: lengths[row])
             for start in range(0, len(rows), 16 * size)]
    batches = [pool[start:start + size] for pool in pools for start in range(0, len(pool), size)]
    rng.shuffle(batches)
    return batches


def train(module: nn.Module, batches: Iterable[Batch], loss_of: Callable[[Batch], Tensor],
          optimizer: torch.optim.Optimizer, *, steps: int,
          schedule: torch.optim.lr_scheduler.LRScheduler | None = None, clip: float | None = 1.0,
          progress: Progress = silent, say: str = "training") -> None:
    """Train the module in place: one optimizer step for each batch, then back to evaluation.

    Args:
        batches: what `loss_of` takes, at least `steps` of them; those beyond are not drawn.
        loss_of: batch -> () loss that the gradients are taken of.
        schedule: of the learning rate, moved on after each step; None leaves the rate as it is.
        clip: the largest norm of all gradients together; None leaves them as they are.

    Raises:
        Cancelled: the caller of `progress` wants an end; it is asked at each step.
    """
    module.train()
    for step, batch in enumerate(itertools.islice(batches, steps), start=1):
        progress.check()
        optimizer.zero_grad()
        loss_of(batch).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        progress(step / steps, f"{say}: step {step} of {steps}")
    module.eval()


def fine_tune(module: nn.Module, rows: Sequence[Sequence[int]], labels: Sequence[int], *, epochs: float,
              learning_rate: float, head_learning_rate: float | None = None, batch: int = BATCH, seed: int = 0,
              loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
              progress: Progress = silent, say: str = "fine-tuning") -> None:
    """Train `module(input_ids, attention_mask) -> logits` in place with AdamW, a warm-up and linear decay.

    Args:
        rows: token ids of each text.
        labels: (n,) class numbers, or what else `loss` takes a batch of.
        epochs: over the rows; a fraction stops part-way.
        head_learning_rate: of the parameters above the encoder (default: the same).
        loss: (logits, labels of the batch) -> () loss.

    Raises:
        Cancelled: the caller of `progress` wants an end; it is asked at each step.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    target = next(module.parameters()).device
    lengths = [len(row) for row in rows]
    steps = max(1, round(epochs * math.ceil(len(rows) / batch)))
    groups = _groups(module, learning_rate, head_learning_rate or learning_rate)
    optimizer = torch.optim.AdamW(groups, fused=True)  # one pass over the weights a step, not one for each operation
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm))))
    labels = np.asarray(labels)

    def loss_of(part: list[int]) -> Tensor:
        ids, mask = (torch.from_numpy(array).to(target) for array in pad_for(module, [rows[row] for row in part]))
        return loss(module(ids, mask), torch.from_numpy(labels[part]).to(target))

    batches = itertools.chain.from_iterable(length_batches(lengths, batch, rng) for _ in itertools.count())
    train(module, batches, loss_of, optimizer, steps=steps, schedule=schedule, progress=progress, say=say)


def padded_targets(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """(n, longest row) int64, as `fine_tune` takes labels of each token: NOT_LEARNED behind the end of a row.

    >>> from helpers.lab.training.fine_tuning import padded_targets
    >>> padded_targets([[5, 6], [7]]).tolist()
    [[5, 6], [7, -100]]
    """
    padded = np.full((len(rows), max(map(len, rows))), NOT_LEARNED, np.int64)
    for index, row in enumerate(rows):
        padded[index, :len(row)] = row
    return padded


def _groups(module: nn.Module, body: float, head: float) -> list[dict]:
    """Weight decay on matrices only, and the head's own learning rate."""
    groups, above = [], {id(parameter) for parameter in head_of(module)}
    for is_head, rate in ((False, body), (True, head)):
        mine = [parameter for parameter in module.parameters()
                if parameter.requires_grad and (id(parameter) in above) == is_head]
        groups.append({"params": [p for p in mine if p.ndim > 1], "lr": rate, "weight_decay": 0.01})
        groups.append({"params": [p for p in mine if p.ndim <= 1], "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
