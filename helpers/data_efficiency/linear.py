"""The model that these experiments train again and again: softmax regression on fixed vectors, in milliseconds."""

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from helpers.lab.errors import InputError

TOLERANCE = 5e-4  # largest entry of the gradient of the mean loss: probabilities are right to about a hundredth
C = 10.0  # as for the head of the baseline
PENALTY = 1.0  # of the ridge regression
SHARPNESS = 8.0  # its scores lie between 0 and 1; times this they make probabilities


@dataclasses.dataclass(frozen=True)
class Linear:
    """A fitted softmax regression: `weights` (d + 1, classes) float64, the last row is the bias."""

    weights: np.ndarray

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(n, classes) float64 logits."""
        return x @ self.weights[:-1] + self.weights[-1]

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, classes) float64, each row sums to 1."""
        return softmax(self.scores(x), axis=1)

    def correct(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n,) bool, whether the most probable class is the label."""
        return self.scores(x).argmax(1) == y

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """Share of rows that are answered correctly."""
        return float(self.correct(x, y).mean())


def one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes) float64 with a single 1 a row."""
    return np.eye(classes)[np.asarray(y, np.int64)]


def fit(x: np.ndarray, y: np.ndarray, classes: int, *, c: float = C) -> Linear:
    """Minimise c * sum(cross-entropy) + |weights|^2 / 2, the bias unpenalised: scikit-learn's LogisticRegression.

    Args:
        x: (n, d) float.
        y: (n,) int labels, or (n, classes) targets that sum to 1 (mixed labels).
        c: how much the data weighs against the penalty.

    A class without a row is allowed: it gets a low probability everywhere.

    Raises:
        InputError: no rows, or labels outside 0 to classes - 1.

    >>> import numpy as np
    >>> from helpers.data_efficiency import fit
    >>> fit(np.eye(3, dtype=np.float32), [0, 1, 1], classes=2).accuracy(np.eye(3), [0, 1, 1])
    1.0
    """
    y = np.asarray(y)
    if not len(x) or len(x) != len(y):
        raise InputError(f"A classifier needs as many labels as rows, and at least one; got {len(x)} rows and "
                         f"{len(y)} labels.")
    if y.ndim == 1 and (y.min() < 0 or y.max() >= classes):
        raise InputError(f"Labels must be 0 to {classes - 1}; got {y.min()} to {y.max()}.")
    rows = np.asarray(x, np.float32)  # twice as fast as float64; the optimum moves by less than the tolerance
    targets = one_hot(y, classes) if y.ndim == 1 else np.asarray(y, np.float64)
    shape = (x.shape[1] + 1, classes)
    scale = 1.0 / (c * len(x))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        logarithms = log_softmax((rows @ weights[:-1].astype(np.float32)).astype(np.float64) + weights[-1], axis=1)
        error = (np.exp(logarithms) * targets.sum(1, keepdims=True) - targets) / len(rows)
        gradient = np.vstack([rows.T @ error.astype(np.float32) + scale * weights[:-1], error.sum(0)])
        value = -(targets * logarithms).sum() / len(rows) + scale / 2 * (weights[:-1] ** 2).sum()
        return value, gradient.ravel()

    optimum = minimize(loss, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B",
                       options={"maxiter": 300, "gtol": TOLERANCE})
    return Linear(optimum.x.reshape(shape))


def out_of_fold(x: np.ndarray, y: np.ndarray, classes: int, folds: int = 5, seed: int = 0) -> np.ndarray:
    """(n, classes) probabilities, each row's from a model that has not seen it.

    Folds are drawn class by class, so that each has its share of every label.
    """
    if not 2 <= folds <= len(x):
        raise InputError(f"{len(x)} rows cannot be cut into {folds} folds; use 2 to {len(x)}.")
    fold = fold_of(y, folds, seed)
    probabilities = np.empty((len(x), classes))
    for number in range(folds):
        held = fold == number
        if held.any():
            probabilities[held] = fit(x[~held], y[~held], classes).probabilities(x[held])
    return probabilities


def ridge_out_of_fold(vectors: np.ndarray, rows: np.ndarray, y: np.ndarray, classes: int, *, folds: int,
                      chunk: int) -> np.ndarray:
    """(len(rows), classes) float32 probabilities, each row's from a ridge regression that has not seen it.

    Args:
        vectors: (n, d), which may lie on the disk: `chunk` rows are read at a time.
        rows: (m,) int, the rows of `vectors` that have labels; y: (m,) int, these.

    The normal equations of one-hot labels add up over chunks, and a fold is left out by subtracting its share: two
    passes whatever the number of folds.
    """
    fold, width = fold_of(y, folds, 0), vectors.shape[1] + 1
    grams, products = np.zeros((folds, width, width)), np.zeros((folds, width, classes))
    parts = [slice(start, start + chunk) for start in range(0, len(rows), chunk)]
    for part in parts:
        x, targets = _with_one(vectors[rows[part]]), one_hot(y[part], classes)
        for number in range(folds):
            held = fold[part] == number
            grams[number] += x[held].T @ x[held]
            products[number] += x[held].T @ targets[held]
    weights = [np.linalg.solve(grams.sum(0) - grams[number] + PENALTY * np.eye(width),
                               products.sum(0) - products[number]) for number in range(folds)]
    probabilities = np.empty((len(rows), classes), np.float32)
    for part in parts:
        x = _with_one(vectors[rows[part]])
        for number in range(folds):
            held = np.flatnonzero(fold[part] == number)
            probabilities[part.start + held] = softmax(SHARPNESS * (x[held] @ weights[number]), axis=1)
    return probabilities


def _with_one(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.astype(np.float32), np.ones((len(rows), 1), np.float32)], axis=1)


def fold_of(y: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) int, the fold of each row: rows of a class dealt out in turn, after shuffling."""
    order = np.random.default_rng(seed).permutation(len(y))
    dealt = order[np.argsort(np.asarray(y)[order], kind="stable")]
    fold = np.empty(len(y), np.int64)
    fold[dealt] = np.arange(len(y)) % folds
    return fold
