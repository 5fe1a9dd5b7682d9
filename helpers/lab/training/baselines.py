"""The model to beat: MiniLM-L6 fine-tuned in PyTorch fp32."""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.utils import logging

from helpers.lab.cache import cached
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card
from helpers.lab.models.torch import (
    MeanPoolClassifier,
    OwnHeadClassifier,
    TorchTextModel,
    count_macs,
    count_parameters,
    device,
)
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.tokenizer import TextEncoder, pad
from helpers.lab.training.weights import MINILM, find_weights

logging.disable_progress_bar()

RECIPE = 1  # raise it when the recipe changes: cached models of the old one are left alone
ROWS_TO_SEE = 6_000  # training rows over all epochs: what fits in three minutes on two cores


def baseline(task: Task, encoder: str | Path = MINILM, *, epochs: float | None = None, seed: int = 0,
             progress: Progress = silent) -> TorchTextModel:
    """MiniLM-L6 (or another encoder) fine-tuned on the task; from the cache when it was made before.

    The linear layer is first fitted on the frozen encoder's means, then everything is trained
    (linear probing before fine-tuning; Kumar et al., arXiv 2202.10054): far fewer steps suffice.

    Args:
        epochs: passes over the training rows; by default as many as fit into about three minutes
            on two cores, at least 1 and at most 8.

    Raises:
        InputError: not a text task, or the weights cannot be found.
        Cancelled: `progress` was told to end.
    """
    if task.input != "text":
        raise InputError(f"The baseline reads text; the task '{task.name}' has images.")
    epochs = epochs if epochs is not None else min(8.0, max(1.0, ROWS_TO_SEE / len(task.train)))
    parts = [task.digest, str(encoder), epochs, seed, RECIPE]
    folder = cache("baselines", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24])
    name = "MiniLM-L6" if str(encoder) == MINILM else Path(encoder).name
    return cached(folder, lambda: _make(task, name, find_weights(encoder), epochs, seed, progress))


def _make(task: Task, name: str, weights: Path, epochs: float, seed: int, progress: Progress) -> TorchTextModel:
    began = time.perf_counter()
    torch.manual_seed(seed)
    encoder = TextEncoder.load(weights / "tokenizer.json")
    module = MeanPoolClassifier(AutoModel.from_pretrained(weights, dtype=torch.float32), len(task.labels)).to(device())
    rows, labels = encoder.encode(task.train["text"][:]), task.train["label"][:]
    progress(0.0, "embedding the training rows")
    _fit_head(module, _embed(module, rows), labels)
    fine_tune(module, rows, labels, epochs=epochs, learning_rate=1e-4, head_learning_rate=1e-3, seed=seed,
              progress=progress)
    card = Card(f"{name} fp32, PyTorch", len(task.labels), settings={"runtime": "pytorch"},
                parameters=count_parameters(module), macs=count_macs(module, mean_tokens(task, encoder)),
                made_in_s=time.perf_counter() - began)
    return TorchTextModel(card, encoder, module)


def mean_tokens(task: Task, encoder: TextEncoder) -> int:
    """Mean length of the task's test texts in tokens, rounded."""
    return round(float(np.mean([len(row) for row in encoder.encode(task.test["text"][:])])))


@torch.inference_mode()
def _embed(module: MeanPoolClassifier, rows: list[list[int]]) -> np.ndarray:
    """(n, hidden) float32 means of the untrained encoder."""
    module.eval()
    order = np.argsort([len(row) for row in rows])
    means = np.empty((len(rows), module.config.hidden_size), np.float32)
    for start in range(0, len(order), 32):
        part = order[start:start + 32]
        ids, mask = (torch.from_numpy(array).to(device()) for array in pad([rows[row] for row in part]))
        means[part] = module.embed(ids, mask).cpu().numpy()
    return means


def _fit_head(module: MeanPoolClassifier, means: np.ndarray, labels: list[int]) -> None:
    probe = LogisticRegression(C=10, max_iter=200).fit(means, labels)
    weight, bias = probe.coef_, probe.intercept_
    if len(weight) == 1:  # two classes: scikit-learn keeps the second one's logit only
        weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    with torch.no_grad():
        module.classifier.weight[probe.classes_] = torch.from_numpy(weight).to(module.classifier.weight)
        module.classifier.bias[probe.classes_] = torch.from_numpy(bias).to(module.classifier.bias)


def load_pretrained(name: str | Path, task: Task) -> TorchTextModel:
    """A text classifier that was trained elsewhere: a local folder, or a name on the Hugging Face Hub.

    Raises:
        InputError: not found, no classifier's head, or one of other labels than the task's.
    """
    folder = find_weights(name)
    config = AutoConfig.from_pretrained(folder)
    if not any(kind.endswith("ForSequenceClassification") for kind in config.architectures or []):
        raise InputError(f"The model '{Path(name).name}' has no head for classifying texts (it is a "
                         f"{', '.join(config.architectures or ['model of no named kind'])}); "
                         "use baseline(task, encoder=...) to train one on it.")
    order = _label_order(config, task, Path(name).name)
    module = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    _reorder_head(module, order)
    encoder = TextEncoder.load(folder / "tokenizer.json", min(128, getattr(config, "max_position_embeddings", 128)))
    wrapped = OwnHeadClassifier(module)
    card = Card(f"{Path(name).name} fp32, PyTorch", len(task.labels), settings={"runtime": "pytorch"},
                parameters=count_parameters(wrapped), macs=count_macs(wrapped, mean_tokens(task, encoder)))
    return TorchTextModel(card, encoder, wrapped)


def _label_order(config, task: Task, name: str) -> list[int]:
    named = {str(label): index for index, label in config.id2label.items()}
    if config.num_labels != len(task.labels) or set(named) != set(task.labels):
        missing = [label for label in task.labels if label not in named]
        raise InputError(f"The model '{name}' knows {config.num_labels} labels, the task '{task.name}' has "
                         f"{len(task.labels)}; it does not know, for one, '{(missing or task.labels)[0]}'.")
    return [named[label] for label in task.labels]


def _reorder_head(module: torch.nn.Module, order: list[int]) -> None:
    """Give the head the task's order of labels (a head's last layer has one row a label)."""
    last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)
            and layer.out_features == len(order)][-1]
    with torch.no_grad():
        last.weight.copy_(last.weight[order].clone())
        if last.bias is not None:
            last.bias.copy_(last.bias[order].clone())
