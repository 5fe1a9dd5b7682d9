"""The model to beat: MiniLM-L6 fine-tuned in PyTorch fp32."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification
from transformers.utils import logging

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import MAX_TOKENS, TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, cached_model
from helpers.lab.models.torch import OwnHeadClassifier, TorchTextModel, count_macs, count_parameters
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent
from helpers.lab.training.checkpoints import read_checkpoint, read_config
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.heads import fit_linear_head, pretrained
from helpers.lab.training.weights import MINILM, find_weights, short_name

logging.disable_progress_bar()

RECIPE = 1  # raise it when the recipe changes: cached models of the old one are left alone
TRAINING_ROWS = 6_000  # training rows over all epochs: what fits in three minutes on two cores


def baseline(task: Task, encoder: str | Path = MINILM, *, epochs: float | None = None, seed: int = 0,
             progress: Progress = silent) -> TorchTextModel:
    """MiniLM-L6 (or another encoder) fine-tuned on the task; from the cache if it was trained before.

    The linear layer is first fitted on the frozen encoder's means, then everything is trained
    (linear probing before fine-tuning; Kumar et al., arXiv 2202.10054): far fewer steps suffice.

    Args:
        epochs: over the training rows; by default as many as fit into about three minutes on two
            cores, at least 1 and at most 8.

    Raises:
        InputError: not a text task, or the weights cannot be found.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab import baseline, load_task
    >>> model = baseline(load_task("tickets"))  # doctest: +SKIP
    >>> model.predict(["Where is my parcel?"]).shape  # doctest: +SKIP
    (1, 24)
    """
    if task.input != "text":
        raise InputError(f"The baseline reads text; the task '{task.name}' has images.")
    epochs = epochs if epochs is not None else min(8.0, max(1.0, TRAINING_ROWS / len(task.train)))
    parts = [task.digest, str(encoder), epochs, seed, RECIPE]
    folder = cache("baselines", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24])
    return cached_model(folder, lambda: _make(task, encoder, epochs, seed, progress))


def _make(task: Task, encoder: str | Path, epochs: float, seed: int, progress: Progress) -> TorchTextModel:
    began = time.perf_counter()
    torch.manual_seed(seed)
    module, tokenizer = pretrained(encoder, len(task.labels))
    rows, labels = tokenizer.encode(task.train["text"][:]), task.train["label"][:]
    fit_linear_head(module, rows, labels, progress)
    fine_tune(module, rows, labels, epochs=epochs, learning_rate=1e-4, head_learning_rate=1e-3, seed=seed,
              progress=progress)
    card = card_of(f"{short_name(encoder)} fp32, PyTorch", task, tokenizer, module,
                   made_in_s=time.perf_counter() - began)
    return TorchTextModel(card, tokenizer, module)


def card_of(name: str, task: Task, tokenizer: TextEncoder, module: torch.nn.Module, *, strategy: str = "reference",
            made_in_s: float = 0.0, **settings: Any) -> Card:
    """The card of a PyTorch text classifier, with its parameters and multiplications counted."""
    return Card(name, len(task.labels), strategy, {"runtime": "pytorch", **settings}, count_parameters(module),
                count_macs(module, mean_tokens(task, tokenizer)), made_in_s)


def mean_tokens(task: Task, tokenizer: TextEncoder) -> int:
    """Mean length of the task's test texts in tokens, rounded."""
    return round(float(np.mean([len(row) for row in tokenizer.encode(task.test["text"][:])])))


def load_pretrained(name: str | Path, task: Task) -> TorchTextModel:
    """A text classifier that was trained elsewhere: a local folder, or a name on the Hugging Face Hub.

    Raises:
        InputError: not found, without a classifier's head, or with other labels than the task.
    """
    folder = find_weights(name)
    config = read_config(folder)
    if not any(kind.endswith("ForSequenceClassification") for kind in config.architectures or []):
        raise InputError(f"The model '{Path(name).name}' has no head for classifying texts (it is a "
                         f"{', '.join(config.architectures or ['model of no named kind'])}); "
                         "use baseline(task, encoder=...) to train one on it.")
    order = _label_order(config, task, Path(name).name)
    module = read_checkpoint(AutoModelForSequenceClassification, folder)
    _reorder_head(module, order)
    module.config.id2label = dict(enumerate(task.labels))
    module.config.label2id = {label: number for number, label in enumerate(task.labels)}
    longest = min(MAX_TOKENS, getattr(config, "max_position_embeddings", MAX_TOKENS))
    tokenizer = TextEncoder.of_checkpoint(folder, longest)
    module.config.pad_token_id = tokenizer.pad_id
    wrapped = OwnHeadClassifier(module)
    return TorchTextModel(card_of(f"{Path(name).name} fp32, PyTorch", task, tokenizer, wrapped), tokenizer, wrapped)


def _label_order(config, task: Task, name: str) -> list[int]:
    index_of = {str(label): index for index, label in config.id2label.items()}
    if config.num_labels != len(task.labels) or set(index_of) != set(task.labels):
        missing = [label for label in task.labels if label not in index_of]
        raise InputError(f"The model '{name}' knows {config.num_labels} labels, the task '{task.name}' has "
                         f"{len(task.labels)}; it does not know, for one, '{(missing or task.labels)[0]}'.")
    return [index_of[label] for label in task.labels]


def _reorder_head(module: torch.nn.Module, order: list[int]) -> None:
    """Give the head the task's order of labels (a head's last layer has one row a label)."""
    last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)
            and layer.out_features == len(order)][-1]
    with torch.no_grad():
        last.weight.copy_(last.weight[order].clone())
        if last.bias is not None:
            last.bias.copy_(last.bias[order].clone())
