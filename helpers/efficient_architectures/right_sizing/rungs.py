"""The ladder: one task by ever larger models, from the most frequent label to a fine-tuned encoder."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from helpers.efficient_architectures.options import STEPS, STRATEGY, require_steps
from helpers.efficient_architectures.right_sizing.contrastive import few_shot
from helpers.efficient_architectures.right_sizing.frozen import linear_probe, static_embeddings, zero_shot
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import wilson
from helpers.lab.models.model import Card, Model
from helpers.lab.models.sklearn import SklearnModel, tfidf_baseline
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import baseline
from helpers.lab.training.weights import MINILM


def ladder(task: Task, steps: Sequence[str] = STEPS, *, encoder: str | Path = MINILM, epochs: float | None = None,
           seed: int = 0, progress: Progress = silent) -> list[Model]:
    """The models of the named steps, trained on the task's training rows.

    Args:
        steps: some of STEPS, in the order wanted.
        encoder: of all steps that have one: MiniLM-L6, or a folder, or a name on the Hub.
        epochs: of fine-tuning; by default as many as `baseline` takes.

    Raises:
        InputError: an unknown step, a task of images, or weights that cannot be found.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.efficient_architectures import ladder
    >>> from helpers.lab import load_task
    >>> [model.card.name for model in ladder(load_task("tickets"), ("majority", "tfidf"))]
    ['most frequent label', 'TF-IDF + logistic regression']
    """
    require_steps(steps)
    if task.input != "text":
        raise InputError(f"The ladder reads text; the task '{task.name}' has images.")
    models = []
    for number, step in enumerate(steps):
        progress(number / len(steps), f"making step {number + 1} of {len(steps)}: {step}")
        models.append(_model_of(step, task, encoder, epochs, seed,
                                progress.part(number / len(steps), (number + 1) / len(steps))))
    return models


def most_frequent(task: Task) -> SklearnModel:
    """Always the training rows' most frequent label: a logistic regression with an intercept alone."""
    began = time.perf_counter()
    no_word = {"\N{REPLACEMENT CHARACTER}": 0}  # a vocabulary that no text has a word of
    pipeline = make_pipeline(TfidfVectorizer(vocabulary=no_word), LogisticRegression(max_iter=1000))
    pipeline.fit(task.train["text"][:], task.train["label"][:])
    card = Card("most frequent label", len(task.labels), STRATEGY, {"runtime": "scikit-learn"},
                parameters=len(task.labels), macs=0, made_in_s=time.perf_counter() - began, labels=task.labels)
    return SklearnModel(card, pipeline)


def _model_of(step: str, task: Task, encoder: str | Path, epochs: float | None, seed: int,
              progress: Progress) -> Model:
    makers: dict[str, Callable[[], Model]] = {
        "majority": lambda: most_frequent(task),
        "tfidf": lambda: tfidf_baseline(task),
        "static": lambda: static_embeddings(task, encoder, progress=progress),
        "zero-shot": lambda: zero_shot(task, encoder),
        "frozen": lambda: linear_probe(task, encoder, progress=progress),
        "contrastive": lambda: few_shot(task, encoder, seed=seed, progress=progress),
        "fine-tuned": lambda: baseline(task, encoder, epochs=epochs, seed=seed, progress=progress)}
    return makers[step]()


def few_labels(task: Task, labels_per_class: int | None, seed: int = 0) -> Task:
    """The task with at most so many training rows of each class, drawn at random; None: all. Test rows stay.

    Raises:
        InputError: fewer than one.
    """
    if labels_per_class is None:
        return task
    if labels_per_class < 1:
        raise InputError(f"At least one label per class is needed, not {labels_per_class}.")
    rng = np.random.default_rng(seed)
    labels = np.asarray(task.train["label"][:])
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:labels_per_class] for label in np.unique(labels)]
    return dataclasses.replace(task, train=task.train.select(np.sort(np.concatenate(chosen))))


def quality_by_labels(task: Task, per_class: Sequence[int | None] = (5, 10, 50, None), steps: Sequence[str] = STEPS,
                      *, seeds: Sequence[int] = (0,), encoder: str | Path = MINILM, epochs: float | None = None,
                      progress: Progress = silent) -> pd.DataFrame:
    """Each step's accuracy on all test rows when only some labels are there: where does each step pay?

    Returns:
        One row a step, number of labels and seed: step, labels_per_class (of all: their mean), rows,
        seed, accuracy, low, high (Wilson's interval), made_in_s.

    Raises:
        InputError: an unknown step, fewer than one label per class, or weights that cannot be found.
        Cancelled: the caller of `progress` wants an end.
    """
    require_steps(steps)
    truth = np.asarray(task.test["label"][:])
    jobs = [(count, seed) for count in per_class for seed in seeds]
    rows = []
    for number, (count, seed) in enumerate(jobs):
        small = few_labels(task, count, seed)
        progress(number / len(jobs), f"{len(small.train):,} labelled rows, seed {seed}")
        models = ladder(small, steps, encoder=encoder, epochs=epochs, seed=seed,
                        progress=progress.part(number / len(jobs), (number + 1) / len(jobs)))
        for step, model in zip(steps, models, strict=True):
            right = int((model.predict(task.test["text"][:]).argmax(axis=1) == truth).sum())
            low, high = wilson(right, len(truth))
            rows.append({"step": step, "labels_per_class": count or len(task.train) / len(task.labels),
                         "rows": len(small.train), "seed": seed, "accuracy": right / len(truth), "low": low,
                         "high": high, "made_in_s": model.card.made_in_s})
    progress(1.0, "done")
    return pd.DataFrame(rows)
