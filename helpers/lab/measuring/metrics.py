"""Quality metrics as local `evaluate.Metric` classes: the library's interface, no download; and recall by class."""

import functools
from collections.abc import Sequence

import datasets
import evaluate
import numpy as np
import pandas as pd

from helpers.lab.measuring.intervals import holm, mcnemar_p, paired_difference
from helpers.lab.measuring.measurement import score

_FEATURES = datasets.Features({"predictions": datasets.Sequence(datasets.Value("float32")),
                               "references": datasets.Value("int64")})


def _info(description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(description=description, citation="", inputs_description="logits and labels",
                               features=_FEATURES)


class Accuracy(evaluate.Metric):
    """Share of rows whose largest logit is the label's."""

    def _info(self) -> evaluate.MetricInfo:
        return _info(self.__doc__)

    def _compute(self, predictions, references) -> dict:
        return {"accuracy": float((np.argmax(predictions, axis=1) == np.asarray(references)).mean())}


class MacroF1(evaluate.Metric):
    """F1 averaged over the classes that occur, each class counting the same."""

    def _info(self) -> evaluate.MetricInfo:
        return _info(self.__doc__)

    def _compute(self, predictions, references) -> dict:
        return {"macro_f1": score(np.argmax(predictions, axis=1), references).macro_f1}


class ExpectedCalibrationError(evaluate.Metric):
    """Mean gap between confidence and accuracy over 15 equal bins of confidence (Guo et al., 2017)."""

    bins = 15

    def _info(self) -> evaluate.MetricInfo:
        return _info(self.__doc__)

    def _compute(self, predictions, references) -> dict:
        logits = np.asarray(predictions, dtype=np.float64)
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = (exp / exp.sum(axis=1, keepdims=True)).max(axis=1)
        correct = logits.argmax(axis=1) == np.asarray(references)
        bin_of = np.minimum((confidence * self.bins).astype(int), self.bins - 1)
        gap = sum(abs(correct[bin_of == b].sum() - confidence[bin_of == b].sum()) for b in range(self.bins))
        return {"calibration_error": float(gap / len(correct))}


@functools.cache
def _combined() -> evaluate.CombinedEvaluations:
    return evaluate.combine([Accuracy(), MacroF1(), ExpectedCalibrationError()])


def quality(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy, macro F1 and expected calibration error of (n, classes) logits against (n,) labels."""
    return _combined().compute(predictions=np.asarray(logits, np.float32), references=np.asarray(labels))


def recall_changes(reference: Sequence[int], candidate: Sequence[int], labels: Sequence[int],
                   names: Sequence[str]) -> pd.DataFrame:
    """Compare each class before and after a model is changed, on the same rows; the largest loss of recall first.

    Args:
        reference, candidate: (n,) numbers of the classes that the two models answer.
        labels: (n,) numbers of the right ones.
        names: of the classes.

    Returns:
        A row a class that has rows: class, rows, changed (rows with another answer), lost (right before, wrong now),
        won (the other way round), change, low, high (of recall, Newcombe's paired interval), p (exact McNemar test,
        adjusted for all classes by Holm), significant.

    Raises:
        ValueError: no rows, or not as many answers as labels.

    >>> from helpers.lab import recall_changes
    >>> found = recall_changes([0] * 9 + [1], [0] * 6 + [1] * 4, [0] * 9 + [1], names=["no", "yes"])
    >>> found[["class", "lost", "won"]].values.tolist()
    [['no', 3, 0], ['yes', 0, 0]]
    """
    reference, candidate, labels = (np.asarray(values) for values in (reference, candidate, labels))  # (n,)
    if not len(reference) == len(candidate) == len(labels) > 0:
        raise ValueError(f"as many answers as labels are needed, got {len(reference)} and {len(candidate)} for "
                         f"{len(labels)}")
    rows = []
    for label in np.unique(labels):
        inside = labels == label
        before, now = reference[inside] == label, candidate[inside] == label  # (rows of the class,) bool
        change, low, high = paired_difference(before, now)
        rows.append({"class": str(names[label]), "rows": len(now), "lost": int((before & ~now).sum()),
                     "changed": int((reference[inside] != candidate[inside]).sum()),
                     "won": int((~before & now).sum()), "change": change, "low": low, "high": high,
                     "p": mcnemar_p(before, now)})
    table = pd.DataFrame(rows)
    table["p"] = holm(table["p"])
    return table.assign(significant=table["p"] < 0.05).sort_values("change", kind="stable", ignore_index=True)
