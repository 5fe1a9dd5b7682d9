"""Rows as vectors, computed once and cached on disk: what makes the experiments of this strategy cheap."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data_efficiency.options import FEATURES
from helpers.lab.cache import cached
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.paths import cache
from helpers.lab.training.weights import MINILM, find_weights

LEXICAL_WIDTH = 256
_VERSION = 2  # raise it when the vectors change: 256 tokens of a text are read, 128 before
MAX_UNKNOWN = 0.2  # of a text's tokens: with more, its vector says what is missing rather than what it says


@dataclasses.dataclass(frozen=True)
class Features:
    """A task as arrays: for each split (n, d) float32 rows of length 1 and (n,) int64 labels.

    Rows that come from the cache are memory-mapped.
    """

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

    >>> from helpers.data_efficiency import features
    >>> from helpers.lab import load_task
    >>> features(load_task("digits"), "pixels").train.shape
    (1212, 64)
    """
    if kind not in FEATURES or (task.input == "image") != (kind == "pixels"):
        fitting = ["pixels"] if task.input == "image" else ["minilm", "lexical"]
        raise InputError(f"The task '{task.name}' cannot be turned into features of the kind '{kind}'. "
                         f"For it there are: {', '.join(fitting)}.")
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    inputs = {name: split[task.input][:] for name, split in splits.items()}
    if kind == "minilm":
        x = {name: embed(rows) for name, rows in inputs.items()}
    elif kind == "lexical":
        x = _cached_arrays(f"{task.digest}-{kind}-{_VERSION}", lambda: _lexical(inputs))
    else:
        x = {name: unit(np.asarray(rows, np.float32).reshape(len(rows), -1)) for name, rows in inputs.items()}
    y = {name: np.asarray(split["label"][:], np.int64) for name, split in splits.items()}
    return Features(task.name, task.labels, kind, x["train"], y["train"], x["validation"], y["validation"], x["test"],
                    y["test"])


def embed(texts: Sequence[str], use_cache: bool = True) -> np.ndarray:
    """(n, 384) float32: the frozen MiniLM's mean token vectors, of length 1.

    Args:
        use_cache: write them to the disk, from where a second call with the same texts maps them; else compute them
            here, for texts that come once and whose cost is counted.
    """
    if not use_cache:
        return _minilm(texts)
    digest = hashlib.sha256("\0".join(texts).encode("utf-8", "replace")).hexdigest()[:24]
    return _cached_arrays(f"minilm-{digest}-{_VERSION}", lambda: {"rows": _minilm(texts)})["rows"]


def readable(texts: Sequence[str], encoder: TextEncoder | None = None) -> np.ndarray:
    """(n,) bool, the texts of which at most a fifth of the tokens is unknown to the encoder (MiniLM's by default).

    >>> from helpers.data_efficiency.vectors import readable
    >>> readable(["where is my order", "\u9000\u6b3e\u5f88\u6162"]).tolist()
    [True, False]
    """
    encoder = encoder or TextEncoder.of_checkpoint(find_weights(MINILM))
    if not encoder.coverage(texts).unknown:
        return np.ones(len(texts), bool)
    return np.array([encoder.coverage([text]).unknown <= MAX_UNKNOWN for text in texts], bool)


def unit(rows: np.ndarray) -> np.ndarray:
    """(n, d) float32 rows of length 1; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-12)).astype(np.float32)


def _cached_arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays in the cache entry `name`, a folder with a file for each; read back, they are memory-mapped."""
    def read(folder: Path) -> dict[str, np.ndarray]:
        return {path.stem: np.load(path, mmap_mode="r") for path in folder.iterdir()}

    def write(arrays: dict[str, np.ndarray], folder: Path) -> None:
        folder.mkdir()
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array)

    return cached(cache("embeddings", name), make, read=read, write=write)


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
    from helpers.lab.training.heads import pretrained

    network, encoder = pretrained(MINILM)
    return encoder, network


def _minilm(texts: Sequence[str]) -> np.ndarray:
    from helpers.lab.training.heads import embed_rows

    encoder, network = _encoder()
    return unit(embed_rows(network, encoder.encode(texts)))
