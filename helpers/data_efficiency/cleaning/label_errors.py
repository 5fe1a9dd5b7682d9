"""Labels that are probably wrong, by confident learning; wrong ones put in on purpose, and what reviewing is worth."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit, out_of_fold
from helpers.data_efficiency.options import NOISES, USD_PER_LABEL
from helpers.data_efficiency.runs import require_seeds
from helpers.data_efficiency.vectors import Features, features
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval

COLUMNS = ["row", "given", "suggested", "doubt"]


def find_label_errors(task: Task, split: str = "train", kind: str = "minilm") -> pd.DataFrame:
    """Rows whose label is probably wrong, most doubtful first.

    Args:
        task: a text or image task.
        split: "train"; or "validation" or "test", whose rows are judged by a model of the training rows. Flags on
            the test are to be shown, never applied: it is frozen.
        kind: of the features (see `features`); "minilm" for texts, "pixels" for images.

    Returns:
        Columns row (number in the split), line (of the user's file; only where the task comes from one), given and
        suggested (label names), doubt (0 to 1: how much less probable the given label is than the suggested one).

    Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) as cleanlab implements it: labels are counted as wrong
    where another class is more probable than that class is on average among its own rows; of each class and of each
    pair of classes as many rows are flagged, and only those that both rules name (the paper's C+NR). Of the five
    rules it had the best F1 on injected noise of other seeds than those that are reported.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"Unknown split '{split}'. Choose one of: train, validation, test.")
    data = features(task, "pixels" if task.input == "image" else kind)
    if split == "train":
        flags = flags_from(out_of_fold(data.train, data.train_y, len(data.labels)), data.train_y, data.labels)
    else:
        x, y = getattr(data, split), getattr(data, f"{split}_y")
        flags = flags_from(fit(data.train, data.train_y, len(data.labels)).probabilities(x), y, data.labels)
    if (lines := task.lines(split, flags["row"].tolist())) is not None:
        flags.insert(1, "line", np.array(lines, np.int64))
    return flags


def flags_from(probabilities: np.ndarray, y: np.ndarray, labels: Sequence[str]) -> pd.DataFrame:
    """As `find_label_errors`, from (n, classes) probabilities of a model that has not seen the rows."""
    from cleanlab.filter import find_label_issues

    present = np.unique(y)  # cleanlab wants each of its classes to occur
    within = probabilities[:, present] / probabilities[:, present].sum(1, keepdims=True)
    wrong = find_label_issues(np.searchsorted(present, y), within, filter_by="both", n_jobs=1)
    best = probabilities.argmax(1)
    every = np.arange(len(y))
    doubt = probabilities[every, best] - probabilities[every, y]
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-doubt[rows], kind="stable")]
    return pd.DataFrame({"row": rows, "given": [labels[i] for i in y[rows]],
                         "suggested": [labels[i] for i in best[rows]], "doubt": doubt[rows]}, columns=COLUMNS)


