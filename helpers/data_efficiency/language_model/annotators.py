"""A model as annotator: its labels beside people's, what they cost, how far both agree and where they do not."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from helpers.data_efficiency.cleaning.label_errors import inject_noise
from helpers.data_efficiency.vectors import Features
from helpers.lab.errors import InputError
from helpers.lab.language.engines.endpoints import EndpointModel
from helpers.lab.language.prompting import PromptedModel
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval, wilson
from helpers.lab.models.model import Model
from helpers.lab.money.costs import ApiPrice, compute_usd
from helpers.lab.progress import Progress, silent

CHUNK = 8  # texts between two looks at Cancel


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What an annotator said of n texts.

    Attributes:
        labels: (n,) int64. confidence: (n,) float64, the probability that it gives its label; only their order is used.
        usd_per_label: of its machine or its tokens, on average.
    """

    name: str
    labels: np.ndarray
    confidence: np.ndarray
    usd_per_label: float


def annotate(model: Model, texts: Sequence[str], price: ApiPrice | None = None, *,
             progress: Progress = silent) -> Annotation:
    """Let a model label texts, and count what that costs.

    Args:
        model: any Model; a language model by `prompted`.
        price: of tokens, which an endpoint needs: all that its server counts are paid for, and scoring labels there
            takes several requests a text. For a model on this machine it is what one request a text would cost, with
            the label as its answer. By default the seconds of all cores here are paid for, at the price of a processor
            of the default offer's machine.

    Raises:
        InputError: no text, a price of tokens for a model that reads none, or an endpoint without a price.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.data_efficiency import annotate
    >>> from helpers.lab import load_task, tfidf_baseline
    >>> task = load_task("tickets").take(train=200)
    >>> annotate(tfidf_baseline(task), task.validation["text"][:5]).labels.shape
    (5,)
    """
    if not len(texts):
        raise InputError("An annotator needs at least one text to label.")
    if price is not None and not isinstance(model, PromptedModel):
        raise InputError(f"'{model.card.name}' reads no tokens that are paid for: leave the price out, or ask a "
                         "language model by prompted().")
    server = model.llm if isinstance(model, PromptedModel) and isinstance(model.llm, EndpointModel) else None
    if server is not None and price is None:
        raise InputError(f"'{server.name}' answers on a server, and the seconds here are not its work: give the price "
                         "of its tokens.")
    began, before = time.perf_counter(), _tokens_of(server)
    probabilities = softmax(_logits(model, texts, progress), axis=1)  # (n, classes)
    if price is None:
        usd = compute_usd((time.perf_counter() - began) * usable_cores())
    elif server is not None:
        usd = price.usd(*(_tokens_of(server) - before))
    else:
        usd = sum(price.usd(*tokens) for tokens in model.tokens(texts))
    return Annotation(model.card.name, probabilities.argmax(1), probabilities.max(1), float(usd) / len(texts))


def simulated_annotator(data: Features, accuracy: float, usd_per_label: float, seed: int = 0) -> Annotation:
    """An annotator of the training rows that is right in a given share of them and does not know in which.

    Its errors are any other label with equal chance, and its confidence says nothing: one that knows when it errs
    costs less.

    Raises:
        InputError: an accuracy outside of 0.1 to 1, or a negative price.

    >>> from helpers.data_efficiency import features
    >>> from helpers.data_efficiency.language_model.annotators import simulated_annotator
    >>> from helpers.lab import load_task
    >>> data = features(load_task("digits"), "pixels")
    >>> bool((simulated_annotator(data, 1.0, 0.01).labels == data.train_y).all())
    True
    """
    if not 0.1 <= accuracy <= 1 or usd_per_label < 0:
        raise InputError(f"A simulated annotator is right in a share from 0.1 to 1 of the rows, for a price of 0 or "
                         f"more; got {accuracy} and {usd_per_label}.")
    labels, _ = inject_noise(data, 1 - accuracy, "uniform", seed)
    confidence = np.random.default_rng([seed, 1]).random(len(labels))
    return Annotation(f"right in {accuracy:.0%}", labels, confidence, usd_per_label)


