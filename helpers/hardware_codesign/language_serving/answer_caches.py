"""Answers that are given again: a cache by the message's text, and one by its meaning, before the model."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.lab.data.augmentation import augment
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import clustered_wilson
from helpers.lab.progress import Progress, silent

NEVER = 2.0  # above any cosine: by meaning nothing is found
Embed = Callable[[Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Traffic:
    """Requests in the order in which they come.

    Attributes:
        texts: (n,) what is asked. rows: (n,) int64, the message that each is, or is a changed copy of.
        labels: (n,) int64, the right answer.
    """

    texts: list[str]
    rows: np.ndarray
    labels: np.ndarray


def repeated(texts: Sequence[str], labels: Sequence[int], requests: int, *, exponent: float = 1.0,
             changed: float = 0.5, seed: int = 0) -> Traffic:
    """Traffic in which some messages come often: the k-th most frequent with a weight of 1 / k ** exponent (Zipf).

    Args:
        exponent: 0: all equally often; 1: about what Breslau et al. (INFOCOM 1999) and others found for pages.
        changed: share of the requests in which a tenth of the words is swapped, dropped, doubled or replaced: one asks
            the same in other words, as far as a program can.

    Raises:
        InputError: no messages, no requests, a negative exponent, or a share outside of 0 to 1.

    >>> from helpers.hardware_codesign.language_serving.answer_caches import repeated
    >>> traffic = repeated(["where is my parcel", "cancel it"], [0, 1], requests=5, changed=0.0)
    >>> len(traffic.texts), set(traffic.texts) <= {"where is my parcel", "cancel it"}
    (5, True)
    """
    if not len(texts) or requests < 1 or exponent < 0 or not 0 <= changed <= 1:
        raise InputError("Traffic needs messages, at least one request, an exponent of 0 or more and a share of "
                         "changed ones from 0 to 1.")
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(texts) + 1) ** exponent
    rows = rng.permutation(len(texts))[rng.choice(len(texts), requests, p=weights / weights.sum())]
    asked = [texts[row] for row in rows]
    others = augment(asked, copies=1, seed=seed, method="edits")
    is_changed = rng.random(requests) < changed
    return Traffic([other if so else text for text, other, so in zip(asked, others, is_changed, strict=True)], rows,
                   np.asarray(labels)[rows])


def replay(traffic: Traffic, vectors: np.ndarray | None = None, threshold: float = NEVER) -> pd.DataFrame:
    """Each request through an empty cache that grows: a row a request.

    Args:
        vectors: (n, d) of length 1, one a request; None: the cache looks at the text alone.
        threshold: the least cosine at which a stored answer is given; it is looked for where no text is the same.

    Returns:
        Columns hit ("", "text" or "meaning"), cosine (to the nearest stored request, NaN where none was looked for),
        wrong (whether the answer that was given is another message's with another right answer). What is not found is
        answered by the model, rightly as far as the cache is concerned, and stored.
    """
    stored: dict[str, int] = {}  # normalized text -> the request whose answer it holds
    cached, sources = np.empty_like(vectors) if vectors is not None else None, []  # vectors, and their requests
    rows = []
    for number, text in enumerate(traffic.texts):
        key, hit, cosine, source = " ".join(text.lower().split()), "", float("nan"), number
        if key in stored:
            hit, source = "text", stored[key]
        elif sources:
            likeness = cached[:len(sources)] @ vectors[number]  # (stored,)
            best = int(likeness.argmax())
            cosine = float(likeness[best])
            if cosine >= threshold:
                hit, source = "meaning", sources[best]
        if not hit:
            stored[key] = number
            if vectors is not None:
                cached[len(sources)] = vectors[number]
                sources.append(number)
        rows.append((hit, cosine, bool(traffic.labels[source] != traffic.labels[number])))
    return pd.DataFrame(rows, columns=["hit", "cosine", "wrong"])


def choose_threshold(traffic: Traffic, vectors: np.ndarray, max_wrong: float,
                     thresholds: Sequence[float] = tuple(np.arange(0.70, 1.0, 0.01).round(2))) -> float:
    """The threshold with the most hits whose share of wrong answers, of all requests, stays within `max_wrong`.

    The upper end of its 95% interval (of messages, which repeat) has to stay within it. NEVER where none does.
    """
    best, most = NEVER, -1
    for threshold in thresholds:
        outcome = replay(traffic, vectors, threshold)
        hits = int((outcome["hit"] != "").sum())
        if clustered_wilson(outcome["wrong"], traffic.rows)[1] <= max_wrong and hits > most:
            best, most = float(threshold), hits
    return best


def compare_caches(task: Task, requests: int = 2000, *, max_wrong: float = 0.01, exponent: float = 1.0,
                   changed: float = 0.5, embed: Embed | None = None, seed: int = 0,
                   progress: Progress = silent) -> pd.DataFrame:
    """No cache, one by text and one by meaning, on the same traffic of test rows: a row each.

    Args:
        max_wrong: wrong answers from the cache, as a share of all requests, at most; the threshold is chosen for it on
            traffic of validation rows.
        embed: texts -> (n, d) vectors; by default the mean token vectors of the frozen MiniLM.

    Returns:
        Columns cache, threshold, requests, hits, hit_rate, wrong, wrong_rate (of all requests; both rates with _low and
        _high: 95%, Wilson for messages that repeat), embed_s (seconds to embed one text, 0 where nothing is embedded).

    Raises:
        InputError: a task of images, or what `repeated` refuses.
        Cancelled: `progress` cancelled the work.

    A message may fit two labels: wrong is what the labels call so. An answer that depends on who asks, such as where a
    parcel is, must not be cached at all.
    """
    if task.input != "text":
        raise InputError(f"The task '{task.name}' has images, and an answer cache reads texts: choose another task.")
    embed = embed or _minilm
    splits = []
    for number, split in enumerate((task.validation, task.test)):
        progress(0.4 * number, "embedding requests")
        traffic = repeated(split["text"][:], split["label"][:], requests, exponent=exponent, changed=changed,
                           seed=seed + number)
        texts, places = np.unique(traffic.texts, return_inverse=True)  # what repeats is found by its text
        began = time.perf_counter()
        splits.append((traffic, embed(texts.tolist())[places]))
        embed_s = (time.perf_counter() - began) / len(texts)
    progress(0.8, "choosing the threshold on validation rows")
    threshold = choose_threshold(*splits[0], max_wrong)
    traffic, vectors = splits[1]
    none = pd.DataFrame({"hit": [""] * requests, "wrong": [False] * requests})
    caches = [("none", np.nan, none, 0.0), ("by text", np.nan, replay(traffic), 0.0),
              ("by meaning", threshold, replay(traffic, vectors, threshold), embed_s)]
    progress(1.0, "done")
    return pd.DataFrame([_row(*one, traffic.rows) for one in caches])


def cache_verdict(compared: pd.DataFrame) -> str:
    """Describe the hits and the wrong hits of the two caches; where no threshold was safe enough, say so.

    Args:
        compared: what `compare_caches` returned.

    >>> import pandas as pd
    >>> from helpers.hardware_codesign import cache_verdict
    >>> compared = pd.DataFrame({"threshold": [float("nan"), 0.9], "hit_rate": [0.2, 0.5], "wrong_rate": [0.0, 0.01],
    ...                          "wrong_rate_high": [0.01, 0.03]})
    >>> cache_verdict(compared).partition(";")[0]
    'By text 20% of the requests are found, by meaning 50%'
    """
    by_text, by_meaning = compared.iloc[-2], compared.iloc[-1]
    hits = (f"by meaning {by_meaning['hit_rate']:.0%}" if by_meaning["threshold"] < NEVER else
             "by meaning no more: on validation rows no threshold kept wrong answers rare enough")
    return (f"By text {by_text['hit_rate']:.0%} of the requests are found, {hits}; {by_meaning['wrong_rate']:.1%} of "
            f"all get an answer with another label (at most {by_meaning['wrong_rate_high']:.1%}, 95%).")


def _row(cache: str, threshold: float, outcome: pd.DataFrame, embed_s: float,
         rows: np.ndarray) -> dict[str, object]:
    hits, wrong, count = int((outcome["hit"] != "").sum()), int(outcome["wrong"].sum()), len(outcome)
    hit_rate_low, hit_rate_high = clustered_wilson(outcome["hit"] != "", rows)
    wrong_rate_low, wrong_rate_high = clustered_wilson(outcome["wrong"], rows)
    return {"cache": cache, "threshold": threshold, "requests": count, "hits": hits, "hit_rate": hits / count,
            "hit_rate_low": hit_rate_low, "hit_rate_high": hit_rate_high, "wrong": wrong, "wrong_rate": wrong / count,
            "wrong_rate_low": wrong_rate_low, "wrong_rate_high": wrong_rate_high, "embed_s": embed_s}


def _minilm(texts: Sequence[str]) -> np.ndarray:
    """(n, 384) float32 of length 1: the frozen MiniLM's mean token vectors."""
    from helpers.lab.training.heads import embed_rows, pretrained

    network, encoder = pretrained()
    rows = embed_rows(network, encoder.encode(list(texts)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
