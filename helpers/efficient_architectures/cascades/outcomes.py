"""What a cascade does with rows: its quality and cost, over thresholds, as guaranteed, and when traffic changes."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws
from helpers.lab.models.thresholds import answering, confidence, require_stages, threshold_by_loss

LOSSES = (1.0, 2.0, 3.0, 5.0)  # points of the last stage's right answers that may be lost
RESAMPLINGS = 100
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of hard rows, in drift


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a cascade did with some rows. `answered`: the share that each stage answered."""

    accuracy: float
    last_accuracy: float
    lost: float
    gained: float
    cost: float
    cost_share: float
    answered: tuple[float, ...]


def follow(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
           weights: np.ndarray | None = None) -> Outcome:
    """Quality and cost of a cascade on rows with labels.

    Args:
        seconds: of one answer of each stage, as measured; a row pays every stage that it passes.
        weights: (n,) how often each row comes; by default all alike.

    Raises:
        InputError: not as many seconds as stages, or weights that cannot be averaged over.
    """
    labels = require_stages(stages, labels)
    right = np.stack([stage.argmax(axis=1) == labels for stage in stages])
    return outcome(right, answering(stages, threshold), seconds, weights)


def outcome(right: np.ndarray, stage_of: np.ndarray, seconds: Sequence[float],
            weights: np.ndarray | None = None) -> Outcome:
    """The same where it is known which stage is right.

    Args:
        right: (stages, n) bool, whether each stage's answer to each row is right, cheapest first.
        stage_of: (n,) the number of the stage that answers.
        seconds: of one answer of each stage, or its dollars: what cost counts.
    """
    if len(seconds) != len(right) or min(seconds) <= 0:
        raise InputError(f"Each of the {len(right)} stages needs its seconds, above 0; given: {list(seconds)}.")
    weights = np.ones(right.shape[1]) if weights is None else np.asarray(weights, float)
    if weights.shape != stage_of.shape or weights.min() < 0 or weights.sum() == 0:
        raise InputError("Every row needs a weight of 0 or more, and one of them more than 0.")
    answered, last = right[stage_of, np.arange(right.shape[1])], right[-1]

    def mean(values: np.ndarray) -> float:
        return float(np.average(values, weights=weights))

    cost = mean(np.cumsum(seconds)[stage_of])
    return Outcome(mean(answered), mean(last), mean(last & ~answered), mean(answered & ~last), cost,
                   cost / seconds[-1], tuple(mean(stage_of == number) for number in range(len(right))))


def curve(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float],
          thresholds: Sequence[float] = tuple(np.linspace(0, 1, 51))) -> pd.DataFrame:
    """Quality and cost over thresholds: a row each with the fields of Outcome, `answered` as answered_1 and so on."""
    rows = []
    for threshold in thresholds:
        row = dataclasses.asdict(follow(stages, labels, seconds, float(threshold)))
        shares = row.pop("answered")
        rows.append({"threshold": float(threshold), **row,
                     **{f"answered_{number + 1}": share for number, share in enumerate(shares)}})
    return pd.DataFrame(rows)


def guarantees(held_out: Sequence[np.ndarray], labels: np.ndarray, test: Sequence[np.ndarray], truth: np.ndarray,
               seconds: Sequence[float]) -> pd.DataFrame:
    """For each of LOSSES in points: the threshold that held-out rows guarantee, and what came of it on test rows.

    Args:
        held_out, labels: logits of each stage and labels of the rows that thresholds are chosen on.
        test, truth: the same of the test rows; nothing is chosen on them.

    Returns:
        One row a loss: max_lost, threshold, held_out_rows, and the fields of Outcome on the test rows,
        `kept` (accuracy over the last stage's) and `escalated` (past the first stage).
    """
    rows = []
    for loss in LOSSES:
        threshold = threshold_by_loss(held_out, labels, loss)
        rows.append({"max_lost": loss, "threshold": threshold, "held_out_rows": len(labels),
                     **row_of(follow(test, truth, seconds, threshold))})
    return pd.DataFrame(rows)


def row_of(outcome: Outcome) -> dict[str, float]:
    """An outcome's fields, `kept` (accuracy over the last stage's) and `escalated` (past the first stage)."""
    row = dataclasses.asdict(outcome)
    first, *_ = row.pop("answered")
    return row | {"kept": row["accuracy"] / row["last_accuracy"] if row["last_accuracy"] else float("nan"),
                  "escalated": 1 - first}


def hard_rows(stages: Sequence[np.ndarray], share: float = 0.25) -> np.ndarray:
    """(n,) bool: the share of rows that the first stage is least sure of."""
    if not 0 < share < 1:
        raise InputError(f"A share between 0 and 1 is needed, not {share}.")
    confidences = confidence(stages[0])
    return confidences <= np.quantile(confidences, share)


def under_drift(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
                hard: np.ndarray, shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """The cascade when so large a share of the traffic is `hard`: the threshold stays, the rows' weights move.

    Args:
        hard: (n,) bool, the rows that become more frequent: unsure ones, one label's, one customer's.

    Returns:
        One row a share: share, accuracy, last_accuracy, kept (accuracy over the last stage's), cost_share,
        escalated (past the first stage).

    Raises:
        InputError: all rows are hard, or none.
    """
    rows = drifted(hard, lambda weights: follow(stages, labels, seconds, threshold, weights), shares)
    return rows[["share", "accuracy", "last_accuracy", "kept", "cost_share", "escalated"]]


def drifted(hard: np.ndarray, outcome_of: Callable[[np.ndarray], Outcome],
            shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """Outcomes while so large a share of the traffic is `hard`: a row each with share and what `row_of` gives.

    Args:
        outcome_of: called with (n,) weights of the rows.
    """
    hard = np.asarray(hard, bool)
    if hard.all() or not hard.any():
        raise InputError("Drift needs rows of both kinds: some that become more frequent, and others.")
    return pd.DataFrame([{"share": share, **row_of(outcome_of(np.where(hard, share / hard.sum(),
                                                                       (1 - share) / (~hard).sum())))}
                         for share in shares])


def resampled(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
              keep: float = 0.99) -> float:
    """In what share of 100 resamplings of the rows the cascade keeps `keep` of the last stage's accuracy."""
    labels = np.asarray(labels)

    def holds(draws: np.ndarray, axis: int) -> list[bool]:
        outcomes = [follow([stage[rows] for stage in stages], labels[rows], seconds, threshold)
                    for rows in draws.astype(int)]
        return [outcome.accuracy >= keep * outcome.last_accuracy for outcome in outcomes]

    return float(bootstrap_draws(holds, np.arange(len(labels)), draws=RESAMPLINGS).mean())
