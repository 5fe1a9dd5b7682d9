"""A linear head on a frozen encoder: where fine-tuning starts, and already a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel

from helpers.lab.data.tokenizer import TextEncoder, pad_for
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.torch import device
from helpers.lab.progress import Progress, silent
from helpers.lab.training.checkpoints import read_checkpoint, read_tokenizer
from helpers.lab.training.weights import MINILM, find_weights

EMBEDDING_BATCH = 32
NEVER = -30.0  # the bias of a class without a training row: its probability rounds to 0


def pretrained(encoder: str | Path = MINILM, classes: int = 1,
               max_length: int | None = None) -> tuple[MeanPoolClassifier, TextEncoder]:
    """The published encoder under an untrained linear layer, and its tokenizer.

    Args:
        max_length: tokens of a text that are read, see `read_tokenizer`.

    Raises:
        InputError: the weights cannot be found, are damaged, or have positions for fewer tokens.
    """
    weights = find_weights(encoder)
    module = MeanPoolClassifier(read_checkpoint(AutoModel, weights, may_lack="pooler"), classes)
    tokenizer = read_tokenizer(weights, module.encoder, max_length)
    return module.to(device()).eval(), tokenizer


def fit_head(means: np.ndarray, labels: Sequence[int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression as a linear layer: weight (classes, d) and bias (classes,), float32.

    Args:
        means: (n, d) embeddings.
        labels: (n,) class numbers. A class without a row gets logits that never win.
    """
    labels = np.asarray(labels)
    weight = np.zeros((classes, means.shape[1]), np.float32)
    bias = np.full(classes, NEVER, np.float32)
    seen = np.unique(labels)
    if len(seen) == 1:
        bias[seen] = 0.0
        return weight, bias
    probe = LogisticRegression(C=10, max_iter=500).fit(means, labels)
    coefficients, intercepts = probe.coef_, probe.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps the second one's logit only
        coefficients = np.vstack([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight[probe.classes_], bias[probe.classes_] = coefficients, intercepts
    return weight, bias


@torch.inference_mode()
def embed_rows(module: MeanPoolClassifier, rows: Sequence[Sequence[int]], progress: Progress = silent) -> np.ndarray:
    """(n, hidden) float32 means of the token vectors of n rows of ids, computed in batches of like length.

    Raises:
        Cancelled: the caller of `progress` wants an end; it is asked at each batch.
    """
    module.eval()
    target = next(module.parameters()).device
    order = np.argsort([len(row) for row in rows])
    means = np.empty((len(rows), module.config.hidden_size), np.float32)
    for start in range(0, len(order), EMBEDDING_BATCH):
        progress.check()
        part = order[start:start + EMBEDDING_BATCH]
        ids, mask = (torch.from_numpy(array).to(target) for array in pad_for(module, [rows[row] for row in part]))
        means[part] = module.embed(ids, mask).float().cpu().numpy()
    return means


def set_head(module: MeanPoolClassifier, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put a head, weight (classes, hidden) and bias (classes,), on an encoder."""
    with torch.no_grad():
        module.classifier.weight.copy_(torch.from_numpy(weight))
        module.classifier.bias.copy_(torch.from_numpy(bias))


def fit_linear_head(module: MeanPoolClassifier, rows: Sequence[Sequence[int]], labels: Sequence[int],
                    progress: Progress = silent) -> None:
    """Fit the head to rows of token ids and their class numbers, in place; the encoder stays as it is.

    Raises:
        Cancelled: see embed_rows.
    """
    progress(0.0, "embedding the training rows")
    set_head(module, *fit_head(embed_rows(module, rows, progress), labels, module.classifier.out_features))
