"""Encoders that are not trained: one linear layer on their embeddings, or none but the labels' names."""

import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from helpers.efficient_architectures.names import STRATEGY
from helpers.lab.data.task import Task
from helpers.lab.models.model import Card
from helpers.lab.models.torch import MeanPoolClassifier, TorchTextModel, count_macs, count_parameters, device
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import mean_tokens
from helpers.lab.training.heads import embed_rows, fit_head, set_head
from helpers.lab.training.tokenizer import TextEncoder
from helpers.lab.training.weights import MINILM, find_weights


def pretrained(encoder: str | Path, classes: int) -> tuple[MeanPoolClassifier, TextEncoder]:
    """The published encoder under an untrained linear layer, and its tokenizer."""
    weights = find_weights(encoder)
    module = MeanPoolClassifier(AutoModel.from_pretrained(weights, dtype=torch.float32), classes)
    return module.to(device()).eval(), TextEncoder.load(weights / "tokenizer.json")


def linear_probe(task: Task, encoder: str | Path = MINILM, *, progress: Progress = silent) -> TorchTextModel:
    """The frozen encoder and a logistic regression on the mean of its token vectors.

    Raises:
        InputError: the weights cannot be found.
        Cancelled: `progress` was told to end.
    """
    began = time.perf_counter()
    module, reader = pretrained(encoder, len(task.labels))
    progress(0.1, "embedding the training rows")
    means = embed_rows(module, reader.encode(task.train["text"][:]), progress)
    set_head(module, *fit_head(means, task.train["label"][:], len(task.labels)))
    return as_model(f"{short_name(encoder)} frozen + linear head", task, module, reader, began)


def zero_shot(task: Task, encoder: str | Path = MINILM, template: str = "{}") -> TorchTextModel:
    """No label is used: a text gets the label whose name is embedded nearest to it (by the cosine).

    The names, with underscores read as blanks and put into `template`, become the rows of the linear
    layer, each of length 1: the largest product is then the largest cosine.
    """
    began = time.perf_counter()
    module, reader = pretrained(encoder, len(task.labels))
    names = [template.format(label.replace("_", " ")) for label in task.labels]
    means = embed_rows(module, reader.encode(names))
    set_head(module, means / np.linalg.norm(means, axis=1, keepdims=True), np.zeros(len(names), np.float32))
    return as_model(f"{short_name(encoder)}, zero-shot from label names", task, module, reader, began)


def short_name(encoder: str | Path) -> str:
    """What an encoder is called in tables."""
    return "MiniLM-L6" if str(encoder) == MINILM else Path(encoder).name


def card_of(name: str, task: Task, module: MeanPoolClassifier, reader: TextEncoder, began: float,
            **settings: object) -> Card:
    """The card of a trained module: parameters, multiplications, and the seconds since `began`."""
    return Card(name, len(task.labels), STRATEGY, {"runtime": "pytorch", **settings}, count_parameters(module),
                count_macs(module, mean_tokens(task, reader)), time.perf_counter() - began)


def as_model(name: str, task: Task, module: MeanPoolClassifier, reader: TextEncoder, began: float,
             **settings: object) -> TorchTextModel:
    """The module as a Model with its card, see card_of."""
    return TorchTextModel(card_of(name, task, module, reader, began, **settings), reader, module)
