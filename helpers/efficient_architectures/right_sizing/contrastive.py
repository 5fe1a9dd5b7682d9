"""Few labels: pull texts of one label together and push the others apart, then fit a linear head."""

import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from helpers.efficient_architectures.right_sizing.frozen import as_model, pretrained, short_name
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.torch import MeanPoolClassifier, TorchTextModel, device
from helpers.lab.progress import Progress, silent
from helpers.lab.training.heads import embed_rows, fit_head, set_head
from helpers.lab.training.tokenizer import pad
from helpers.lab.training.weights import MINILM, find_weights

PAIRS_TOGETHER = 16
LEARNING_RATE = 2e-5  # the recipe's


def few_shot(task: Task, encoder: str | Path = MINILM, *, pairs_a_row: int = 4, most_steps: int = 150, seed: int = 0,
             progress: Progress = silent) -> TorchTextModel:
    """SetFit's recipe (Tunstall et al., arXiv 2209.11055): pairs, cosine loss, then logistic regression.

    Args:
        pairs_a_row: pairs of one label, and as many of two, drawn for each training row.
        most_steps: of 16 pairs each; with many labels there are more pairs than repay their time.

    Raises:
        InputError: no pair can be drawn, because all rows have one label.
        Cancelled: `progress` was told to end; asked at each step.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    began = time.perf_counter()
    torch.manual_seed(seed)
    labels = list(task.train["label"][:])
    pairs = draw_pairs(labels, pairs_a_row, seed)[:most_steps * PAIRS_TOGETHER]
    sentence = SentenceTransformer(str(find_weights(encoder)), device=str(device()))
    module, reader = pretrained(encoder, len(task.labels))
    rows = reader.encode(task.train["text"][:])
    _pull_together(sentence, CosineSimilarityLoss(sentence), rows, pairs, progress)
    module = MeanPoolClassifier(sentence[0].auto_model, len(task.labels)).to(device())
    set_head(module, *fit_head(embed_rows(module, rows, progress), labels, len(task.labels)))
    return as_model(f"{short_name(encoder)} contrastive + linear head", task, module, reader, began,
                    pairs=len(pairs), seed=seed)


def draw_pairs(labels: Sequence[int], pairs_a_row: int, seed: int = 0) -> list[tuple[int, int, float]]:
    """(row, row, 1.0 of one label or 0.0 of two), shuffled: `pairs_a_row` of each kind for every row.

    A row that is alone with its label has pairs of two labels only.
    """
    if len(set(labels)) < 2:
        raise InputError("Pairs of different labels are needed; all rows have one label.")
    rng = random.Random(seed)
    of = {label: [row for row, own in enumerate(labels) if own == label] for label in set(labels)}
    pairs = []
    for row, label in enumerate(labels):
        for _ in range(pairs_a_row):
            if len(of[label]) > 1:
                pairs.append((row, rng.choice([other for other in of[label] if other != row]), 1.0))
            pairs.append((row, rng.choice(of[rng.choice([other for other in of if other != label])]), 0.0))
    rng.shuffle(pairs)
    return pairs


def _pull_together(sentence: torch.nn.Module, loss: torch.nn.Module, rows: list[list[int]],
                   pairs: list[tuple[int, int, float]], progress: Progress) -> None:
    optimizer = torch.optim.AdamW(sentence.parameters(), lr=LEARNING_RATE)
    sentence.train()
    starts = range(0, len(pairs), PAIRS_TOGETHER)
    for step, start in enumerate(starts):
        progress(step / len(starts), f"pulling pairs together: step {step + 1} of {len(starts)}")
        part = pairs[start:start + PAIRS_TOGETHER]
        features = [_features([rows[pair[side]] for pair in part]) for side in (0, 1)]
        optimizer.zero_grad()
        loss(features, torch.tensor([pair[2] for pair in part], device=device())).backward()
        torch.nn.utils.clip_grad_norm_(sentence.parameters(), 1.0)
        optimizer.step()
    sentence.eval()


def _features(rows: list[list[int]]) -> dict[str, torch.Tensor]:
    ids, mask = (torch.from_numpy(array).to(device()) for array in pad(rows))
    return {"input_ids": ids, "attention_mask": mask}
