"""Quality metrics as local `evaluate.Metric` classes: the library's interface, no download."""

import functools

import datasets
import evaluate
import numpy as np

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
