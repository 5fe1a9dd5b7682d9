"""Token vectors without an encoder behind them: the mean of a text's vectors, and a linear head."""

import time
from pathlib import Path

import numpy as np

from helpers.efficient_architectures.names import STRATEGY
from helpers.efficient_architectures.right_sizing.frozen import pretrained, short_name
from helpers.lab.data.task import Task
from helpers.lab.models.model import Card
from helpers.lab.models.static import StaticModel
from helpers.lab.progress import Progress, silent
from helpers.lab.training.heads import fit_head
from helpers.lab.training.weights import MINILM

COMMON = 1e-3  # a token this frequent counts half (Arora et al., 2017, 'A simple but tough-to-beat baseline')


def static_embeddings(task: Task, encoder: str | Path = MINILM, *,
                      progress: Progress = silent) -> StaticModel:
    """The mean of a text's token vectors and a logistic regression on it.

    The vectors are the encoder's own input table, in which frequent tokens are scaled down by their
    counts in the training texts. (Passing each token through the encoder, as model2vec does, took 40 s
    and gained 1.6 points on `tickets`' validation rows.) A linear head of a mean of vectors is the
    mean of the head of each vector, so what is kept is one score for each token and class.

    Raises:
        InputError: the weights cannot be found.
        Cancelled: `progress` was told to end.
    """
    progress.check()
    began = time.perf_counter()
    module, reader = pretrained(encoder, len(task.labels))
    vectors = module.encoder.get_input_embeddings().weight.detach().cpu().numpy()
    rows = reader.encode(task.train["text"][:])
    counts = np.bincount(np.concatenate(rows), minlength=len(vectors))
    vectors = (vectors - vectors.mean(axis=0)) * (COMMON / (COMMON + counts / counts.sum()))[:, None]
    means = np.stack([vectors[row].mean(axis=0) for row in rows])
    scale = 1 / np.linalg.norm(means, axis=1).mean()
    weight, bias = fit_head(means * scale, task.train["label"][:], len(task.labels))
    arrays = _arrays(vectors @ (weight.T * scale), bias)
    card = Card(f"static embeddings of {short_name(encoder)} + linear head", len(task.labels), STRATEGY,
                {"runtime": "numpy"}, parameters=arrays["vectors"].size + len(bias), macs=2 * len(bias) ** 2,
                made_in_s=time.perf_counter() - began)
    return StaticModel(card, reader, arrays)


def _arrays(scores: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """StaticModel's arrays for logits = mean(scores) + bias.

    Its hidden layer is a ReLU, so it gets the scores lifted above zero, and the last layer takes the lift off.
    """
    eye = np.eye(len(bias), dtype=np.float32)
    lift = np.maximum(-scores.min(axis=0), 0).astype(np.float32) + 1
    return {"vectors": scores.astype(np.float32), "hidden_weight": eye, "hidden_bias": lift, "out_weight": eye,
            "out_bias": bias - lift}
