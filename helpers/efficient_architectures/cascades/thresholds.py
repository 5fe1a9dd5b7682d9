"""Cheap models first, dearer ones for what those are unsure of; how sure is enough is guaranteed on held-out rows."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from helpers.efficient_architectures.options import STRATEGY
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.cascade import CascadeModel, confidence
from helpers.lab.models.model import Card, Model

NEVER = 2.0  # more than any confidence: the last stage answers everything
THRESHOLDS_TRIED = 400


@dataclasses.dataclass(frozen=True)
class Choice:
    """The confidence asked of every stage but the last, and what it rests on.

    `bound` is the share of the last stage's right answers that is lost at most, in expectation over
    fresh rows; `lost` is that share on the `rows` that the choice was made on.
    """

    threshold: float
    bound: float
    lost: float
    rows: int


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


def choose_threshold(stages: Sequence[np.ndarray], labels: np.ndarray, lose_at_most: float,
                     counting: Literal["lost", "net"] = "lost") -> Choice:
    """The lowest common threshold whose expected loss stays within a target, by conformal risk control.

    Args:
        stages: (n, classes) logits of each stage, cheapest first, on rows that none was trained on;
            all but the last calibrated, so that one confidence fits all. (Their temperatures may come
            from the same rows: one number each.)
        labels: (n,) class numbers.
        lose_at_most: percentage points. A row is lost where the last stage is right and the cascade
            is wrong.
        counting: "lost" rows alone, or "net": rows that earlier stages get right and the last one
            wrong make up for lost ones, so that it is the accuracy that is kept.

    With a loss L of 0 or 1 that only falls with the threshold t, the smallest t with
    (n * mean L(t) + 1) / (n + 1) <= target keeps the expected loss on a fresh row within the target
    (Angelopoulos et al., arXiv 2208.02814, theorem 1). With three stages a higher t may lose a row
    that a lower one kept, so each row is charged the worst of its losses at t and above. The net loss
    does not only fall with t; its mean is charged with the worst at t and above, and then the promise
    holds for many rows (the same paper on risks that are not monotone), not for any number.

    Raises:
        InputError: fewer than two stages, stages of different shapes, a target of 0 or less, or an
            unknown way of counting.
    """
    labels = _require_stages(stages, labels)
    if counting not in ("lost", "net"):
        raise InputError(f"Losses are counted as 'lost' or as 'net', not as '{counting}'.")
    if lose_at_most <= 0:
        raise InputError(f"A guarantee needs some points to lose, not {lose_at_most}: with none, only the last "
                         "stage may answer.")
    grid = _grid(stages)
    told, stage_of = np.stack([stage.argmax(axis=1) for stage in stages]), answering(stages, grid[:, None])
    wrong = told[stage_of, np.arange(len(labels))] != labels
    losses = wrong & (told[-1] == labels)
    if counting == "lost":
        charged = np.maximum.accumulate(losses[::-1], axis=0)[::-1].sum(axis=1)  # from the highest threshold down
    else:
        net = losses.sum(axis=1) - (~wrong & (told[-1] != labels)).sum(axis=1)
        charged = np.maximum.accumulate(net[::-1])[::-1]
    within = (charged + 1) / (len(labels) + 1) <= lose_at_most / 100
    chosen = int(within.argmax()) if within.any() else len(grid) - 1
    return Choice(float(grid[chosen]), lose_at_most / 100, float(losses[chosen].mean()), len(labels))


def surest_within(stages: Sequence[np.ndarray], seconds: Sequence[float], cost_share: float) -> float:
    """The highest common threshold that a budget allows: what the cascade costs is surer than what it loses.

    Args:
        stages: (n, classes) logits of each stage, cheapest first; no labels are needed.
        seconds: of one answer of each stage; a row pays every stage that it passes.
        cost_share: the mean cost of a row, as a share of the last stage's. The upper end of its one-sided 95 %
            interval over these rows stays within it, so that fresh rows of the same kind mostly do, too.

    Raises:
        InputError: the first stage alone may cost more.
    """
    grid = _grid(stages)
    costs = np.cumsum(seconds)[answering(stages, grid[:, None])] / seconds[-1]
    most = costs.mean(axis=1) + 1.645 * costs.std(axis=1) / math.sqrt(costs.shape[1])
    if most[0] > cost_share:
        raise InputError(f"The first stage alone costs {most[0]:.0%} of the last one: more than the {cost_share:.0%} "
                         "that may be spent.")
    return float(grid[np.flatnonzero(most <= cost_share)[-1]])


def rows_needed(lose_at_most: float) -> int:
    """Held-out rows below which no threshold can be guaranteed, however good the first stage is."""
    if lose_at_most <= 0:
        raise InputError(f"A guarantee needs some points to lose, not {lose_at_most}.")
    return math.ceil(100 / lose_at_most) - 1


def _grid(stages: Sequence[np.ndarray]) -> np.ndarray:
    """Thresholds to try, ascending, from 'the first stage answers all' to NEVER; midway between confidences."""
    seen = np.unique(np.concatenate([confidence(stage) for stage in stages[:-1]]))
    between = (seen[:-1] + seen[1:]) / 2
    if len(between) > THRESHOLDS_TRIED:
        between = between[np.linspace(0, len(between) - 1, THRESHOLDS_TRIED).round().astype(int)]
    return np.concatenate([[0.0], between, [NEVER]])


def answering(stages: Sequence[np.ndarray], threshold: float | np.ndarray) -> np.ndarray:
    """(n,) number of the stage that answers each row: the first that is sure enough, else the last.

    With (m, 1) thresholds at once: (m, n).
    """
    stage_of = np.full(np.broadcast_shapes(np.shape(threshold), (len(stages[0]),)), len(stages) - 1)
    for number in range(len(stages) - 2, -1, -1):
        stage_of = np.where(confidence(stages[number]) >= threshold, number, stage_of)
    return stage_of


def answers(stages: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """(n,) class numbers that the cascade answers."""
    told = np.stack([stage.argmax(axis=1) for stage in stages])
    return told[answering(stages, threshold), np.arange(told.shape[1])]


def follow(stages: Sequence[np.ndarray], labels: np.ndarray, seconds: Sequence[float], threshold: float,
           weights: np.ndarray | None = None) -> Outcome:
    """Quality and cost of a cascade on rows with labels.

    Args:
        seconds: of one answer of each stage, as measured; a row pays every stage that it passes.
        weights: (n,) how often each row comes; by default all alike.

    Raises:
        InputError: not as many seconds as stages, or weights that cannot be averaged over.
    """
    labels = _require_stages(stages, labels)
    if len(seconds) != len(stages) or min(seconds) <= 0:
        raise InputError(f"Each of the {len(stages)} stages needs its seconds, above 0; given: {list(seconds)}.")
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    if weights.shape != labels.shape or weights.min() < 0 or weights.sum() == 0:
        raise InputError("Every row needs a weight of 0 or more, and one of them more than 0.")
    stage_of = answering(stages, threshold)
    right = answers(stages, threshold) == labels
    last_right = stages[-1].argmax(axis=1) == labels

    def mean(values: np.ndarray) -> float:
        return float(np.average(values, weights=weights))

    cost = mean(np.cumsum(seconds)[stage_of])
    return Outcome(mean(right), mean(last_right), mean(last_right & ~right), mean(right & ~last_right), cost,
                   cost / seconds[-1], tuple(mean(stage_of == number) for number in range(len(stages))))


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
               seconds: Sequence[float], losses: Sequence[float] = (1.0, 2.0, 3.0, 5.0)) -> pd.DataFrame:
    """For each loss in points: the threshold that held-out rows guarantee, and what came of it on test rows.

    Args:
        held_out, labels: logits of each stage and labels of the rows that thresholds are chosen on.
        test, truth: the same of the test rows; nothing is chosen on them.

    Returns:
        One row a loss: lose_at_most, threshold, held_out_rows, and the fields of Outcome on the test rows,
        `kept` (accuracy over the last stage's) and `escalated` (past the first stage).
    """
    rows = []
    for loss in losses:
        choice = choose_threshold(held_out, labels, loss)
        row = dataclasses.asdict(follow(test, truth, seconds, choice.threshold))
        first, *_ = row.pop("answered")
        rows.append({"lose_at_most": loss, "threshold": choice.threshold, "held_out_rows": choice.rows, **row,
                     "kept": row["accuracy"] / row["last_accuracy"] if row["last_accuracy"] else float("nan"),
                     "escalated": 1 - first})
    return pd.DataFrame(rows)


def build_cascade(models: Sequence[Model], task: Task, lose_at_most: float) -> CascadeModel:
    """Two or more models as one, with one threshold guaranteed on the validation rows; test rows are not looked at.

    Args:
        models: cheapest first; all but the last calibrated (see calibrate).

    Raises:
        InputError: fewer than two models, other classes, or too few validation rows for the guarantee.
    """
    if len({model.card.classes for model in models}) != 1:
        raise InputError("The stages of a cascade must know the same classes; these know "
                         f"{', '.join(str(model.card.classes) for model in models) or 'none'}.")
    if len(task.validation) < rows_needed(lose_at_most):
        raise InputError(f"Losing at most {lose_at_most:g} points cannot be guaranteed with {len(task.validation)} "
                         f"validation rows: at least {rows_needed(lose_at_most)} are needed, or a larger loss.")
    texts = task.validation[task.input][:]
    logits = [log_softmax(model.predict(texts), axis=1) for model in models]
    choice = choose_threshold(logits, np.asarray(task.validation["label"][:]), lose_at_most)
    return _nested(models, choice)


def _nested(models: Sequence[Model], choice: Choice) -> CascadeModel:
    """The lab's two-stage model, whose second stage may be a cascade itself."""
    second = models[1] if len(models) == 2 else _nested(models[1:], choice)
    parameters = [models[0].card.parameters, second.card.parameters]
    card = Card(f"{models[0].card.name}, then {second.card.name}", models[0].card.classes, STRATEGY,
                {"runtime": "cascade", "threshold": choice.threshold, "lose_at_most": 100 * choice.bound,
                 "chosen_on": choice.rows}, parameters=None if None in parameters else sum(parameters),
                made_in_s=models[0].card.made_in_s + second.card.made_in_s)
    return CascadeModel(card, models[0], second, choice.threshold)


def _require_stages(stages: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if len(stages) < 2:
        raise InputError(f"A cascade has two stages or more, not {len(stages)}.")
    if len({stage.shape for stage in stages}) != 1 or len(stages[0]) != len(labels) or not len(labels):
        raise InputError("All stages must have answered the same rows and classes, one label a row; shapes: "
                         f"{', '.join(str(stage.shape) for stage in stages)}, {len(labels)} labels.")
    return labels
