"""A scikit-learn pipeline as a Model: TF-IDF and logistic regression, the classical yardstick."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from helpers.lab.data.task import Task
from helpers.lab.models.model import Card, save_card
from helpers.lab.paths import write_atomically


class SklearnModel:
    """A fitted text pipeline whose last step gives log-probabilities.

    Saved as plain arrays and JSON, not as a pickle: reading a model file must not run code.
    """

    runtime = "scikit-learn"

    def __init__(self, card: Card, pipeline: Pipeline) -> None:
        self.card = card
        self.pipeline = pipeline
        # SciPy copies the transposed weights at each call unless they lie class by class for every word.
        pipeline[-1].coef_ = np.asfortranarray(pipeline[-1].coef_)

    def predict(self, inputs: Sequence[Any]) -> np.ndarray:
        """(n, classes) float32 log-probabilities."""
        if not len(inputs):
            return np.empty((0, self.card.classes), np.float32)
        return self.pipeline.predict_log_proba(list(inputs)).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write vocabulary, weights and card into the folder `path`."""
        path = save_card(path, self.runtime, self.card)
        vectorizer, classifier = self.pipeline[0], self.pipeline[-1]
        write_atomically(path / "vocabulary.json",
                         json.dumps({word: int(index) for word, index in vectorizer.vocabulary_.items()}))
        np.savez(path / "weights.npz", idf=vectorizer.idf_, coef=classifier.coef_, intercept=classifier.intercept_,
                 classes=classifier.classes_, words=vectorizer.ngram_range[1])

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None) -> Self:
        """Read what `save` wrote."""
        with np.load(path / "weights.npz") as weights:
            vocabulary = json.loads((path / "vocabulary.json").read_text(encoding="utf-8"))
            vectorizer = word_vectorizer(int(weights["words"]), vocabulary)
            vectorizer.idf_ = weights["idf"]
            classifier = LogisticRegression()
            classifier.coef_, classifier.intercept_ = weights["coef"], weights["intercept"]
            classifier.classes_ = weights["classes"]
        return cls(card, make_pipeline(vectorizer, classifier))


def word_vectorizer(words: int = 1, vocabulary: dict[str, int] | None = None) -> TfidfVectorizer:
    """TF-IDF of all runs of up to so many words; of those in the vocabulary only, where one is given."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, words), vocabulary=vocabulary)


def tfidf_baseline(task: Task) -> SklearnModel:
    """TF-IDF of words and logistic regression, fitted on the training rows."""
    began = time.perf_counter()
    pipeline = make_pipeline(word_vectorizer(), LogisticRegression(C=10, max_iter=1000))
    pipeline.fit(task.train["text"][:], task.train["label"][:])
    card = Card("TF-IDF + logistic regression", len(task.labels), strategy="efficient architectures",
                settings={"runtime": "scikit-learn"}, parameters=int(pipeline[-1].coef_.size),
                made_in_s=time.perf_counter() - began)
    return SklearnModel(card, pipeline)
