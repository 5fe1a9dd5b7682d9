"""Wrong labels put in on purpose, so that what finds them can be scored."""

import dataclasses
from typing import Literal

import numpy as np

from helpers.data_efficiency.vectors import Features
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError

KINDS = ("uniform", "confusable")


@dataclasses.dataclass(frozen=True)
class Noise:
    """Labels of the training rows with some replaced: `labels` (n,) int64, `corrupted` (n,) bool."""

    labels: np.ndarray
    corrupted: np.ndarray
    kind: str
    rate: float


def inject_noise(features: Features, rate: float, kind: Literal["uniform", "confusable"] = "uniform",
                 seed: int = 0) -> Noise:
    """Replace the labels of a share of the training rows.

    Args:
        rate: share of the rows, 0 to 0.9; exactly round(rate * n) of them get another label.
        kind: "uniform", any other label with equal chance; "confusable", the label of the class whose mean
            vector is nearest, which is how tired people err.

    Raises:
        InputError: rate or kind is none of these.
    """
    if not 0 <= rate <= 0.9:
        raise InputError(f"A noise rate is a share from 0 to 0.9, not {rate}.")
    if kind not in KINDS:
        raise InputError(f"There is no noise '{kind}'. Known: {', '.join(KINDS)}.")
    rng = np.random.default_rng(seed)
    y, classes = features.train_y, len(features.labels)
    rows = rng.choice(len(y), round(rate * len(y)), replace=False)
    labels = y.copy()
    if kind == "uniform":
        labels[rows] = (y[rows] + rng.integers(1, classes, len(rows))) % classes
    else:
        labels[rows] = nearest_class(features.train, y, classes)[y[rows]]
    corrupted = np.zeros(len(y), bool)
    corrupted[rows] = True
    return Noise(labels, corrupted, kind, rate)


def nearest_class(x: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) int: for each class the other one with the most similar mean vector."""
    sums = np.zeros((classes, x.shape[1]))
    np.add.at(sums, y, x)
    means = sums / np.maximum(np.bincount(y, minlength=classes), 1)[:, None]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    alike = means @ means.T
    np.fill_diagonal(alike, -np.inf)
    return alike.argmax(1)


def with_labels(task: Task, labels: np.ndarray) -> Task:
    """The task with other labels on its training rows; validation and test stay as they are."""
    if len(labels) != len(task.train):
        raise InputError(f"{len(labels)} labels do not fit {len(task.train)} training rows.")
    feature = task.train.features["label"]
    train = task.train.remove_columns("label").add_column("label", [int(label) for label in labels], feature=feature)
    return dataclasses.replace(task, train=train)