def flag_quality(flagged: pd.DataFrame, corrupted: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of flags, given which rows were corrupted on purpose ((n,) bool).

    A flag on an untouched row counts as wrong even if its label was wrong from the start: precision is a lower bound.
    """
    hit = float(corrupted[flagged["row"].to_numpy(int)].sum())
    precision = hit / len(flagged) if len(flagged) else 0.0
    recall = hit / corrupted.sum() if corrupted.any() else 0.0
    return {"flagged": float(len(flagged)), "precision": precision, "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if hit else 0.0}


def inject_noise(data: Features, rate: float, kind: Literal["uniform", "confusable"] = "uniform",
                 seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Replace the labels of a share of the training rows.

    Args:
        rate: share of the rows, 0 to 0.9; exactly round(rate * n) of them get another label.
        kind: "uniform", any other label with equal chance; "confusable", the label of the class whose mean
            vector is nearest, which is how tired people err.

    Returns:
        ((n,) int64 labels, (n,) bool which of them were replaced).

    Raises:
        InputError: rate or kind is none of these.
    """
    if not 0 <= rate <= 0.9:
        raise InputError(f"A noise rate is a share from 0 to 0.9, not {rate}.")
    if kind not in NOISES:
        raise InputError(f"Unknown noise '{kind}'. Choose one of: {', '.join(NOISES)}.")
    rng = np.random.default_rng(seed)
    y, classes = data.train_y, len(data.labels)
    rows = rng.choice(len(y), round(rate * len(y)), replace=False)
    labels = y.copy()
    if kind == "uniform":
        labels[rows] = (y[rows] + rng.integers(1, classes, len(rows))) % classes
    else:
        labels[rows] = nearest_class(data.train, y, classes)[y[rows]]
    corrupted = np.zeros(len(y), bool)
    corrupted[rows] = True
    return labels, corrupted


def nearest_class(x: np.ndarray, y: np.ndarray, classes: int) -> np.ndarray:
    """(classes,) int: for each class the other one with the most similar mean vector."""
    sums = np.zeros((classes, x.shape[1]))
    np.add.at(sums, y, x)
    means = sums / np.maximum(np.bincount(y, minlength=classes), 1)[:, None]
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    alike = means @ means.T
    np.fill_diagonal(alike, -np.inf)
    return alike.argmax(1)


def review_curve(data: Features, rate: float = 0.1, kind: str = "uniform", seed: int = 0, steps: int = 5,
                 usd_per_review: float = USD_PER_LABEL) -> pd.DataFrame:
    """Accuracy on the test after so many reviews, in order of doubt, in random order, and by dropping the flags.

    Args:
        steps: points of the curve; the last one reviews as many rows as were corrupted.

    Returns:
        Columns order ("doubt", "random", "drop"), reviewed, usd, accuracy, regained (share of what the noise cost;
        NaN where it cost nothing), and the columns of `flag_quality`.

    A review puts the true label back, as a careful person would. The flags come first, then the other rows by doubt.
    """
    noisy, corrupted = inject_noise(data, rate, kind, seed)
    classes = len(data.labels)
    probabilities = out_of_fold(data.train, noisy, classes, seed=seed)
    flags = flags_from(probabilities, noisy, data.labels)
    every = np.arange(len(noisy))
    doubt = probabilities.max(1) - probabilities[every, noisy]
    flagged = np.isin(every, flags["row"])
    orders = {"doubt": np.lexsort((-doubt, ~flagged)),
              "random": np.random.default_rng(seed).permutation(len(every))}
    clean = fit(data.train, data.train_y, classes).accuracy(data.test, data.test_y)
    dirty = fit(data.train, noisy, classes).accuracy(data.test, data.test_y)
    quality, budget, rows = flag_quality(flags, corrupted), int(corrupted.sum()), []

    def add(order: str, reviewed: int, accuracy: float) -> None:
        regained = (accuracy - dirty) / (clean - dirty) if clean > dirty else np.nan
        rows.append({"order": order, "reviewed": reviewed, "usd": reviewed * usd_per_review, "accuracy": accuracy,
                     "regained": regained, "clean": clean, "dirty": dirty, "seed": seed, **quality})

    for order, sequence in orders.items():
        for reviewed in np.unique(np.linspace(0, budget, steps + 1).astype(int)):
            labels = noisy.copy()
            labels[sequence[:reviewed]] = data.train_y[sequence[:reviewed]]
            add(order, int(reviewed), fit(data.train, labels, classes).accuracy(data.test, data.test_y))
    add("drop", 0, fit(data.train[~flagged], noisy[~flagged], classes).accuracy(data.test, data.test_y))
    return pd.DataFrame(rows)


def review_worth(curves: pd.DataFrame) -> pd.DataFrame:
    """What reviewing regained, over seeds: one row for each order and number of reviews.

    Args:
        curves: results of `review_curve` for at least two seeds, one under the other.

    Returns:
        Columns order, reviewed, usd, accuracy, low, high (95 %), points_per_usd (points of accuracy regained for a
        dollar, against the labels as they were).

    Raises:
        InputError: one seed only.
    """
    require_seeds(curves)
    rows = []
    for (order, reviewed), group in curves.groupby(["order", "reviewed"], sort=False):
        accuracy, low, high = mean_interval(group["accuracy"])
        usd = float(group["usd"].iloc[0])
        gained = 100 * float((group["accuracy"] - group["dirty"]).mean())
        rows.append({"order": order, "reviewed": reviewed, "usd": usd, "accuracy": accuracy, "low": low, "high": high,
                     "points_per_usd": gained / usd if usd else np.nan})
    return pd.DataFrame(rows)
