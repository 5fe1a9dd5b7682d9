"""A linear head on fixed embeddings: what the frozen encoders of this strategy are trained by."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from helpers.lab.models.torch import MeanPoolClassifier
from helpers.lab.progress import Progress, silent
from helpers.lab.training.tokenizer import pad

EMBEDDED_TOGETHER = 32


def fit_head(means: np.ndarray, labels: Sequence[int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression as a linear layer: weight (classes, d) and bias (classes,), float32.

    Args:
        means: (n, d) embeddings; labels: (n,) class numbers. A class without a row gets logits that never win.
    """
    labels = np.asarray(labels)
    weight = np.zeros((classes, means.shape[1]), np.float32)
    bias = np.full(classes, -30.0, np.float32)
    seen = np.unique(labels)
    if len(seen) == 1:
        bias[seen] = 0.0
        return weight, bias
    probe = LogisticRegression(C=10, max_iter=500).fit(means, labels)
    found, offset = probe.coef_, probe.intercept_
    if len(found) == 1:  # two classes: scikit-learn keeps the second one's logit only
        found, offset = np.vstack([-found, found]) / 2, np.concatenate([-offset, offset]) / 2
    weight[probe.classes_], bias[probe.classes_] = found, offset
    return weight, bias


@torch.inference_mode()
def embed_rows(module: MeanPoolClassifier, rows: Sequence[Sequence[int]],
               progress: Progress = silent) -> np.ndarray:
    """(n, hidden) float32 means of the token vectors of n rows of ids, computed in batches of like length.

    Raises:
        Cancelled: `progress` was told to end; asked at each batch.
    """
    module.eval()
    target = next(module.parameters()).device
    order = np.argsort([len(row) for row in rows], kind="stable")
    means = np.empty((len(rows), module.config.hidden_size), np.float32)
    for start in range(0, len(order), EMBEDDED_TOGETHER):
        progress.check()
        part = order[start:start + EMBEDDED_TOGETHER]
        ids, mask = (torch.from_numpy(array).to(target) for array in pad([rows[row] for row in part]))
        means[part] = module.embed(ids, mask).float().cpu().numpy()
    return means


def set_head(module: MeanPoolClassifier, weight: np.ndarray, bias: np.ndarray) -> None:
    """Put a fitted head on an encoder."""
    with torch.no_grad():
        module.classifier.weight.copy_(torch.from_numpy(weight))
        module.classifier.bias.copy_(torch.from_numpy(bias))
