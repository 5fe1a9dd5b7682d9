"""Two stages: a cheap model answers what it is sure of, a better one the rest."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax

from helpers.lab.models.model import Card, Model, load, save_card
from helpers.lab.paths import write_atomically


class CascadeModel:
    """`first` answers the rows whose largest probability is at least `threshold`; `second` the others.

    Predicts log-probabilities, so that both stages' answers have one scale.
    """

    runtime = "cascade"

    def __init__(self, card: Card, first: Model, second: Model, threshold: float) -> None:
        self.card = card
        self.first, self.second, self.threshold = first, second, threshold

    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 log-probabilities of n raw inputs."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        logits = self.first.predict(inputs)
        answers = log_softmax(logits, axis=1)
        unsure = np.flatnonzero(confidence(logits) < self.threshold)
        if len(unsure):
            answers[unsure] = log_softmax(self.second.predict([inputs[row] for row in unsure]), axis=1)
        return answers

    def save(self, path: Path) -> None:
        """Write the card and both stages into the folder `path`."""
        path = save_card(path, self.runtime, self.card)
        self.first.save(path / "first")
        self.second.save(path / "second")
        write_atomically(path / "threshold.json", json.dumps(self.threshold))

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None) -> Self:
        """Read what `save` wrote."""
        threshold = json.loads((path / "threshold.json").read_text(encoding="utf-8"))
        return cls(card, load(path / "first"), load(path / "second"), threshold)


def confidence(logits: np.ndarray) -> np.ndarray:
    """(n,) largest softmax probability of each row of (n, classes) logits."""
    return np.exp(log_softmax(logits, axis=1).max(axis=1))
