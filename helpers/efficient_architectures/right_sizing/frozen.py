"""Encoders that are not trained: a linear layer on their embeddings, on their token vectors, or the labels' names."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from helpers.efficient_architectures.options import STRATEGY
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.models.model import Card
from helpers.lab.models.modules.classifiers import MeanPoolClassifier
from helpers.lab.models.static import StaticModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import card_of
from helpers.lab.training.heads import embed_rows, fit_head, fit_linear_head, pretrained, set_head
from helpers.lab.training.weights import MINILM, short_name

COMMON = 1e-3  # a token this frequent counts half (Arora et al., 2017, 'A simple but tough-to-beat baseline')


def linear_probe(task: Task, encoder: str | Path = MINILM, *, progress: Progress = silent) -> TorchTextModel:
    """The frozen encoder and a logistic regression on the mean of its token vectors.

    Raises:
        InputError: the weights cannot be found.
        Cancelled: the caller of `progress` wants an end.
    """
    began = time.perf_counter()
    module, tokenizer = pretrained(encoder, len(task.labels))
    fit_linear_head(module, tokenizer.encode(task.train["text"][:]), task.train["label"][:], progress)
    return as_model(f"{short_name(encoder)} frozen + linear head", task, module, tokenizer, began)


def zero_shot(task: Task, encoder: str | Path = MINILM) -> TorchTextModel:
    """No label is used: a text gets the label whose name is embedded nearest to it (by the cosine).

    The names, with underscores read as blanks, become the rows of the linear layer, each of length 1:
    the largest product is then the largest cosine.
    """
    began = time.perf_counter()
    module, tokenizer = pretrained(encoder, len(task.labels))
    means = embed_rows(module, tokenizer.encode([label.replace("_", " ") for label in task.labels]))
    set_head(module, means / np.linalg.norm(means, axis=1, keepdims=True), np.zeros(len(means), np.float32))
    return as_model(f"{short_name(encoder)}, zero-shot from label names", task, module, tokenizer, began)


def static_embeddings(task: Task, encoder: str | Path = MINILM, *, progress: Progress = silent) -> StaticModel:
    """The mean of a text's token vectors and a logistic regression on it: no encoder runs.

    The vectors are the encoder's input table, in which frequent tokens are scaled down by their
    counts in the training texts. (Passing each token through the encoder, as model2vec does, took 40 s
    and gained 1.6 points on `tickets`' validation rows.) A linear head of a mean of vectors is the
    mean of the head of each vector, so what is stored is one score for each token and class.

    Raises:
        InputError: the weights cannot be found.
        Cancelled: the caller of `progress` wants an end.
    """
    progress.check()
    began = time.perf_counter()
    module, tokenizer = pretrained(encoder, len(task.labels))
    vectors = module.encoder.get_input_embeddings().weight.detach().cpu().numpy()  # (vocabulary, d)
    rows = tokenizer.encode(task.train["text"][:])
    counts = np.bincount(np.concatenate(rows), minlength=len(vectors))
    vectors = (vectors - vectors.mean(axis=0)) * (COMMON / (COMMON + counts / counts.sum()))[:, None]
    means = np.stack([vectors[row].mean(axis=0) for row in rows])  # (n, d)
    scale = 1 / np.linalg.norm(means, axis=1).mean()
    weight, bias = fit_head(means * scale, task.train["label"][:], len(task.labels))
    arrays = _static_arrays(vectors @ (weight.T * scale), bias)
    card = Card(f"static embeddings of {short_name(encoder)} + linear head", len(task.labels), STRATEGY,
                {"runtime": "numpy"}, parameters=arrays["vectors"].size + len(bias), macs=2 * len(bias) ** 2,
                made_in_s=time.perf_counter() - began, labels=task.labels)
    return StaticModel(card, tokenizer, arrays)


def _static_arrays(scores: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """StaticModel's arrays for logits = mean(scores) + bias, of scores (vocabulary, classes) and bias (classes,).

    Its hidden layer is a ReLU, so it gets the scores lifted above zero, and the last layer takes the lift off.
    """
    eye = np.eye(len(bias), dtype=np.float32)
    lift = np.maximum(-scores.min(axis=0), 0).astype(np.float32) + 1
    return {"vectors": scores.astype(np.float32), "hidden_weight": eye, "hidden_bias": lift, "out_weight": eye,
            "out_bias": bias - lift}


def as_model(name: str, task: Task, module: MeanPoolClassifier, tokenizer: TextEncoder, began: float,
             **settings: Any) -> TorchTextModel:
    """The module as a Model of this strategy, made since `began` (of time.perf_counter)."""
    card = card_of(name, task, tokenizer, module, strategy=STRATEGY, made_in_s=time.perf_counter() - began,
                   **settings)
    return TorchTextModel(card, tokenizer, module)
