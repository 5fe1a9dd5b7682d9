"""A scikit-learn pipeline as a Model: TF-IDF and logistic regression, the classical yardstick."""

import importlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, saving
from helpers.lab.paths import write_atomically

# The estimators that are saved and loaded, and where scikit-learn has them. A file can name no other.
_ESTIMATORS = {
    **dict.fromkeys(("CountVectorizer", "HashingVectorizer", "TfidfTransformer", "TfidfVectorizer"),
                    "sklearn.feature_extraction.text"),
    **dict.fromkeys(("FeatureUnion", "Pipeline"), "sklearn.pipeline"),
    **dict.fromkeys(("MaxAbsScaler", "Normalizer", "StandardScaler"), "sklearn.preprocessing"),
    **dict.fromkeys(("LogisticRegression", "SGDClassifier"), "sklearn.linear_model"),
    **dict.fromkeys(("BernoulliNB", "ComplementNB", "GaussianNB", "MultinomialNB"), "sklearn.naive_bayes"),
    "TruncatedSVD": "sklearn.decomposition", "DummyClassifier": "sklearn.dummy",
    "LinearDiscriminantAnalysis": "sklearn.discriminant_analysis",
}
_TRAINING_ONLY = ("_loss_function_",)  # attributes that no prediction needs


class SklearnModel:
    """A fitted pipeline whose last step gives log-probabilities.

    Saved as plain arrays and JSON, not as a pickle: reading a model file must not run code. So a pipeline with
    estimators outside _ESTIMATORS, or with functions of the user's, is refused by `save`.

    Raises:
        InputError: the last step gives no log-probabilities.
    """

    runtime = "scikit-learn"

    def __init__(self, card: Card, pipeline: Pipeline) -> None:
        if not hasattr(pipeline, "predict_log_proba"):
            raise InputError(f"'{card.name}' ends in a {type(pipeline[-1]).__name__}, which gives no "
                             "log-probabilities: take logistic regression or naive Bayes, for two.")
        self.card = card
        self.pipeline = pipeline
        if hasattr(pipeline[-1], "coef_"):
            # SciPy copies the transposed weights at each call unless they lie class by class for every word.
            pipeline[-1].coef_ = np.asfortranarray(pipeline[-1].coef_)

    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 log-probabilities."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        return self.pipeline.predict_log_proba(list(inputs)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the estimators' parameters, what they learned, and the card into the folder `path`.

        Raises:
            InputError: an estimator or a parameter that could not be read back.
        """
        arrays: dict[str, np.ndarray] = {}
        state = _to_json(self.pipeline, arrays, self.card.name)
        with saving(path, self.runtime, self.card) as folder:
            write_atomically(folder / "pipeline.json", json.dumps(state))
            np.savez(folder / "weights.npz", **arrays)

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None) -> Self:
        """Read what `save` wrote."""
        state = json.loads((path / "pipeline.json").read_text(encoding="utf-8"))
        with np.load(path / "weights.npz") as arrays:
            return cls(card, _from_json(state, arrays))


def _to_json(value: Any, arrays: dict[str, np.ndarray], name: str) -> Any:
    """A part of a pipeline as JSON, its arrays put aside; `name` is the model's, for the error."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_to_json(item, arrays, name) for item in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _to_json(item, arrays, name) for key, item in value.items()}}
    if isinstance(value, np.ndarray) and value.dtype != object:
        arrays[f"array{len(arrays)}"] = value
        return {"array": f"array{len(arrays) - 1}"}
    if sparse.issparse(value):
        rows = sparse.csr_array(value)
        parts = (rows.data, rows.indices, rows.indptr, rows.shape)
        return {"sparse": [_to_json(part, arrays, name) for part in parts]}
    if isinstance(value, type) and issubclass(value, np.generic):
        return {"dtype": np.dtype(value).name}
    kind = type(value).__name__
    if kind in _ESTIMATORS and type(value) is _estimator(kind):
        state = {key: item for key, item in vars(value).items() if key not in _TRAINING_ONLY}
        return {"estimator": kind, "state": _to_json(state, arrays, name)}
    raise InputError(f"'{name}' cannot be saved: its pipeline holds a {kind}, which could only be read back by running "
                     f"code. Estimators that can be saved: {', '.join(sorted(_ESTIMATORS))}.")


def _from_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Inverse of `_to_json`."""
    match value:
        case {"list": items}:
            return [_from_json(item, arrays) for item in items]
        case {"tuple": items}:
            return tuple(_from_json(item, arrays) for item in items)
        case {"dict": items}:
            return {key: _from_json(item, arrays) for key, item in items.items()}
        case {"array": key}:
            return arrays[key]
        case {"sparse": parts}:
            data, indices, indptr, shape = (_from_json(part, arrays) for part in parts)
            return sparse.csr_array((data, indices, indptr), shape=shape)
        case {"dtype": name}:
            return np.dtype(name).type
        case {"estimator": kind, "state": state}:
            kind = _estimator(kind)
            estimator = kind.__new__(kind)
            vars(estimator).update(_from_json(state, arrays))
            return estimator
    return value


def _estimator(name: str) -> type:
    return getattr(importlib.import_module(_ESTIMATORS[name]), name)


def word_vectorizer(words: int = 1) -> TfidfVectorizer:
    """TF-IDF of all runs of up to so many words."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, words))


def tfidf_baseline(task: Task) -> SklearnModel:
    """TF-IDF of words and logistic regression, fitted on the training rows."""
    began = time.perf_counter()
    pipeline = make_pipeline(word_vectorizer(), LogisticRegression(C=10, max_iter=1000))
    pipeline.fit(task.train["text"][:], task.train["label"][:])
    card = Card("TF-IDF + logistic regression", len(task.labels), strategy="efficient architectures",
                settings={"runtime": "scikit-learn"}, parameters=int(pipeline[-1].coef_.size),
                made_in_s=time.perf_counter() - began, labels=task.labels)
    return SklearnModel(card, pipeline)
