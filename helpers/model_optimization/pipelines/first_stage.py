"""A first stage that answers what it is sure of: how sure it must be is chosen on validation rows."""

import dataclasses

import numpy as np

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.cascade import CascadeModel, confidence
from helpers.lab.models.model import Card, Model
from helpers.model_optimization.distillation.distilling import STRATEGY

NEVER = 2.0  # more than any confidence
ROUNDING = 1e-6  # confidences nearer to each other than this count as equal


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The confidence asked of the first stage; on the rows it was chosen on: share escalated, accuracy."""

    value: float
    escalated: float
    accuracy: float


def cascade(first: Model, second: Model, task: Task, *, lose_at_most: float = 0.0) -> CascadeModel:
    """`first` answers what it is sure of, `second` the rest.

    Args:
        lose_at_most: points of accuracy that `first` may cost on the validation rows, see
            `choose_threshold`. Test rows are never looked at.

    Raises:
        InputError: a negative loss, or stages of different classes.
    """
    if first.card.classes != second.card.classes:
        raise InputError(f"The stages know {first.card.classes} and {second.card.classes} classes; both must answer "
                         "the same task.")
    texts, labels = task.validation[task.input][:], np.asarray(task.validation["label"][:])
    found = choose_threshold(first.predict(texts), second.predict(texts), labels, lose_at_most)
    parameters = [stage.card.parameters for stage in (first, second)]
    card = Card(f"{first.card.name}, then {second.card.name}", first.card.classes, STRATEGY,
                {**second.card.settings, "first": first.card.name, "second": second.card.name,
                 "threshold": found.value, "escalated": found.escalated, "lose_at_most": lose_at_most},
                parameters=None if None in parameters else sum(parameters),
                macs=_expected_macs(first, second, found.escalated),
                made_in_s=first.card.made_in_s + second.card.made_in_s)
    return CascadeModel(card, first, second, found.value)


def _expected_macs(first: Model, second: Model, escalated: float) -> int | None:
    """A first stage without a count (TF-IDF) is charged with its weights: each is used at most once."""
    if second.card.macs is None:
        return None
    own = first.card.macs if first.card.macs is not None else first.card.parameters
    return round((own or 0) + escalated * second.card.macs)


def choose_threshold(first: np.ndarray, second: np.ndarray, labels: np.ndarray,
                     lose_at_most: float = 0.0) -> Threshold:
    """The threshold that escalates fewest rows while losing at most so many points.

    Args:
        first, second: (n, classes) logits of the stages; labels: (n,).
        lose_at_most: points of all rows that `first` may answer wrongly, whether or not `second` would
            know better. That is more than is lost, on purpose: what `second` happens not to know on a
            few hundred rows is luck, and a first stage that is lucky there would answer everything.

    Only the first stage's own confidences change who answers, so all of them are tried. The threshold
    lies midway to the next one: rounding elsewhere changes no answer.
    """
    if lose_at_most < 0:
        raise InputError(f"The points to lose at most cannot be negative ({lose_at_most}).")
    if not len(labels):
        raise InputError("A threshold is chosen on validation rows; there are none.")
    sure = confidence(first)
    order = np.argsort(-sure, kind="stable")
    first_right, second_right = (logits.argmax(axis=1)[order] == labels[order] for logits in (first, second))
    right = np.concatenate([[0], np.cumsum(first_right.astype(int) - second_right)]) + second_right.sum()
    wrong = np.concatenate([[0], np.cumsum(~first_right)])
    # values[k] and values[k + 1] are of the least sure row that is answered, of k rows, and of the next one.
    values = np.concatenate([[NEVER], sure[order].astype(np.float64), [0.0]])
    possible = values[:-1] - values[1:] > ROUNDING  # equally sure rows are answered together
    allowed = wrong <= lose_at_most / 100 * len(labels) + 1e-9
    answered = int(np.flatnonzero(possible & allowed)[-1])
    return Threshold(float(values[answered] + values[answered + 1]) / 2, 1 - answered / len(labels),
                     float(right[answered] / len(labels)))
