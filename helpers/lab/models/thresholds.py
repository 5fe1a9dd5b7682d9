"""How sure a cascade's earlier stages must be: by their errors, by what is lost, or by what may be spent.

A confidence is the largest softmax probability. Every rule looks at held-out rows only and gives one threshold
for all stages but the last: a stage answers the rows that it is at least that sure of.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.special import log_softmax

from helpers.lab.errors import InputError

NEVER = 2.0  # more than any confidence: the last stage answers everything
ROUNDING = 1e-6  # confidences nearer to each other than this count as equal
MAX_THRESHOLDS = 400  # that the rules for several stages try


def confidence(logits: np.ndarray) -> np.ndarray:
    """(n,) largest softmax probability of each row of (n, classes) logits."""
    return np.exp(log_softmax(logits, axis=1).max(axis=1))


def answering(stages: Sequence[np.ndarray], threshold: float | np.ndarray) -> np.ndarray:
    """(n,) number of the stage that answers each row: the first that is sure enough, else the last.

    With (m, 1) thresholds at once: (m, n).
    """
    stage_of = np.full(np.broadcast_shapes(np.shape(threshold), (len(stages[0]),)), len(stages) - 1)
    for number in range(len(stages) - 2, -1, -1):
        stage_of = np.where(confidence(stages[number]) >= threshold, number, stage_of)
    return stage_of


def threshold_by_errors(first: np.ndarray, labels: np.ndarray, max_errors: float = 0.0) -> float:
    """The lowest threshold at which a first stage answers at most so many points of all rows wrongly.

    Args:
        first: (n, classes) logits of the first stage; labels: (n,) class numbers.
        max_errors: percentage points of all rows, whether or not a second stage would know better. That
            is more than is lost, on purpose: what the second happens not to know on a few hundred rows
            is luck, and a first stage that is lucky there would answer everything.

    Raises:
        InputError: negative points, or no rows.

    >>> import numpy as np
    >>> from helpers.lab.models.thresholds import threshold_by_errors
    >>> first = np.log([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])  # sure and right, less sure and wrong, right
    >>> round(threshold_by_errors(first, np.array([0, 0, 0])), 2)
    0.85
    """
    if max_errors < 0:
        raise InputError(f"The first stage's errors are limited to 0 or more points, not {max_errors}.")
    if not len(labels):
        raise InputError("A threshold is chosen on validation rows; there are none.")
    confidences, wrong = confidence(first).astype(np.float64), first.argmax(axis=1) != np.asarray(labels)
    thresholds = candidate_thresholds([first])
    errors = wrong.sum() - np.searchsorted(np.sort(confidences[wrong]), thresholds)
    return float(thresholds[(errors <= max_errors / 100 * len(labels) + 1e-9).argmax()])


def threshold_by_loss(stages: Sequence[np.ndarray], labels: np.ndarray, max_lost: float,
                      counting: Literal["lost", "net"] = "lost") -> float:
    """The lowest common threshold whose expected loss stays within a target, by conformal risk control.

    Args:
        stages: (n, classes) logits of each stage, cheapest first, on rows that none was trained on;
            all but the last calibrated, so that one confidence fits all. (Their temperatures may come
            from the same rows: one number each.)
        labels: (n,) class numbers.
        max_lost: percentage points. A row is lost where the last stage is right and the cascade
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
    labels = require_stages(stages, labels)
    if counting not in ("lost", "net"):
        raise InputError(f"Unknown way of counting losses '{counting}'. Choose one of: lost, net.")
    rows_needed(max_lost)  # refuses a target of 0 or less
    thresholds = candidate_thresholds(stages[:-1], MAX_THRESHOLDS)
    answers, stage_of = np.stack([stage.argmax(axis=1) for stage in stages]), answering(stages, thresholds[:, None])
    wrong = answers[stage_of, np.arange(len(labels))] != labels
    losses = wrong & (answers[-1] == labels)
    if counting == "lost":
        charged = np.maximum.accumulate(losses[::-1], axis=0)[::-1].sum(axis=1)  # from the highest threshold down
    else:
        net = losses.sum(axis=1) - (~wrong & (answers[-1] != labels)).sum(axis=1)
        charged = np.maximum.accumulate(net[::-1])[::-1]
    return _first_within(thresholds, charged, len(labels), max_lost / 100)


