"""Rows as vectors, computed once and kept on disk: what makes the experiments of this strategy cheap."""

import dataclasses
import functools
import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.paths import cache, quarantine
from helpers.lab.training.weights import MINILM, find_weights

KINDS = ("minilm", "lexical", "pixels")
LEXICAL_WIDTH = 256
BATCH = 32
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Features:
    """A task as arrays: (n, d) float32 rows of length 1, memory-mapped, and (n,) int64 labels, for each split."""

    task: str
    labels: tuple[str, ...]
    kind: str
    train: np.ndarray
    train_y: np.ndarray
    validation: np.ndarray
    validation_y: np.ndarray
    test: np.ndarray
    test_y: np.ndarray


def features(task: Task, kind: str = "minilm") -> Features:
    """The task's rows as vectors, from the cache where they were computed before.

    Args:
        kind: "minilm", 384 means of the frozen MiniLM's token vectors; "lexical", TF-IDF of words cut to
            256 dimensions by a singular value decomposition, both fitted on the training rows; "pixels", for images.

    Raises:
        InputError: unknown kind, or one that does not fit the task.
    """
    if kind not in KINDS or (task.input == "image") != (kind == "pixels"):
        fitting = ["pixels"] if task.input == "image" else ["minilm", "lexical"]
        raise InputError(f"The task '{task.name}' cannot be turned into features of the kind '{kind}'. "
                         f"For it there are: {', '.join(fitting)}.")
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    inputs = {name: split[task.input][:] for name, split in splits.items()}
    key = f"{task.digest}-{kind}-{_VERSION}"
    if kind == "minilm":
        made = {name: embed(rows) for name, rows in inputs.items()}
    elif kind == "lexical":
        made = _kept_together(key, inputs, lambda: _lexical(inputs))
    else:
        made = {name: unit(np.asarray(rows, np.float32).reshape(len(rows), -1)) for name, rows in inputs.items()}
    y = {name: np.asarray(split["label"][:], np.int64) for name, split in splits.items()}
    return Features(task.name, task.labels, kind, made["train"], y["train"], made["validation"], y["validation"],
                    made["test"], y["test"])


def embed(texts: Sequence[str], keep: bool = True) -> np.ndarray:
    """(n, 384) float32: the frozen MiniLM's mean token vectors, of length 1.

    Args:
        keep: write them to the disk, from where a second call with the same texts maps them; else compute them
            here, for texts that come once and whose cost is counted.
    """
    if not keep:
        return _minilm(texts)
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:24]
    return _kept(cache("embeddings", f"minilm-{digest}-{_VERSION}.npy"), lambda: _minilm(texts))


def unit(rows: np.ndarray) -> np.ndarray:
    """(n, d) float32 rows of length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array of a file, which appears whole; a second process waits for the first one's.

    A damaged file is set aside, said, and made again.
    """
    with FileLock(f"{path}.lock"):
        if path.exists():
            try:
                return np.load(path, mmap_mode="r")
            except (ValueError, EOFError, OSError):
                aside = quarantine(path)
                warnings.warn(f"Cached vectors could not be read and were set aside as {aside.name}; they are "
                              "computed again.", stacklevel=4)
        unfinished = path.with_suffix(".unfinished.npy")
        np.save(unfinished, make())
        unfinished.rename(path)
    return np.load(path, mmap_mode="r")


def _kept_together(key: str, inputs: dict[str, list[str]],
                   make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays that are made at once and kept one file each."""
    made: dict[str, np.ndarray] = {}

    def part(name: str) -> np.ndarray:
        if not made:
            made.update(make())
        return made[name]

    return {name: _kept(cache("embeddings", f"{key}-{name}.npy"), lambda name=name: part(name)) for name in inputs}


def _lexical(inputs: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Latent semantic analysis (Deerwester et al., 1990)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", dtype=np.float32)
    words = vectorizer.fit_transform(inputs["train"])
    width = min(LEXICAL_WIDTH, words.shape[1] - 1, words.shape[0] - 1)
    if width < 1:
        raise InputError("The training texts hold too few words for lexical features; use kind='minilm'.")
    reduction = TruncatedSVD(width, random_state=0).fit(words)
    return {name: unit(reduction.transform(vectorizer.transform(rows))) for name, rows in inputs.items()}


@functools.cache
def _encoder() -> tuple[Any, Any]:
    """The tokenizer and the frozen network."""
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    from helpers.lab.models.torch import MeanPoolClassifier, device
    from helpers.lab.training.tokenizer import TextEncoder

    logging.disable_progress_bar()
    weights = find_weights(MINILM)
    network = MeanPoolClassifier(AutoModel.from_pretrained(weights, dtype=torch.float32), 1).to(device()).eval()
    return TextEncoder.load(weights / "tokenizer.json"), network


def _minilm(texts: Sequence[str]) -> np.ndarray:
    import torch

    from helpers.lab.models.torch import device
    from helpers.lab.training.tokenizer import pad

    encoder, network = _encoder()
    rows = encoder.encode(texts)
    means = np.zeros((len(rows), network.config.hidden_size), np.float32)
    order = np.argsort([len(row) for row in rows], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            part = order[start:start + BATCH]
            ids, mask = (torch.from_numpy(array).to(device()) for array in pad([rows[row] for row in part]))
            means[part] = network.embed(ids, mask).cpu().numpy()
    return unit(means)
