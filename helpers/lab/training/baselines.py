"""The model to beat: MiniLM-L6 fine-tuned in PyTorch fp32; and classifiers that were trained elsewhere."""

import copy
import dataclasses
import hashlib
import json
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from helpers.lab.data.labels import aligned
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import Coverage, TextEncoder
from helpers.lab.errors import InputError, reason
from helpers.lab.models.model import Card, cached_model
from helpers.lab.models.modules.classifiers import OwnHeadClassifier
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent
from helpers.lab.training.checkpoints import content_digest, read_checkpoint, read_config, read_tokenizer
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.heads import fit_linear_head, pretrained
from helpers.lab.training.weights import MINILM, find_weights, short_name

RECIPE = 2  # raise it when the recipe changes: cached models of the old one are left alone
TRAINING_ROWS = 6_000  # training rows over all epochs: what fits in three minutes on two cores
# Shares above which it is said what an encoder does not read: below, no accuracy of a task's can hang on it.
MUCH_UNKNOWN, MUCH_CUT = 0.03, 0.03


def baseline(task: Task, encoder: str | Path = MINILM, *, epochs: float | None = None, max_length: int | None = None,
             name: str | None = None, seed: int = 0, progress: Progress = silent) -> TorchTextModel:
    """MiniLM-L6 (or another encoder) fine-tuned on the task; from the cache if it was trained before.

    The linear layer is first fitted on the frozen encoder's means, then everything is trained
    (linear probing before fine-tuning; Kumar et al., arXiv 2202.10054): far fewer steps suffice.

    Args:
        encoder: a folder, or a name on the Hugging Face Hub. Cached models are found by its contents.
        epochs: over the training rows; by default as many as fit into about three minutes on two
            cores, at least 1 and at most 8.
        max_length: tokens of a text that are read; by default the encoder's own limit, 256 for MiniLM-L6. Texts below
            it cost what they did; longer ones cost in proportion to their length, and attention with its square.
        name: what the model is called in tables, and the names of those made from it begin with; by default the
            encoder's.

    Raises:
        InputError: not a text task, the weights cannot be found, or the encoder has positions for fewer tokens.
        Cancelled: the caller of `progress` wants an end.

    A warning says which share of the texts the encoder cannot read, where it is large: unknown tokens, and what lies
    beyond `max_length`.

    >>> from helpers.lab import baseline, load_task
    >>> model = baseline(load_task("tickets"))  # doctest: +SKIP
    >>> model.predict(["Where is my parcel?"]).shape  # doctest: +SKIP
    (1, 25)
    """
    if task.input != "text":
        raise InputError(f"The baseline reads text; the task '{task.name}' has images.")
    _require_length(max_length)
    epochs = epochs if epochs is not None else min(8.0, max(1.0, TRAINING_ROWS / len(task.train)))
    parts = [task.digest, content_digest(find_weights(encoder)), epochs, max_length, seed, RECIPE]
    folder = cache("baselines", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24])
    trained_now: list[Any] = []

    def make() -> TorchTextModel:
        trained_now.append(True)
        return _make(task, encoder, epochs, max_length, seed, progress)

    model = cached_model(folder, make)
    if not trained_now and model.card.coverage is not None:
        _warn(model.card.coverage, "test texts", short_name(encoder), model.encoder)
    called = name or ("" if str(encoder) == MINILM else short_name(encoder))
    model = copy.copy(model)  # its name is the caller's; the entry's model goes by the encoder that it was made with
    model.card = dataclasses.replace(model.card, name=name or f"{short_name(encoder)} fp32, PyTorch", checkpoint=called)
    return model


