"""Labels that are probably wrong, by confident learning, and what reviewing them is worth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.cleaning.noise import inject_noise
from helpers.data_efficiency.linear import fit, out_of_fold
from helpers.data_efficiency.selection.labelling_cost import USD_A_LABEL, interval
from helpers.data_efficiency.vectors import Features, features
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError

COLUMNS = ["row", "given", "suggested", "doubt"]


def find_label_errors(task: Task, split: str = "train", kind: str = "minilm", folds: int = 5,
                      seed: int = 0) -> pd.DataFrame:
    """Rows whose label is probably wrong, most doubtful first.

    Args:
        task: a text or image task.
        split: "train"; or "validation" or "test", whose rows are judged by a model of the training rows. Flags on
            the test are to be shown, never applied: it is frozen.
        kind: of the features (see `features`); "minilm" for texts, "pixels" for images.

    Returns:
        Columns row (number in the split), given and suggested (label names), doubt (0 to 1: how much less
        probable the given label is than the suggested one).

    Confident learning (Northcutt, Jiang and Chuang, JAIR 2021) as cleanlab implements it: labels are counted as wrong
    where another class is more probable than that class is on average among its own rows; of each class and of each
    pair of classes as many rows are flagged, and only those that both rules name (the paper's C+NR). Of the five
    rules it had the best F1 on injected noise of other seeds than those that are reported.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"There is no split '{split}'. Known: train, validation, test.")
    found = features(task, "pixels" if task.input == "image" else kind)
    if split == "train":
        return flags(found.train, found.train_y, found.labels, folds, seed)
    x, y = getattr(found, split), getattr(found, f"{split}_y")
    model = fit(found.train, found.train_y, len(found.labels))
    return flags_from(model.probabilities(x), y, found.labels)


def flags(x: np.ndarray, y: np.ndarray, labels: Sequence[str], folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """As `find_label_errors`, of (n, d) vectors and (n,) labels: predictions are out of fold."""
    return flags_from(out_of_fold(x, y, len(labels), folds, seed), y, labels)


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


def flag_quality(found: pd.DataFrame, corrupted: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of flags, given which rows were corrupted on purpose ((n,) bool).

    A flag on an untouched row counts as wrong even if its label was wrong from the start: precision is a lower bound.
    """
    hit = float(corrupted[found["row"].to_numpy(int)].sum())
    precision = hit / len(found) if len(found) else 0.0
    recall = hit / corrupted.sum() if corrupted.any() else 0.0
    return {"flagged": float(len(found)), "precision": precision, "recall": recall,
            "f1": 2 * precision * recall / (precision + recall) if hit else 0.0}


def review_curve(data: Features, rate: float = 0.1, kind: str = "uniform", seed: int = 0, steps: int = 5,
                 usd_a_review: float = USD_A_LABEL) -> pd.DataFrame:
    """Accuracy on the test after so many reviews, in order of doubt, in random order, and by dropping the flags.

    Args:
        steps: points of the curve; the last one reviews as many rows as were corrupted.

    Returns:
        Columns order ("doubt", "random", "drop"), reviewed, usd, accuracy, regained (share of what the noise cost;
        NaN where it cost nothing), and the columns of `flag_quality`.

    A review puts the true label back, as a careful person would. The flags come first, then the other rows by doubt.
    """
    noise = inject_noise(data, rate, kind, seed)
    classes = len(data.labels)
    probabilities = out_of_fold(data.train, noise.labels, classes, seed=seed)
    found = flags_from(probabilities, noise.labels, data.labels)
    every = np.arange(len(noise.labels))
    doubt = probabilities.max(1) - probabilities[every, noise.labels]
    flagged = np.isin(every, found["row"])
    orders = {"doubt": np.lexsort((-doubt, ~flagged)),
              "random": np.random.default_rng(seed).permutation(len(every))}
    clean = fit(data.train, data.train_y, classes).accuracy(data.test, data.test_y)
    dirty = fit(data.train, noise.labels, classes).accuracy(data.test, data.test_y)
    quality, budget, rows = flag_quality(found, noise.corrupted), int(noise.corrupted.sum()), []

    def add(order: str, reviewed: int, accuracy: float) -> None:
        regained = (accuracy - dirty) / (clean - dirty) if clean > dirty else np.nan
        rows.append({"order": order, "reviewed": reviewed, "usd": reviewed * usd_a_review, "accuracy": accuracy,
                     "regained": regained, "clean": clean, "dirty": dirty, "seed": seed, **quality})

    for order, sequence in orders.items():
        for reviewed in np.unique(np.linspace(0, budget, steps + 1).astype(int)):
            labels = noise.labels.copy()
            labels[sequence[:reviewed]] = data.train_y[sequence[:reviewed]]
            add(order, int(reviewed), fit(data.train, labels, classes).accuracy(data.test, data.test_y))
    add("drop", 0, fit(data.train[~flagged], noise.labels[~flagged], classes).accuracy(data.test, data.test_y))
    return pd.DataFrame(rows)


def review_worth(curves: pd.DataFrame) -> pd.DataFrame:
    """What reviewing regained, over seeds: one row for each order and number of reviews.

    Args:
        curves: results of `review_curve` for at least two seeds, one under the other.

    Returns:
        Columns order, reviewed, usd, accuracy, low, high (95 %), points_a_usd (points of accuracy regained for a
        dollar, against the labels as they were).
    """
    rows = []
    for (order, reviewed), group in curves.groupby(["order", "reviewed"], sort=False):
        accuracy, low, high = interval(group["accuracy"])
        usd = float(group["usd"].iloc[0])
        gained = 100 * float((group["accuracy"] - group["dirty"]).mean())
        rows.append({"order": order, "reviewed": reviewed, "usd": usd, "accuracy": accuracy, "low": low, "high": high,
                     "points_a_usd": gained / usd if usd else np.nan})
    return pd.DataFrame(rows)
