"""Cheap models answer what they are sure of, better ones the rest: two stages, or more, nested."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.special import log_softmax

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model, load, rest, saving
from helpers.lab.models.thresholds import answering, confidence, rows_needed, threshold_by_errors, threshold_by_loss
from helpers.lab.paths import write_atomically


class CascadeModel:
    """`first` answers the rows whose largest probability is at least `threshold`; `second` the others.

    Predicts log-probabilities, so that both stages' answers have one scale.
    """

    runtime = "cascade"

    def __init__(self, card: Card, first: Model, second: Model, threshold: float) -> None:
        self.card = card
        self.first, self.second, self.threshold = first, second, threshold

    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 log-probabilities of n raw inputs."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        logits = self.first.predict(inputs)
        answers = log_softmax(logits, axis=1)
        unsure = np.flatnonzero(confidence(logits) < self.threshold)
        if len(unsure):
            answers[unsure] = log_softmax(self.second.predict([inputs[row] for row in unsure]), axis=1)
        return answers

    def rest(self) -> None:
        """Both stages give back memory."""
        for stage in (self.first, self.second):
            rest(stage)

    def save(self, path: Path) -> None:
        """Write the card and both stages into the folder `path`."""
        with saving(path, self.runtime, self.card) as folder:
            self.first.save(folder / "first")
            self.second.save(folder / "second")
            write_atomically(folder / "threshold.json", json.dumps(self.threshold))

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None) -> Self:
        """Read what `save` wrote."""
        threshold = json.loads((path / "threshold.json").read_text(encoding="utf-8"))
        return cls(card, load(path / "first"), load(path / "second"), threshold)


def build_cascade(models: Sequence[Model], task: Task, *, strategy: str, max_errors: float | None = None,
                  max_lost: float | None = None) -> CascadeModel:
    """Two or more models as one, cheapest first, under one threshold chosen on the validation rows.

    Test rows are never looked at. The card has the threshold, the share of the validation rows that go
    on, and the multiply-accumulates to be expected of a row.

    Args:
        strategy: for the card.
        max_errors: of two models: percentage points of all rows that the first may answer wrongly,
            see `threshold_by_errors`.
        max_lost: or, instead: percentage points of all rows where the last model is right and the cascade
            wrong, in expectation, see `threshold_by_loss`; all but the last model calibrated.

    Raises:
        InputError: fewer than two models, models of different classes, not just one of the two rules, or
            too few validation rows for a guarantee.
    """
    if len(models) < 2 or len({model.card.classes for model in models}) != 1:
        raise InputError("A cascade has two stages or more, which know the same classes; these know "
                         f"{', '.join(str(model.card.classes) for model in models) or 'none'}.")
    if (max_errors is None) == (max_lost is None) or (max_errors is not None and len(models) > 2):
        raise InputError("Choose the threshold by max_errors= (two models) or by max_lost=.")
    if max_lost is not None and len(task.validation) < rows_needed(max_lost):
        raise InputError(f"Losing at most {max_lost:g} points cannot be guaranteed with {len(task.validation)} "
                         f"validation rows: at least {rows_needed(max_lost)} are needed, or a larger loss.")
    texts, labels = task.validation[task.input][:], np.asarray(task.validation["label"][:])
    stages = [model.predict(texts) for model in models]
    if max_lost is None:
        threshold, rule = threshold_by_errors(stages[0], labels, max_errors), {"max_errors": max_errors}
    else:
        threshold, rule = threshold_by_loss(stages, labels, max_lost), {"max_lost": max_lost}
    return _nested(models, answering(stages, threshold), strategy, {"threshold": threshold, **rule})


def _nested(models: Sequence[Model], stage_of: np.ndarray, strategy: str, settings: dict[str, Any]) -> CascadeModel:
    """Two stages, the second of which may be a cascade itself; stage_of: (rows that come here,) who answers them."""
    first, onward = models[0], stage_of > 0
    escalated = 1 - float((~onward).mean()) if len(onward) else 0.0
    second = models[1] if len(models) == 2 else _nested(models[1:], stage_of[onward] - 1, strategy, settings)
    parameters = [stage.card.parameters for stage in (first, second)]
    card = Card(f"{first.card.name}, then {second.card.name}", first.card.classes, strategy,
                {**second.card.settings, "first": first.card.name, "second": second.card.name, "escalated": escalated,
                 **settings},
                parameters=None if None in parameters else sum(parameters),
                macs=_expected_macs(first.card, second.card, escalated),
                made_in_s=first.card.made_in_s + second.card.made_in_s, labels=first.card.labels)
    return CascadeModel(card, first, second, settings["threshold"])


def _expected_macs(first: Card, second: Card, escalated: float) -> int | None:
    """A first stage without a count (TF-IDF) is charged with its weights: each is used at most once."""
    if second.macs is None:
        return None
    of_first = first.macs if first.macs is not None else first.parameters
    return round((of_first or 0) + escalated * second.macs)