def cohens_kappa(people: Sequence[int], model: Sequence[int]) -> tuple[float, float, float]:
    """(kappa, low, high): agreement beyond what the two numbers of labels of each class give by chance (Cohen, 1960).

    1 where both always agree, 0 where they agree as by chance; the interval is a percentile bootstrap over rows. NaN
    where both give one and the same label to all rows, which says nothing.

    Raises:
        InputError: no rows, or not as many of one as of the other.

    >>> from helpers.data_efficiency import cohens_kappa
    >>> cohens_kappa([0, 0, 1, 1], [0, 0, 1, 0])[0]
    0.5
    """
    _require_pairs(people, model)
    people, model = np.asarray(people, int), np.asarray(model, int)
    kappa = float(_kappa(people, model, axis=-1))
    if np.isnan(kappa):
        return kappa, kappa, kappa
    draws = bootstrap_draws(_kappa, people, model)
    low, high = percentile_interval(draws[~np.isnan(draws)])
    return kappa, float(low), float(high)


def errors_by_class(people: Sequence[int], model: Sequence[int], labels: Sequence[str]) -> pd.DataFrame:
    """How many rows of each class the annotator labels as people do, and what it takes the others for.

    Returns:
        Columns label, rows, right (share of these rows), low, high (Wilson), taken_for (its most frequent other label;
        empty where there is none); the class with the lowest share first. Classes without a row are left out.

    Raises:
        InputError: no rows, or not as many of one as of the other.

    >>> from helpers.data_efficiency import errors_by_class
    >>> errors_by_class([0, 0, 1], [0, 1, 1], ["no", "yes"])["right"].tolist()
    [0.5, 1.0]
    """
    _require_pairs(people, model)
    people, model, rows = np.asarray(people, int), np.asarray(model, int), []
    for number in np.unique(people):
        given = model[people == number]
        right, others = int((given == number).sum()), given[given != number]
        low, high = wilson(right, len(given))
        rows.append({"label": labels[number], "rows": len(given), "right": right / len(given), "low": low, "high": high,
                     "taken_for": labels[np.bincount(others).argmax()] if len(others) else ""})
    return pd.DataFrame(rows).sort_values("right", kind="stable", ignore_index=True)


def _tokens_of(server: EndpointModel | None) -> np.ndarray:
    """(2,) int, tokens that a server has read and written so far."""
    return np.array(server.used if server else (0, 0))


def _logits(model: Model, texts: Sequence[str], progress: Progress) -> np.ndarray:
    """(n, classes) float64 of n texts. A language model asks for Cancel itself, others every few texts."""
    if isinstance(model, PromptedModel):
        return np.asarray(model.corrected(model.scores(texts, progress)), float)
    parts = []
    for start in range(0, len(texts), CHUNK):
        progress(start / len(texts), f"label {start + 1} of {len(texts)}")
        parts.append(np.asarray(model.predict(texts[start:start + CHUNK]), float))
    return np.concatenate(parts)


def _kappa(people: np.ndarray, model: np.ndarray, axis: int) -> np.ndarray:
    """(...) kappa of (..., n) labels each; NaN where chance alone makes them agree everywhere."""
    agreed, by_chance = (people == model).mean(axis), 0.0
    for number in np.union1d(people, model):
        by_chance = by_chance + (people == number).mean(axis) * (model == number).mean(axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance < 1, (agreed - by_chance) / (1 - by_chance), np.nan)


def _require_pairs(people: Sequence[int], model: Sequence[int]) -> None:
    if not len(people) or len(people) != len(model):
        raise InputError(f"Agreement needs two labels of each row, and at least one row; got {len(people)} labels of "
                         f"people and {len(model)} of the model.")
