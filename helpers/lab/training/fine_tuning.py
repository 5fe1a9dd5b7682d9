"""Fine-tuning a text classifier: one plain loop for all experiments."""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.lab.progress import Progress, silent
from helpers.lab.training.tokenizer import pad

BATCH = 32


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


def fine_tune(module: nn.Module, rows: Sequence[Sequence[int]], labels: Sequence[int], *, epochs: float,
              learning_rate: float, head_learning_rate: float | None = None, batch: int = BATCH, seed: int = 0,
              loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
              progress: Progress = silent,
              say: str = "fine-tuning") -> None:
    """Train `module(input_ids, attention_mask) -> logits` in place with AdamW, a warm-up and linear decay.

    Args:
        rows: token ids of each text.
        labels: (n,) class numbers.
        epochs: passes over the rows; a fraction stops part-way.
        head_learning_rate: of parameters whose name starts with `classifier` (default: the same).

    Raises:
        Cancelled: `progress` was told to end; it is asked at each step.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    target = next(module.parameters()).device
    lengths = [len(row) for row in rows]
    steps = max(1, round(epochs * len(length_batches(lengths, batch, random.Random(0)))))
    groups = _groups(module, learning_rate, head_learning_rate or learning_rate)
    optimizer = torch.optim.AdamW(groups, fused=True)  # one pass over the weights a step, not one for each operation
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm))))
    labels = np.asarray(labels)
    module.train()
    step = 0
    while step < steps:
        for part in length_batches(lengths, batch, rng)[:steps - step]:
            progress.check()
            ids, mask = (torch.from_numpy(array).to(target) for array in pad([rows[row] for row in part]))
            optimizer.zero_grad()
            loss(module(ids, mask), torch.from_numpy(labels[part]).to(target)).backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            progress(step / steps, f"{say}: step {step} of {steps}")
    module.eval()


def _groups(module: nn.Module, body: float, head: float) -> list[dict]:
    """Weight decay on matrices only, and the head's own learning rate."""
    groups = []
    for is_head, rate in ((False, body), (True, head)):
        mine = [parameter for name, parameter in module.named_parameters()
                if parameter.requires_grad and name.startswith("classifier") == is_head]
        groups.append({"params": [p for p in mine if p.ndim > 1], "lr": rate, "weight_decay": 0.01})
        groups.append({"params": [p for p in mine if p.ndim <= 1], "lr": rate, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]
