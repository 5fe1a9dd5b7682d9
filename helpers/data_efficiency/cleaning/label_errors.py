"""Labels that are probably wrong, by confident learning; wrong ones put in on purpose, and what reviewing is worth."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit, out_of_fold
from helpers.data_efficiency.options import NOISES, REVIEWER_ERROR, USD_PER_LABEL
from helpers.data_efficiency.runs import require_seeds
from helpers.data_efficiency.vectors import Features, features
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval, ratio_of_means

COLUMNS = ["row", "given", "suggested", "doubt"]
# Rows reviewed, as shares of all: nobody knows how many labels are wrong, so budgets go from too little to too much.
REVIEWED = (0.0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3)


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
    pair of classes as many rows are flagged, and only rows that both rules name (the paper's C+NR). Of the five
    rules it had the best F1 on injected noise of other seeds than the reported ones.
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


def review_curve(data: Features, rate: float = 0.1, kind: Literal["uniform", "confusable"] = "confusable",
                 seed: int = 0, *, reviews: Sequence[int] | None = None, reviewer_error: float = REVIEWER_ERROR,
                 usd_per_review: float = USD_PER_LABEL) -> pd.DataFrame:
    """Accuracy on the test after so many reviews, in order of doubt, in random order, and by dropping the flags.

    Args:
        rate, kind, seed: of the wrong labels; see `inject_noise`.
        reviews: numbers of rows to review; by default 0 to 30% of all (REVIEWED).
        reviewer_error: share of looks after which the label is that of the class most easily confused with the right
            one, whatever it was before; a row has the same luck in every order.

    Returns:
        Columns order ("doubt", "random", "drop"), reviewed, usd, accuracy, clean and dirty (accuracy with all labels
        right, and with the wrong ones), seed, and those of `flag_quality`.

    Any other look puts the true label back. The flags come first, then the other rows by doubt.

    Raises:
        InputError: a share outside 0 to 1, or more reviews than rows.
    """
    if not 0 <= reviewer_error <= 1:
        raise InputError(f"A reviewer's error is a share from 0 to 1, not {reviewer_error}.")
    rows_there = len(data.train_y)
    numbers = sorted({round(share * rows_there) for share in REVIEWED} if reviews is None else {0, *reviews})
    if numbers[0] < 0 or numbers[-1] > rows_there:
        raise InputError(f"{data.task} has {rows_there} training rows: 0 to so many can be reviewed.")
    noisy, corrupted = inject_noise(data, rate, kind, seed)
    classes, every = len(data.labels), np.arange(rows_there)
    errs = np.random.default_rng([seed, 1]).random(rows_there) < reviewer_error
    answers = np.where(errs, nearest_class(data.train, data.train_y, classes)[data.train_y], data.train_y)
    probabilities = out_of_fold(data.train, noisy, classes, seed=seed)
    flags = flags_from(probabilities, noisy, data.labels)
    doubt = probabilities.max(1) - probabilities[every, noisy]
    flagged = np.isin(every, flags["row"])
    orders = {"doubt": np.lexsort((-doubt, ~flagged)),
              "random": np.random.default_rng(seed).permutation(rows_there)}
    clean = fit(data.train, data.train_y, classes).accuracy(data.test, data.test_y)
    dirty = fit(data.train, noisy, classes).accuracy(data.test, data.test_y)
    quality, rows = flag_quality(flags, corrupted), []

    def add(order: str, reviewed: int, accuracy: float) -> None:
        rows.append({"order": order, "reviewed": reviewed, "usd": reviewed * usd_per_review, "accuracy": accuracy,
                     "clean": clean, "dirty": dirty, "seed": seed, **quality})

    for order, sequence in orders.items():
        for reviewed in numbers:
            labels, seen = noisy.copy(), sequence[:reviewed]
            labels[seen] = answers[seen]
            add(order, reviewed, fit(data.train, labels, classes).accuracy(data.test, data.test_y) if reviewed
                else dirty)
    add("drop", 0, fit(data.train[~flagged], noisy[~flagged], classes).accuracy(data.test, data.test_y))
    return pd.DataFrame(rows)


def review_worth(curves: pd.DataFrame) -> pd.DataFrame:
    """Summarize what reviewing regained, over seeds: one row for each order and number of reviews.

    Args:
        curves: results of `review_curve` for at least two seeds, one under the other.

    Returns:
        Columns order, reviewed, usd, accuracy, low, high (95%), lost, lost_low, lost_high (what wrong labels cost),
        regained, regained_low, regained_high (share of that loss that came back, by Fieller's interval over seeds;
        all NaN where the loss is not distinguishable from none), points_per_usd (points of accuracy regained for a
        dollar, against the labels as they were), clean and dirty (means).

    Raises:
        InputError: one seed only.
    """
    require_seeds(curves)
    rows = []
    for (order, reviewed), group in curves.groupby(["order", "reviewed"], sort=False):
        accuracy, low, high = mean_interval(group["accuracy"])
        lost, lost_low, lost_high = mean_interval(group["clean"] - group["dirty"])
        share = (ratio_of_means(group["accuracy"] - group["dirty"], group["clean"] - group["dirty"])
                 if lost_low > 0 else (np.nan,) * 3)
        usd, gained = float(group["usd"].iloc[0]), 100 * float((group["accuracy"] - group["dirty"]).mean())
        rows.append({"order": order, "reviewed": reviewed, "usd": usd, "accuracy": accuracy, "low": low, "high": high,
                     "lost": lost, "lost_low": lost_low, "lost_high": lost_high,
                     **dict(zip(("regained", "regained_low", "regained_high"), share, strict=True)),
                     "points_per_usd": gained / usd if usd else np.nan,
                     "clean": group["clean"].mean(), "dirty": group["dirty"].mean()})
    return pd.DataFrame(rows)
