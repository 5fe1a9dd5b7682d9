"""Few labels: pull texts of one label together and push the others apart, then fit a linear head."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from helpers.efficient_architectures.right_sizing.frozen import as_model
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.torch import TorchTextModel, device
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import train
from helpers.lab.training.heads import fit_linear_head, pretrained
from helpers.lab.training.weights import MINILM, find_weights, short_name

BATCH = 16  # pairs
LEARNING_RATE = 2e-5  # the recipe's


def few_shot(task: Task, encoder: str | Path = MINILM, *, pairs_per_row: int = 4, max_steps: int = 150, seed: int = 0,
             progress: Progress = silent) -> TorchTextModel:
    """SetFit's recipe (Tunstall et al., arXiv 2209.11055): pairs, cosine loss, then logistic regression.

    Args:
        pairs_per_row: pairs of one label, and as many of two, drawn for each training row.
        max_steps: of 16 pairs each; with many labels there are more pairs than repay their time.

    Raises:
        InputError: no pair can be drawn, because all rows have one label.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    began = time.perf_counter()
    torch.manual_seed(seed)
    labels = list(task.train["label"][:])
    pairs = draw_pairs(labels, pairs_per_row, seed)[:max_steps * BATCH]
    sentence = SentenceTransformer(str(find_weights(encoder)), device=str(device()))
    module, tokenizer = pretrained(encoder, len(task.labels))
    rows = tokenizer.encode(task.train["text"][:])
    cosine_loss = CosineSimilarityLoss(sentence)

    def loss_of(part: list[tuple[int, int, float]]) -> torch.Tensor:
        sides = [_features(tokenizer, [rows[pair[side]] for pair in part]) for side in (0, 1)]
        return cosine_loss(sides, torch.tensor([same for _, _, same in part], device=device()))

    batches = [pairs[start:start + BATCH] for start in range(0, len(pairs), BATCH)]
    train(sentence, batches, loss_of, torch.optim.AdamW(sentence.parameters(), lr=LEARNING_RATE), steps=len(batches),
          progress=progress, say="pulling pairs together")
    module.encoder = sentence[0].auto_model
    fit_linear_head(module, rows, labels, progress.part(1.0, 1.0))
    return as_model(f"{short_name(encoder)} contrastive + linear head", task, module, tokenizer, began,
                    pairs=len(pairs), seed=seed)


def draw_pairs(labels: Sequence[int], pairs_per_row: int, seed: int = 0) -> list[tuple[int, int, float]]:
    """(row, row, 1.0 of one label or 0.0 of two), shuffled: `pairs_per_row` of each kind for every row.

    A row that is alone with its label has pairs of two labels only.

    Raises:
        InputError: all rows have one label.
    """
    if len(set(labels)) < 2:
        raise InputError("Pairs of different labels are needed; all rows have one label.")
    rng = random.Random(seed)
    rows_of = {label: [row for row, other in enumerate(labels) if other == label] for label in set(labels)}
    pairs = []
    for row, label in enumerate(labels):
        for _ in range(pairs_per_row):
            if len(rows_of[label]) > 1:
                pairs.append((row, rng.choice([other for other in rows_of[label] if other != row]), 1.0))
            pairs.append((row, rng.choice(rows_of[rng.choice([other for other in rows_of if other != label])]), 0.0))
    rng.shuffle(pairs)
    return pairs


def _features(tokenizer: TextEncoder, rows: list[list[int]]) -> dict[str, torch.Tensor]:
    ids, mask = (torch.from_numpy(array).to(device()) for array in tokenizer.pad(rows))
    return {"input_ids": ids, "attention_mask": mask}
