"""How well messages were understood: exact match a field and a message, precision, recall, F1, valid JSON."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.lab.data.extraction import Extraction, normalised
from helpers.lab.data.labels import WISH
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import paired_difference, wilson

MESSAGE, WITH_WISH, VALID, ALL = "message", "message and wish", "valid JSON", "all fields"


@dataclasses.dataclass(frozen=True)
class Counts:
    """Values of one field over all messages: found and right, found, and there to be found."""

    right: int
    found: int
    present: int

    @property
    def precision(self) -> float:
        """Share of the found values that are right; NaN where none was found."""
        return self.right / self.found if self.found else math.nan

    @property
    def recall(self) -> float:
        """Share of the values there that were found; NaN where there is none."""
        return self.right / self.present if self.present else math.nan

    @property
    def f1(self) -> float:
        """The harmonic mean of both; NaN where no value was found and none was there."""
        return 2 * self.right / (self.found + self.present) if self.found + self.present else math.nan


@dataclasses.dataclass(frozen=True)
class ExtractionScore:
    """Result of `score_extractions`.

    right: measure -> (n,) bool, message by message: each field by its name; "message", all fields; "wish"; "message and
        wish"; "valid JSON".
    counts: field -> Counts; "all fields" adds them up (micro average).
    constant: of "message" and "message and wish", the share that is right for who reads nothing: who finds no field in
        any message, and names the wish that is then right most often. Who reads has to be above it.
    """

    right: Mapping[str, np.ndarray]
    counts: Mapping[str, Counts]
    constant: Mapping[str, float]

    def __getitem__(self, measure: str) -> float:
        """Share of messages that are right by this measure."""
        return float(self.right[measure].mean())

    def difference(self, reference: "ExtractionScore", measure: str = MESSAGE) -> tuple[float, float, float]:
        """(this - reference, low, high) of a measure's share on the same messages, paired, 95%; 0 beside itself."""
        if self is reference:  # nothing was sampled: a width would say that it may differ from itself
            return 0.0, 0.0, 0.0
        return paired_difference(reference.right[measure], self.right[measure])

    def frame(self) -> pd.DataFrame:
        """A row a measure: exact, low, high (Wilson, 95%), and of fields precision, recall and f1."""
        rows = []
        for measure in [*self.right, ALL]:
            row: dict[str, object] = {"measure": measure}
            if measure in self.right:
                right = self.right[measure]
                low, high = wilson(int(right.sum()), len(right))
                row |= {"exact": float(right.mean()), "low": low, "high": high}
            if measure in self.counts:
                row |= {name: getattr(self.counts[measure], name) for name in ("precision", "recall", "f1")}
            rows.append(row)
        return pd.DataFrame(rows)


def score_extractions(found: Sequence[Extraction | None], expected: Sequence[Extraction],
                      fields: Sequence[str]) -> ExtractionScore:
    """Compare extractions with what is there, value by value, as `normalised` makes them equal.

    Args:
        found: of each message; None where the answer was no valid JSON: nothing of it is right, not even an absence.
        expected: of the same messages.
        fields: the ones that count. A field is right in a message if its values are equal, or if it is absent in both.

    Raises:
        InputError: no message, or not as many answers as messages.

    >>> from helpers.lab.extraction.scores import score_extractions
    >>> expected = [{"order": "HB-1", "amount": "5 €"}, {"order": "HB-2"}]
    >>> score = score_extractions([{"order": "hb-1", "amount": "$5"}, {"order": "HB-3"}], expected, ["order", "amount"])
    >>> score["order"], score["amount"], score["message"], score.counts["all fields"].f1, score.constant["message"]
    (0.5, 1.0, 0.5, 0.6666666666666666, 0.0)
    """
    if not expected or len(found) != len(expected):
        raise InputError(f"Extractions of the same messages are compared, at least one; there are {len(found)} answers "
                         f"and {len(expected)} messages.")
    valid = np.array([one is not None for one in found])
    right, counts = {}, {}
    for field in (*fields, WISH):
        answers = [_value(one, field) for one in found]
        wanted = [_value(one, field) for one in expected]
        same = np.array([answer == want for answer, want in zip(answers, wanted, strict=True)])
        right[field] = same & valid
        if field != WISH:
            there = np.array([bool(want) for want in wanted])
            counts[field] = Counts(int((right[field] & there).sum()), sum(map(bool, answers)), int(there.sum()))
    right[MESSAGE] = np.logical_and.reduce([right[field] for field in fields])
    right[WITH_WISH] = right[MESSAGE] & right[WISH]
    right[VALID] = valid
    counts[ALL] = Counts(sum(one.right for one in counts.values()), sum(one.found for one in counts.values()),
                         sum(one.present for one in counts.values()))
    of_empty = Counter(_value(one, WISH) for one in expected if not any(_value(one, field) for field in fields))
    constant = {MESSAGE: of_empty.total() / len(expected), WITH_WISH: max(of_empty.values(), default=0) / len(expected)}
    return ExtractionScore(right, counts, constant)


def _value(extraction: Extraction | None, field: str) -> str:
    """The value in the spelling that is compared; empty where it is absent."""
    value = (extraction or {}).get(field, "")
    return normalised(field, value) if value else ""
