"""Vectors with labels that tests make in no time."""

import numpy as np

from helpers.data_efficiency import Features


def blobs(classes: int = 4, rows: int = 60, width: int = 12, spread: float = 0.25, seed: int = 0) -> Features:
    """Well separated clouds of unit vectors, one a class, with a train, a validation and a test part."""
    rng = np.random.default_rng(seed)
    centres = np.eye(width)[:classes]

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat(np.arange(classes), count)
        x = centres[y] + spread * rng.standard_normal((len(y), width)) / np.sqrt(width)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), y

    return Features("blobs", tuple("abcdefghij"[:classes]), "minilm", *split(rows), *split(10), *split(40))