def _make(task: Task, encoder: str | Path, epochs: float, max_length: int | None, seed: int,
          progress: Progress) -> TorchTextModel:
    began = time.perf_counter()
    torch.manual_seed(seed)
    module, tokenizer = pretrained(encoder, len(task.labels), max_length)
    texts, labels = task.train["text"][:], task.train["label"][:]
    _warn(tokenizer.coverage(texts), "training texts", short_name(encoder), tokenizer)
    rows = tokenizer.encode(texts)
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
                count_macs(module, mean_tokens(task, tokenizer)), made_in_s, labels=task.labels,
                coverage=tokenizer.coverage(task.test["text"][:]))


def mean_tokens(task: Task, tokenizer: TextEncoder) -> int:
    """Mean length of the task's test texts in tokens, rounded."""
    return round(float(np.mean([len(row) for row in tokenizer.encode(task.test["text"][:])])))


def load_pretrained(checkpoint: str | Path, task: Task, *, labels: Sequence[str] | None = None,
                    max_length: int | None = None, name: str | None = None) -> TorchTextModel:
    """A text classifier that was trained elsewhere: a local folder, or a name on the Hugging Face Hub.

    Args:
        labels: the names of the model's outputs, in their order, where its own configuration does not name them
            (LABEL_0, LABEL_1, …) or names them otherwise than the task does.
        max_length: tokens of a text that are read; by default the model's own limit. Longer texts cost more, see
            `baseline`.
        name: what the model is called in tables, and the names of those made from it begin with; by default the
            folder's.

    Raises:
        InputError: not found, damaged, without a classifier's head, with one that gives no single label, or with other
            labels than the task.

    >>> from helpers.lab import load_pretrained, load_task
    >>> model = load_pretrained("my_folder", load_task("tickets"), max_length=512)  # doctest: +SKIP
    """
    if task.input != "text":
        raise InputError(f"A text classifier reads text; the task '{task.name}' has images.")
    _require_length(max_length)
    folder = find_weights(checkpoint)
    called = short_name(checkpoint)
    config = read_config(folder)
    _require_single_label(config, called)
    order = _label_order(config, task, called, labels)
    module = read_checkpoint(AutoModelForSequenceClassification, folder)
    tokenizer = read_tokenizer(folder, module, max_length)
    _reorder_head(module, order, called)
    module.config.id2label = dict(enumerate(task.labels))
    module.config.label2id = {label: number for number, label in enumerate(task.labels)}
    wrapped = OwnHeadClassifier(module)
    try:
        card = card_of(name or f"{called} fp32, PyTorch", task, tokenizer, wrapped)
    except Exception as error:  # a vocabulary without an unknown token, for one; each architecture has others
        raise InputError(f"The model '{called}' cannot read the texts of the task '{task.name}' ({reason(error)}). "
                         "Its tokenizer.json and its weights must be of one model.") from error
    _warn(card.coverage, "test texts", called, tokenizer)
    return TorchTextModel(dataclasses.replace(card, checkpoint=name or called), tokenizer, wrapped)


def _require_length(max_length: int | None) -> None:
    if max_length is not None and (not isinstance(max_length, int) or max_length < 1):
        raise InputError(f"max_length is a number of tokens, such as 256, not {max_length!r}.")


def _warn(coverage: Coverage, texts: str, encoder: str, tokenizer: TextEncoder) -> None:
    """Say which share of the texts is not read, where it is large."""
    if coverage.unknown >= MUCH_UNKNOWN:
        warnings.warn(f"{coverage.unknown:.0%} of the tokens of the {texts} are unknown to {encoder}: it cannot read "
                      "them. Give an encoder for their language or kind: baseline(task, encoder=...).", stacklevel=3)
    if max(coverage.rows_cut, coverage.tokens_cut) >= MUCH_CUT:
        warnings.warn(f"{encoder} reads {tokenizer.max_tokens} tokens of a text: {coverage.rows_cut:.0%} of the "
                      f"{texts} are longer, and {coverage.tokens_cut:.0%} of all tokens are cut off. max_length=... "
                      "reads more, at a higher cost, up to the model's number of positions.", stacklevel=3)


