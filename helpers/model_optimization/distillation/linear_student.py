"""A linear student: the teacher's answers as a weighted sum of a text's words and pairs of words."""

import time
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.sklearn import SklearnModel, word_vectorizer
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.distillation.distilling import STRATEGY, lesson_of
from helpers.model_optimization.distillation.teaching import answers_of

RIDGE = 1.0  # the penalty on the squared weights


def distill_linear(teacher: Model, task: Task, *, words: int = 2, transfer: Sequence[str] = (), augmented: int = 4,
                   seed: int = 0, progress: Progress = silent) -> SklearnModel:
    """TF-IDF of words and word pairs, and one linear layer fitted to the teacher's logits (Ba and Caruana, 2014).

    The same kind of model as `tfidf_baseline`, but what it is told of a text is how near each class
    is, not which one is right. So it knows better what it is unsure of: as the first stage of a
    cascade it answers more texts.

    Args:
        words: longest run of words that counts as a feature.
        transfer: unlabelled texts for the teacher to answer, besides the training rows.
        augmented: altered copies of each training text to be added to them.

    Raises:
        InputError: not a text task, or a number that there is not.
        Cancelled: `progress` was told to end; asked while the teacher answers and before fitting.
    """
    if words < 1:
        raise InputError(f"The longest run of words must have at least one, not {words}.")
    began = time.perf_counter()
    lesson = lesson_of(task, transfer, augmented, seed)
    answers = answers_of(teacher, lesson.texts, progress.part(0.0, 0.9))
    progress(0.9, "fitting the linear student")
    vectorizer = word_vectorizer(words).fit(task.train["text"][:])
    fitted = Ridge(alpha=RIDGE).fit(vectorizer.transform(lesson.texts),
                                    answers - answers.mean(axis=1, keepdims=True))  # probabilities: differences only
    progress(1.0, "done")
    card = Card("linear student, TF-IDF", len(task.labels), STRATEGY,
                {"runtime": "scikit-learn", "words": words, "transfer_rows": len(lesson.texts) - len(task.train),
                 "seed": seed, "teacher": teacher.card.name},
                parameters=int(fitted.coef_.size), made_in_s=time.perf_counter() - began)
    return SklearnModel(card, make_pipeline(vectorizer, linear_classifier(fitted)))


def linear_classifier(fitted: Ridge) -> LogisticRegression:
    """The linear layer with a softmax behind it; of two classes scikit-learn wants the second's lead alone."""
    classifier = LogisticRegression()
    classifier.classes_ = np.arange(len(fitted.coef_))
    classifier.coef_, classifier.intercept_ = fitted.coef_, fitted.intercept_
    if len(fitted.coef_) == 2:
        classifier.coef_, classifier.intercept_ = np.diff(fitted.coef_, axis=0), np.diff(fitted.intercept_)
    return classifier
