"""Who labels: people, a model, or a model with people for the doubtful rows? Played through with known labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from helpers.data_efficiency.language_model.annotation_costs import (
    ANNOTATORS,
    DOUBTFUL,
    MODEL,
    PEOPLE,
    compared_with_people,
)
from helpers.data_efficiency.language_model.annotators import Annotation, simulated_annotator
from helpers.data_efficiency.linear import Linear, fit
from helpers.data_efficiency.options import SEEDS, USD_PER_LABEL
from helpers.data_efficiency.runs import Watch, judged
from helpers.data_efficiency.selection.strategies import Pool, margin, random_rows
from helpers.data_efficiency.vectors import Features
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent

CHECKED = 0.25  # share of a batch that people label where they are asked for what is doubtful
ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of simulated annotators


def annotation_study(data: Features, annotation: Annotation, batch: int = 30, seeds: int = SEEDS, *,
                     progress: Progress = silent) -> pd.DataFrame:
    """Active learning up to all rows, with labels of people, of a model, and of a model with people for the doubtful.

    Rows are chosen by margin, whoever labels: so what differs is who does.

    Args:
        annotation: of all training rows.
        batch: rows between two trainings. The first, drawn at random, is labelled by people, but for "model".

    Of the batches of "model, people for the doubtful" people label a quarter, too, and their label counts: where the
    model is least confident and the specialist, which is trained on the labels so far, gives the model's label the
    lowest probability (the sum of both ranks).

    Returns:
        Columns annotator, seed, people and model (labels so far), labels (rows), accuracy (on test rows), validation
        (on validation rows), cpu_s.

    Raises:
        InputError: labels of other rows, or a batch that cannot be.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.data_efficiency import annotation_study, features
    >>> from helpers.data_efficiency.language_model.annotators import simulated_annotator
    >>> from helpers.lab import load_task
    >>> data = features(load_task("digits").take(train=60), "pixels")
    >>> runs = annotation_study(data, simulated_annotator(data, 0.9, 0.001), batch=30, seeds=2)
    >>> runs["annotator"].unique().tolist()
    ['people', 'model', 'model, people for the doubtful']
    """
    if len(annotation.labels) != len(data.train_y):
        raise InputError(f"'{annotation.name}' labelled {len(annotation.labels)} rows, and {data.task} has "
                         f"{len(data.train_y)} training rows: let it label just these.")
    if not 1 <= batch <= len(data.train_y):
        raise InputError(f"A batch of {batch} rows does not fit {data.task}: use 1 to {len(data.train_y)}.")
    return _played(data, annotation, ANNOTATORS, batch, seeds, progress)


def accuracy_that_pays(data: Features, share: float, usd_per_model_label: float,
                       accuracies: Sequence[float] = ACCURACIES, batch: int = 30, seeds: int = SEEDS,
                       usd_per_label: float = USD_PER_LABEL, *, progress: Progress = silent) -> pd.DataFrame:
    """From which accuracy on an annotator is worth its price: simulated annotators, whose errors no repetition changes.

    Args:
        share: of the accuracy with all labels of people, which is to be reached.

    Returns:
        A row for each accuracy of the annotator and each way with it: the columns of `usd_to`, with all rows taken
        into account (Holm), and right (its accuracy). `paying_accuracy` reads the answer.

    Raises:
        InputError, Cancelled: as `annotation_study`.

    >>> from helpers.data_efficiency import accuracy_that_pays, features
    >>> from helpers.lab import load_task
    >>> data = features(load_task("digits").take(train=60), "pixels")
    >>> accuracy_that_pays(data, 0.8, 0.001, (0.9,), batch=30, seeds=2)["right"].tolist()
    [0.9, 0.9]
    """
    goal, parts, people = share * full_accuracy(data), [], None
    parts_in_all = 1 + 2 * len(accuracies)  # each way with an annotator takes as long as people alone
    for number, right in enumerate(accuracies):
        annotation = simulated_annotator(data, right, usd_per_model_label)
        if people is None:  # theirs are the same beside each annotator
            people = _played(data, annotation, (PEOPLE,), batch, seeds, progress.part(0, 1 / parts_in_all))
        part = progress.part((2 * number + 1) / parts_in_all, (2 * number + 3) / parts_in_all)
        runs = pd.concat([people, _played(data, annotation, (MODEL, DOUBTFUL), batch, seeds, part)])
        bills = compared_with_people(runs, goal, usd_per_model_label, usd_per_label)
        parts.append(bills[bills["annotator"] != PEOPLE].assign(right=right))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(**judged(frame["p"]))


def full_accuracy(data: Features) -> float:
    """Accuracy on test rows with all labels of people."""
    return fit(data.train, data.train_y, len(data.labels)).accuracy(data.test, data.test_y)


def most_doubtful(model: Linear, x: np.ndarray, labels: np.ndarray, confidence: np.ndarray, count: int) -> np.ndarray:
    """(count,) places of the rows that people are asked for.

    Args:
        model: the specialist. x: (n, d); labels, confidence: (n,), what the annotator said of them.

    Both doubts count alike: ranks do not depend on how either is calibrated.
    """
    specialist = model.probabilities(x)[np.arange(len(labels)), labels]
    return np.argsort(rankdata(specialist) + rankdata(confidence), kind="stable")[:count]


def _played(data: Features, annotation: Annotation, ways: Sequence[str], batch: int, seeds: int,
            progress: Progress) -> pd.DataFrame:
    """The runs of some ways of labelling, with each seed."""
    parts = []
    for number in range(seeds * len(ways)):
        seed, who = number // len(ways), ways[number % len(ways)]
        progress(number / (seeds * len(ways)), f"{who}, repetition {seed + 1}")
        parts.append(_run(data, annotation, who, batch, seed))
    return pd.concat(parts, ignore_index=True)


def _run(data: Features, annotation: Annotation, who: str, batch: int, seed: int) -> pd.DataFrame:
    x, classes, watch = np.asarray(data.train), len(data.labels), Watch()
    y, by_people, rows = annotation.labels.copy(), np.zeros(len(x), bool), []
    labelled, asked_model, rng = np.empty(0, np.int64), 0, np.random.default_rng(seed)
    model = Linear(np.zeros((x.shape[1] + 1, classes)))  # that knows nothing yet
    while len(labelled) < len(x):
        with watch.running():
            unlabelled = np.setdiff1d(np.arange(len(x)), labelled)
            first = not len(labelled)
            pool = Pool(x, labelled, unlabelled, model, rng)
            picked = (random_rows if first else margin)(pool, min(batch, len(unlabelled)))
            asks_model = who == MODEL or (who == DOUBTFUL and not first)
            count = len(picked) if not asks_model else round(CHECKED * len(picked)) if who == DOUBTFUL else 0
            checked = picked[most_doubtful(model, x[picked], y[picked], annotation.confidence[picked], count)]
            asked_model += asks_model * len(picked)
            by_people[checked] = True
            y[checked] = data.train_y[checked]
            labelled = np.sort(np.concatenate([labelled, picked]))
            model = fit(x[labelled], y[labelled], classes)
        rows.append({"annotator": who, "seed": seed, "people": int(by_people.sum()), "model": asked_model,
                     "labels": len(labelled), "accuracy": model.accuracy(data.test, data.test_y),
                     "validation": model.accuracy(data.validation, data.validation_y), "cpu_s": watch.seconds})
    return pd.DataFrame(rows)