def _require_single_label(config: PretrainedConfig, name: str) -> None:
    """Refuse heads whose outputs are no logits of classes of which one is right."""
    named = config.architectures if isinstance(config.architectures, list) else []
    kinds = [kind for kind in named if isinstance(kind, str)]
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise InputError(f"The model '{name}' has no head for classifying texts (it is a "
                         f"{', '.join(kinds) or 'model of no named kind'}); "
                         "use baseline(task, encoder=...) to train one on it.")
    if config.problem_type == "multi_label_classification":
        raise InputError(f"The model '{name}' gives several labels to a text (multi_label_classification); here a text "
                         "has one. Train one on its encoder: baseline(task, encoder=...).")
    if config.problem_type == "regression" or config.num_labels == 1:
        raise InputError(f"The model '{name}' gives one number for a text (regression), not a label. Train a "
                         "classifier on its encoder: baseline(task, encoder=...).")


def _label_order(config: PretrainedConfig, task: Task, name: str, labels: Sequence[str] | None) -> list[int]:
    """For each label of the task the model's output that stands for it."""
    label_names = [str(config.id2label.get(number)) for number in range(config.num_labels)]
    unnamed = all(re.fullmatch(r"LABEL_\d+", label) for label in label_names)
    if labels is not None and (isinstance(labels, str) or not all(isinstance(label, str) for label in labels)):
        raise InputError('labels= takes the names of the classes in a list: labels=["no", "yes"].')
    known = label_names if labels is None else list(labels)
    if len(label_names) != len(task.labels) or len(known) != len(label_names):
        counts = f"; labels= names {len(known)}" if len(known) != len(label_names) else ""
        missing = [label for label in task.labels if label not in known]
        raise InputError(f"The model '{name}' knows {len(label_names)} labels, the task '{task.name}' has "
                         f"{len(task.labels)}{counts}; it does not know, for one, '{(missing or task.labels)[0]}'.")
    legible = [label.encode("utf-8", "replace").decode() for label in known]  # half a character is no text
    known = aligned(pd.Series(legible), pd.Series(task.labels)).tolist()
    index_of = {label: index for index, label in enumerate(known)}
    if set(index_of) == set(task.labels):
        return [index_of[label] for label in task.labels]
    missing = next(label for label in task.labels if label not in index_of)
    if labels is not None:
        strange = next((label for label in known if label not in task.labels), None)
        raise InputError(f"labels= names {'no' if strange is None else f'{strange!r}, but no'} '{missing}'; the labels "
                         f"of the task '{task.name}' are: {_shown(task.labels)}. Name each once, in the order of the "
                         "model's outputs.")
    outputs = "its outputs have no names (LABEL_0, …)" if unnamed else f"its labels are {_shown(label_names)}"
    raise InputError(f"The model '{name}' and the task '{task.name}' name their labels differently: it does not know, "
                     f"for one, '{missing}'; {outputs}. If they mean the same, name its outputs in their order: "
                     f'load_pretrained("{name}", task, labels=[{_shown(task.labels, chr(34))}]), reordered as it was '
                     "trained.")


def _shown(labels: Sequence[str], quote: str = "'") -> str:
    """Up to eight names."""
    return ", ".join(f"{quote}{label}{quote}" for label in labels[:8]) + (", …" if len(labels) > 8 else "")


@torch.inference_mode()
def _reorder_head(module: torch.nn.Module, order: list[int], name: str) -> None:
    """Give the head the task's order of labels: a head's last layer has one row a label."""
    ids = torch.ones(1, 4, dtype=torch.int64)
    before = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    rows = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)
            and layer.out_features == len(order)]
    for part in (rows[-1].weight, rows[-1].bias) if rows else ():
        if part is not None:
            part.copy_(part[order].clone())
    after = module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    if not torch.allclose(after, before[:, order], rtol=1e-4, atol=1e-5):
        raise InputError(f"The head of '{name}' (a {type(module).__name__}) cannot be put into the task's order of "
                         "labels. Train one on its encoder: baseline(task, encoder=...).")
