"""A text classifier that only looks token vectors up: their mean, one small layer, the logits. Pure numpy."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, saving

WEIGHTS = ("vectors", "hidden_weight", "hidden_bias", "out_weight", "out_bias")


class StaticModel:
    """logits = out @ relu(hidden @ mean(vectors of the tokens) + hidden_bias) + out_bias.

    Args:
        weights: `vectors` (vocabulary, d), kept in 16 bits and computed in 32; `hidden_weight` (h, d),
            `hidden_bias` (h,), `out_weight` (classes, h), `out_bias` (classes,) float32.
        encoder: its ids are rows of `vectors`. A text without a token has the zero vector as its mean.

    Raises:
        InputError: an array is missing, or their shapes do not fit each other.
    """

    runtime = "numpy"

    def __init__(self, card: Card, encoder: TextEncoder, weights: dict[str, np.ndarray]) -> None:
        _require_fit(weights, card.classes)
        self.card = card
        self.encoder = encoder
        self._vectors = weights["vectors"].astype(np.float16)
        self._table = self._vectors.astype(np.float32)
        self._layers = {name: np.ascontiguousarray(weights[name], np.float32) for name in WEIGHTS[1:]}

    def predict(self, inputs: Sequence[str]) -> np.ndarray:
        """(n, classes) float32 logits of n texts."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        means = self.embed(self.encoder.encode(inputs))
        hidden = np.maximum(means @ self._layers["hidden_weight"].T + self._layers["hidden_bias"], 0)
        return hidden @ self._layers["out_weight"].T + self._layers["out_bias"]

    def embed(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """(n, d) float32 means of the token vectors of n rows of ids."""
        lengths = np.array([len(row) for row in rows])
        sums = np.zeros((len(rows), self._table.shape[1]), np.float32)
        if filled := lengths.nonzero()[0].tolist():
            ids = np.fromiter(itertools.chain.from_iterable(rows), np.int64, int(lengths.sum()))
            starts = np.concatenate([[0], np.cumsum(lengths[filled])[:-1]])
            sums[filled] = np.add.reduceat(self._table[ids], starts, axis=0)
        return sums / np.maximum(lengths, 1)[:, None].astype(np.float32)

    def save(self, path: Path) -> None:
        """Write card, tokenizer and arrays into the folder `path`."""
        with saving(path, self.runtime, self.card, max_tokens=self.encoder.max_tokens) as folder:
            self.encoder.save(folder / "tokenizer.json")
            np.savez(folder / "weights.npz", **self.arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as they are saved: vectors in 16 bits, all else in 32."""
        return {"vectors": self._vectors, **self._layers}

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int) -> Self:
        """Read what `save` wrote."""
        with np.load(path / "weights.npz") as stored:
            weights = {name: stored[name] for name in WEIGHTS}
        return cls(card, TextEncoder.load(path / "tokenizer.json", max_tokens), weights)


def _require_fit(weights: dict[str, np.ndarray], classes: int) -> None:
    if missing := [name for name in WEIGHTS if name not in weights]:
        raise InputError(f"A static model needs the array '{missing[0]}'.")
    width, hidden = weights["vectors"].shape[1], len(weights["hidden_bias"])
    expected = {"hidden_weight": (hidden, width), "out_weight": (classes, hidden), "out_bias": (classes,)}
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise InputError(f"The static model's array '{name}' has shape {weights[name].shape}, not {shape}.")