def threshold_by_risk(confidences: np.ndarray, losses: np.ndarray, max_lost: float) -> float:
    """The lowest confidence at which a first stage may answer, for any loss and any confidence: conformal risk control.

    What `threshold_by_loss` is for classes, this is for answers of any kind. Rows that go on lose nothing.

    Args:
        confidences: (n,) the first stage's, in each held-out row, from 0 to 1.
        losses: (n,) what is lost if it answers the row, from 0 to 1.
        max_lost: percentage points of all rows that may be lost, in expectation.

    The lowest t with (sum of the losses of the rows at least that sure + 1) / (n + 1) <= target keeps the expected loss
    on a fresh row within the target, if that row is exchangeable with these (Angelopoulos et al., arXiv 2208.02814,
    theorem 1, with losses up to 1).

    Raises:
        InputError: no rows, not as many losses, a loss or confidence outside of 0 to 1, or a target of 0 or less.

    >>> import numpy as np
    >>> from helpers.lab.models.thresholds import threshold_by_risk
    >>> confidences, losses = np.linspace(0.0, 1.0, 101), np.zeros(101)
    >>> losses[:50:10] = 1  # five losses where it is unsure: at 0.00, 0.10, 0.20, 0.30 and 0.40
    >>> threshold_by_risk(confidences, losses, max_lost=3.0).__round__(3)
    0.205
    """
    confidences, losses = np.asarray(confidences, float), np.asarray(losses, float)
    values = np.concatenate([confidences, losses])
    aligned = confidences.shape == losses.shape and confidences.ndim == 1 and len(confidences)
    if not aligned or not ((values >= 0) & (values <= 1)).all():
        raise InputError("A threshold is chosen on rows with a confidence and a loss each, both from 0 to 1; shapes: "
                         f"{confidences.shape} and {losses.shape}.")
    rows_needed(max_lost)  # refuses a target of 0 or less
    thresholds, order = between(confidences), np.argsort(confidences)
    below = np.concatenate([[0.0], np.cumsum(losses[order])])[np.searchsorted(confidences[order], thresholds)]
    return _first_within(thresholds, losses.sum() - below, len(confidences), max_lost / 100)


def _first_within(thresholds: np.ndarray, charged: np.ndarray, rows: int, target: float) -> float:
    """The lowest threshold whose summed losses, and one more, stay within the target; NEVER where none does."""
    within = (charged + 1) / (rows + 1) <= target + 1e-12
    return float(thresholds[within.argmax()]) if within.any() else NEVER


def threshold_by_cost(stages: Sequence[np.ndarray], seconds: Sequence[float], max_cost_share: float) -> float:
    """The highest common threshold that a budget allows: what the cascade costs is surer than what it loses.

    Args:
        stages: (n, classes) logits of each stage, cheapest first; no labels are needed.
        seconds: of one answer of each stage; a row pays every stage that it passes.
        max_cost_share: the mean cost of a row, as a share of the last stage's. The upper end of its one-sided
            95% interval over these rows stays within it, so that fresh rows of the same kind mostly do, too.

    Raises:
        InputError: the first stage alone may cost more.
    """
    thresholds = candidate_thresholds(stages[:-1], MAX_THRESHOLDS)
    costs = np.cumsum(seconds)[answering(stages, thresholds[:, None])] / seconds[-1]
    upper = costs.mean(axis=1) + 1.645 * costs.std(axis=1) / math.sqrt(costs.shape[1])
    if upper[0] > max_cost_share:
        raise InputError(f"The first stage alone costs {upper[0]:.0%} of the last one: more than the "
                         f"{max_cost_share:.0%} that may be spent.")
    return float(thresholds[np.flatnonzero(upper <= max_cost_share)[-1]])


def rows_needed(max_lost: float) -> int:
    """Held-out rows below which `threshold_by_loss` can guarantee nothing, however good the first stage is."""
    if max_lost <= 0:
        raise InputError(f"A guarantee needs some points to lose, not {max_lost}: with none, only the last stage may "
                         "answer.")
    return math.ceil(100 / max_lost) - 1


def candidate_thresholds(earlier: Sequence[np.ndarray], most: int | None = None) -> np.ndarray:
    """Where an answer can change, ascending, from 0 (the first stage answers all) to NEVER.

    Each lies midway between two neighbouring confidences, so that rounding elsewhere changes no answer:
    confidences within ROUNDING of each other are never parted.

    Args:
        earlier: (n, classes) logits of all stages but the last.
        most: evenly spread places at most; None tries them all.
    """
    return between(np.concatenate([confidence(stage) for stage in earlier]), most)


def between(confidences: np.ndarray, most: int | None = None) -> np.ndarray:
    """The same of confidences themselves."""
    seen = np.unique(np.asarray(confidences, np.float64))
    places = np.arange(len(seen) - 1)
    if most is not None and len(places) > most:
        places = np.linspace(0, len(places) - 1, most).round().astype(int)
    places = places[seen[places + 1] - seen[places] > ROUNDING]
    return np.concatenate([[0.0], (seen[places] + seen[places + 1]) / 2, [NEVER]])


def require_stages(stages: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """The labels as an array; refuses stages that have not answered the same labelled rows."""
    labels = np.asarray(labels)
    if len(stages) < 2:
        raise InputError(f"A cascade has two stages or more, not {len(stages)}.")
    if len({stage.shape for stage in stages}) != 1 or len(stages[0]) != len(labels) or not len(labels):
        raise InputError("All stages must have answered the same rows and classes, one label a row; shapes: "
                         f"{', '.join(str(stage.shape) for stage in stages)}, {len(labels)} labels.")
    return labels
