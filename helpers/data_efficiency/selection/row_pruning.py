"""Which labelled rows to keep: scores from how a model learns them, and the share that is enough."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from helpers.data_efficiency.linear import fit, one_hot
from helpers.data_efficiency.options import SEEDS
from helpers.data_efficiency.runs import Watch
from helpers.data_efficiency.vectors import Features
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent

RATE, BATCH = 20.0, 32  # of the gradient descent whose course is watched; rows have length 1
KEEP_RATES = (0.1, 0.3, 0.5, 0.7, 0.9)
EARLY_RUNS, EARLY_EPOCHS = 5, 3  # of EL2N: the error is looked at early, and as a mean of runs
WATCHED_EPOCHS = 15  # in which forgetting is counted


def el2n(x: np.ndarray, y: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """(n,) length of the error early in training, mean of several runs; hard rows are high (Paul et al., 2021)."""
    scores = np.zeros(len(x))
    for run in range(EARLY_RUNS):
        for weights, _ in _course(x, y, classes, EARLY_EPOCHS, seed * EARLY_RUNS + run):
            last = weights
        scores += np.linalg.norm(softmax(x @ last[:-1] + last[-1], axis=1) - one_hot(y, classes), axis=1)
    return scores / EARLY_RUNS


def forgetting(x: np.ndarray, y: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """(n,) how often a row was right at one visit and wrong at the next; never right counts most (Toneva et al.,
    ICLR 2019)."""
    right_before, ever = np.zeros(len(x), bool), np.zeros(len(x), bool)
    events = np.zeros(len(x))
    for _, right in _course(x, y, classes, WATCHED_EPOCHS, seed):
        events += right_before & ~right
        right_before, ever = right, ever | right
    return np.where(ever, events, WATCHED_EPOCHS)


def prototypes(x: np.ndarray, y: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """(n,) distance to the nearest centre of as many clusters as classes; far rows are hard (Sorscher et al., 2022).

    Needs no labels: `y` is not looked at.
    """
    from sklearn.cluster import KMeans

    centres = KMeans(min(classes, len(x)), n_init=3, random_state=seed).fit(x).cluster_centers_
    squares = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    return np.sqrt(np.maximum(squares, 0)).min(1)


def random_scores(x: np.ndarray, y: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """(n,) random scores: what the others must beat."""
    return np.random.default_rng(seed).random(len(x))


SCORES: dict[str, Callable[..., np.ndarray]] = {
    "random": random_scores, "EL2N": el2n, "forgetting": forgetting, "prototypes": prototypes}


def prune_study(data: Features, keep_rates: Sequence[float] = KEEP_RATES, methods: Sequence[str] = tuple(SCORES),
                seeds: int = SEEDS, progress: Progress = silent) -> pd.DataFrame:
    """Accuracy with the hardest and with the easiest rows of each score, random always beside them.

    Returns:
        Columns method ("random", "EL2N, hard", "EL2N, easy", ...), keep, seed, accuracy (on test rows), validation (on
        validation rows), cpu_s (of the scores). The easiest rows are better where few are kept (Sorscher et al.).

    Raises:
        InputError: unknown method, or a share that is none.
    """
    if unknown := set(methods) - set(SCORES):
        raise InputError(f"Unknown score '{unknown.pop()}'. Choose one of: {', '.join(SCORES)}.")
    if not all(0 < keep <= 1 for keep in keep_rates):
        raise InputError(f"The share to keep is above 0 and up to 1, not {min(keep_rates)} to {max(keep_rates)}.")
    x, classes, rows = np.asarray(data.train), len(data.labels), []
    arms = list(itertools.product(dict.fromkeys(["random", *methods]), range(seeds)))
    for number, (name, seed) in enumerate(arms):
        progress(number / len(arms), f"{name}, seed {seed + 1} of {seeds}")
        watch = Watch()
        with watch.running():
            scores = SCORES[name](x, data.train_y, classes, seed)
        for side in ("random",) if name == "random" else ("hard", "easy"):
            order = np.argsort(scores if side == "easy" else -scores, kind="stable")
            for keep in keep_rates:
                part = np.sort(order[:max(1, round(keep * len(order)))])
                model = fit(x[part], data.train_y[part], classes)
                rows.append({"method": name if name == side else f"{name}, {side}", "keep": keep, "seed": seed,
                             "accuracy": model.accuracy(data.test, data.test_y),
                             "validation": model.accuracy(data.validation, data.validation_y),
                             "cpu_s": watch.seconds})
    progress(1.0, "done")
    return pd.DataFrame(rows)


def _course(x: np.ndarray, y: np.ndarray, classes: int, epochs: int, seed: int):
    """Stochastic gradient descent on the softmax regression: after each epoch (weights, (n,) right when visited)."""
    rng = np.random.default_rng(seed)
    weights, targets = np.zeros((x.shape[1] + 1, classes)), one_hot(y, classes)
    for _ in range(epochs):
        right, order = np.zeros(len(x), bool), rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            part = order[start:start + BATCH]
            probabilities = softmax(x[part] @ weights[:-1] + weights[-1], axis=1)
            right[part] = probabilities.argmax(1) == y[part]
            error = (probabilities - targets[part]) / len(part)
            weights[:-1] -= RATE * x[part].T @ error
            weights[-1] -= RATE * error.sum(0)
        yield weights, right
