"""A router: a specialist answers the messages that it is sure of, a language model the others."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.efficient_architectures.cascades.outcomes import LOSSES, SHARES, Outcome, drifted, outcome, row_of
from helpers.lab.data.extraction import Extraction, extractions, field_names
from helpers.lab.data.labels import WISH
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.scores import WITH_WISH, ExtractionScore, score_extractions
from helpers.lab.extraction.tagging.tagger import Tagger
from helpers.lab.measuring.intervals import paired_difference
from helpers.lab.models.thresholds import threshold_by_risk
from helpers.lab.progress import Progress, silent

OUT_OF_SCOPE = "out_of_scope"  # the wish of messages that no specialist is made for: they always go on


class Router:
    """Two extractors as one.

    Args:
        threshold: how sure the specialist must be to answer, see `threshold_of`.

    >>> router = Router(tagger, ask, threshold=0.8)  # doctest: +SKIP
    >>> router.extract(["Where is my doorbell, order HB-52347?"])  # doctest: +SKIP
    [{'wish': 'delivery_late', 'order': 'HB-52347', 'product': 'doorbell'}]
    """

    def __init__(self, specialist: Tagger, general: Extractor, threshold: float) -> None:
        self.specialist, self.general, self.threshold = specialist, general, threshold
        self.name = f"{specialist.name}, then {general.name}"

    @property
    def stored(self) -> int:
        """Bytes of both on disk."""
        return self.specialist.stored + self.general.stored

    def extract(self, texts: Sequence[str], *, progress: Progress = silent) -> list[Extraction | None]:
        """See Extractor."""
        extracted, confidence = confident(self.specialist, texts, progress.part(0.0, 0.1))
        onward = np.flatnonzero(goes_on(confidence, self.threshold))
        if len(onward):
            answers = self.general.extract([texts[row] for row in onward], progress=progress.part(0.1, 1.0))
            for row, answer in zip(onward, answers, strict=True):
                extracted[row] = answer
        return extracted


def confident(specialist: Tagger, texts: Sequence[str],
              progress: Progress = silent) -> tuple[list[Extraction | None], np.ndarray]:
    """A specialist's extractions, and its confidence in each (n,): 0 where it reads that a message is out of scope."""
    extracted, confidence = specialist.extract_with_confidence(texts, progress=progress)
    return extracted, np.where([one[WISH] == OUT_OF_SCOPE for one in extracted], 0.0, confidence)


def goes_on(confidence: np.ndarray, threshold: float) -> np.ndarray:
    """(n,) bool: confidence below the threshold, or none at all, whatever the threshold."""
    return (confidence < threshold) | (confidence == 0)


@dataclasses.dataclass(frozen=True)
class Routable:
    """What a specialist and a language model made of the same messages.

    confidence: (n,) the specialist's, 0 for out of scope; right: (2, n) bool, whether the specialist, and the
    language model, resolve the message; wishes: (n,) what each message wants.
    """

    confidence: np.ndarray
    right: np.ndarray
    wishes: np.ndarray

    @property
    def lost(self) -> np.ndarray:
        """(n,) bool: the language model resolves the message and the specialist does not."""
        return self.right[1] & ~self.right[0]

    def stage_of(self, threshold: float) -> np.ndarray:
        """(n,) 0 where the specialist answers, 1 where the language model does."""
        return goes_on(self.confidence, threshold).astype(int)

    def routed(self, threshold: float) -> np.ndarray:
        """(n,) bool: whether the router resolves the message."""
        return np.where(self.stage_of(threshold) == 0, *self.right)


def routable(specialist: Tagger, general: ExtractionScore, task: Task, split: str = "validation",
             rows: int | None = None) -> Routable:
    """Both extractors on the first `rows` messages of a split, or all.

    Args:
        general: what score_rungs found for the language model on the same messages: they are not asked again.

    Raises:
        InputError: a score of other messages.
    """
    texts, expected = getattr(task, split)["text"][:rows], extractions(task, split)[:rows]
    if len(general.right[WITH_WISH]) != len(texts):
        raise InputError(f"The language model's score is of {len(general.right[WITH_WISH]):,} messages, and there are "
                         f"{len(texts):,}: score it on the same split and rows.")
    extracted, confidence = confident(specialist, texts)
    right = score_extractions(extracted, expected, field_names(task)).right[WITH_WISH]
    return Routable(confidence, np.stack([right, general.right[WITH_WISH]]), np.array([one[WISH] for one in expected]))


def threshold_of(held_out: Routable, max_lost: float) -> float:
    """How sure the specialist must be, so that at most so many points of all messages are lost, in expectation.

    See `threshold_by_risk`. More than 1 says that nothing can be guaranteed: all messages go on.
    """
    return threshold_by_risk(held_out.confidence, held_out.lost, max_lost)


def route_guarantees(held_out: Routable, test: Routable, costs: Sequence[float],
                     losses: Sequence[float] = LOSSES) -> pd.DataFrame:
    """For each loss in points: the threshold that held-out messages guarantee, and what came of it on test messages.

    Args:
        held_out: what thresholds, and the better of the two extractors, are chosen on.
        costs: of a request to the specialist, and to the language model: dollars or joules. Who goes on pays both.

    Returns:
        One row a loss: max_lost, threshold, held_out_rows, the fields of `row_of` (`accuracy`: resolved), `best` (the
        extractor that resolves more held-out messages: specialist or language model), `best_cost_share` (the router's
        cost over that one's), `delta`, `low` and `high` (resolved by the router less by that one, paired), and
        `cost_per_resolved` (NaN where none is).
    """
    best = int(held_out.right[1].mean() > held_out.right[0].mean())
    rows = []
    for loss in losses:
        threshold = threshold_of(held_out, loss)
        outcome = _outcome(test, costs, threshold)
        delta, low, high = paired_difference(test.right[best], test.routed(threshold))
        rows.append({"max_lost": loss, "threshold": threshold, "held_out_rows": len(held_out.confidence),
                     **row_of(outcome), "best": ("specialist", "language model")[best],
                     "best_cost_share": outcome.cost / costs[best],
                     "delta": delta, "low": low, "high": high,
                     "cost_per_resolved": outcome.cost / outcome.accuracy if outcome.accuracy else np.nan})
    return pd.DataFrame(rows)


def most_lost(held_out: Routable, threshold: float) -> str | None:
    """The wish of which the router loses the largest share of held-out messages; None where it loses none."""
    lost = pd.Series(held_out.lost & (held_out.stage_of(threshold) == 0)).groupby(held_out.wishes).mean()
    return str(lost.idxmax()) if lost.any() else None


def route_drift(test: Routable, costs: Sequence[float], threshold: float, hard: np.ndarray,
                shares: Sequence[float] = SHARES) -> pd.DataFrame:
    """The router when so large a share of the traffic is `hard`: its threshold stays, so no guarantee holds any more.

    Args:
        hard: (n,) bool, the messages that become more frequent.

    Returns:
        One row a share: share and the fields of `row_of`.

    Raises:
        InputError: all messages are hard, or none.
    """
    return drifted(hard, lambda weights: _outcome(test, costs, threshold, weights), shares)


def _outcome(rows: Routable, costs: Sequence[float], threshold: float, weights: np.ndarray | None = None) -> Outcome:
    return outcome(rows.right, rows.stage_of(threshold), costs, weights)
