"""Traffic changes after the threshold was chosen: what happens to a cascade's cost and quality?"""

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.efficient_architectures.cascades.thresholds import follow
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws
from helpers.lab.models.cascade import confidence

NEIGHBOURS = {"a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo",
              "j": "hk", "k": "jl", "l": "ko", "m": "nk", "n": "bm", "o": "ip", "p": "ol", "q": "wa", "r": "et",
              "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "xa"}


def hard_rows(stages: Sequence[np.ndarray], share: float = 0.25) -> np.ndarray:
    """(n,) bool: the share of rows that the first stage is least sure of."""
    if not 0 < share < 1:
        raise InputError(f"A share between 0 and 1 is needed, not {share}.")
    sure = confidence(stages[0])
    return sure <= np.quantile(sure, share)


def under_drift(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
                hard: np.ndarray, shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0)) -> pd.DataFrame:
    """The cascade when so large a share of the traffic is `hard`: the threshold stays, the rows' weights move.

    Args:
        hard: (n,) bool, the rows that become more frequent: unsure ones, one label's, one customer's.

    Returns:
        One row a share: share, accuracy, last_accuracy, kept (accuracy over the last stage's), cost_share,
        escalated (past the first stage).

    Raises:
        InputError: all rows are hard, or none.
    """
    hard = np.asarray(hard, bool)
    if hard.all() or not hard.any():
        raise InputError("Drift needs rows of both kinds: some that become more frequent, and others.")
    rows = []
    for share in shares:
        weights = np.where(hard, share / hard.sum(), (1 - share) / (~hard).sum())
        found = follow(stages, labels, seconds, threshold, weights)
        rows.append({"share": share, "accuracy": found.accuracy, "last_accuracy": found.last_accuracy,
                     "kept": found.accuracy / found.last_accuracy if found.last_accuracy else float("nan"),
                     "cost_share": found.cost_share, "escalated": 1 - found.answered[0]})
    return pd.DataFrame(rows)


def with_typos(texts: Sequence[str], rate: float, seed: int = 0) -> list[str]:
    """The texts with some letters replaced by their neighbours on the keyboard: another kind of drift.

    Args:
        rate: the chance of each letter.
    """
    if not 0 <= rate <= 1:
        raise InputError(f"The rate of typos is a fraction from 0 to 1, not {rate}.")
    rng = random.Random(seed)

    def struck(letter: str) -> str:
        near = NEIGHBOURS.get(letter.lower())
        return rng.choice(near) if near and rng.random() < rate else letter

    return ["".join(struck(letter) for letter in text) for text in texts]


def resampled(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
              keep: float = 0.99, times: int = 100, seed: int = 0) -> float:
    """In what share of resamplings of the rows the cascade keeps `keep` of the last stage's accuracy."""
    if times < 1:
        raise InputError(f"At least one resampling is needed, not {times}.")
    labels = np.asarray(labels)

    def held(draws: np.ndarray, axis: int) -> list[bool]:
        runs = [follow([stage[rows] for stage in stages], labels[rows], seconds, threshold)
                for rows in draws.astype(int)]
        return [run.accuracy >= keep * run.last_accuracy for run in runs]

    return float(bootstrap_draws(held, np.arange(len(labels)), draws=times, seed=seed).mean())
