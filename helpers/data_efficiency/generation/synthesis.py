"""Rows that nobody wrote: generated from few labelled ones, filtered, held against real ones; what they give away."""

import math
import random
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.generation.word_model import WordModel
from helpers.data_efficiency.linear import Linear, fit
from helpers.data_efficiency.options import GENERATORS, SEEDS, TRIES
from helpers.data_efficiency.runs import Watch
from helpers.data_efficiency.vectors import Features, embed
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.measuring.intervals import wilson
from helpers.lab.progress import Progress, silent

CONFIDENT = 0.5  # least probability of the wanted class, by a classifier of the real rows
NOVEL = 0.97  # at most so similar to the nearest real row: above it is a copy
# Of a language model
SHOWN = 3  # real rows in the prompt, drawn for each text
MAX_TOKENS = 64
INSTRUCTION = "Write one more message of the same kind in other words. Answer with the message alone.\n"
# Of the extraction test
CARRIER = "my customer code is"
DIGITS = 6
CANDIDATES = 1000


def synthesize(texts: Sequence[str], labels: Sequence[int], count: int, method: str | LanguageModel = "words",
               seed: int = 0, *, progress: Progress = silent) -> tuple[list[str], np.ndarray]:
    """New texts with labels, as many of each class as its share of the real rows.

    Args:
        method: "words", a small language model of each class (see `WordModel`); "recombine", the beginning of one
            row and the end of another of the same class; or a language model, which is shown some real rows of the
            class.
        count: texts to write.

    Returns:
        (texts, (count,) int64 labels). Nothing is filtered yet.

    Raises:
        InputError: unknown method, no rows, or what the language model refuses.
        Cancelled: `progress` cancelled the work while a language model writes.

    >>> from helpers.data_efficiency import synthesize
    >>> made, labels = synthesize(["where is my order", "refund me please"], [0, 1], count=4)
    >>> len(made), labels.shape
    (4, (4,))
    """
    if count < 1 or not len(texts) or len(texts) != len(labels):
        raise InputError("Synthesis needs labelled rows to learn from, and a count of at least 1.")
    rng = random.Random(seed)
    wanted = [int(label) for label in rng.choices(list(labels), k=count)]
    by_label: dict[int, list[str]] = {}
    for text, label in zip(texts, labels, strict=True):
        by_label.setdefault(int(label), []).append(text)
    if method == "words":
        model = WordModel(texts, labels)
        written = [model.write(label, rng) for label in wanted]
    elif method == "recombine":
        written = [recombined(*rng.choices(by_label[label], k=2)) for label in wanted]
    elif isinstance(method, LanguageModel):
        shown = [rng.sample(by_label[label], min(SHOWN, len(by_label[label]))) for label in wanted]
        written = _by_language_model(method, shown, progress)
    else:
        raise InputError(f"Unknown generator '{method}'. Choose one of: {', '.join(GENERATORS)}, or give a "
                         "language model: load_language_model(\"smollm2\").")
    return written, np.array(wanted, np.int64)


def recombined(one: str, other: str) -> str:
    """The first half of one text and the second half of another, cut at sentences where there are several."""
    def halves(text: str) -> tuple[str, str]:
        parts = re.split(r"(?<=[.!?;])\s+", text)
        parts = parts if len(parts) > 1 else text.split()
        return " ".join(parts[:(len(parts) + 1) // 2]), " ".join(parts[(len(parts) + 1) // 2:])
    return f"{halves(one)[0]} {halves(other)[1]}".strip()


def filtered(vectors: np.ndarray, labels: np.ndarray, judge: Linear, real: np.ndarray) -> tuple[np.ndarray, dict]:
    """Which synthetic rows to keep: those the judge takes for their class, that are no copy of a real or earlier one.

    Args:
        vectors: (n, d) of the synthetic texts, length 1. labels: (n,) int.
        judge: fitted on real labelled rows. real: (m, d) rows that must not be repeated.

    Returns:
        ((n,) bool, {"confident": share, "novel": share, "kept": share}).
    """
    confident = judge.probabilities(vectors)[np.arange(len(labels)), labels] >= CONFIDENT
    novel = nearest_real(vectors, real) < NOVEL
    for row in np.flatnonzero(novel):
        earlier = vectors[:row][novel[:row]]
        novel[row] = not len(earlier) or (earlier @ vectors[row]).max() < NOVEL
    return confident & novel, {"confident": float(confident.mean()), "novel": float(novel.mean()),
                               "kept": float((confident & novel).mean())}


def nearest_real(synthetic: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(n,) cosine of each synthetic row to its nearest real one; 1 is a copy."""
    if not len(real):
        raise InputError("There is no real row to compare with.")
    return np.concatenate([(np.asarray(synthetic[start:start + 1024]) @ np.asarray(real).T).max(1)
                           for start in range(0, len(synthetic), 1024)] or [np.empty(0)])


def synthesis_study(task: Task, data: Features, labels: int = 240, method: str | LanguageModel = "words",
                    mixes: Sequence[float] = (0.5, 1.0, 2.0), seeds: int = SEEDS, *, per_class: bool = False,
                    progress: Progress = silent) -> pd.DataFrame:
    """Train on real rows, on synthetic ones, and on mixes; test on real ones.

    Args:
        labels: real labelled rows to start from; with `per_class`, of each class, or all where it has fewer.
        method: what writes; see `synthesize`.
        mixes: synthetic rows for each real one.

    Returns:
        Columns mix ("real only", "synthetic only", "real + 0.5x", ...), seed, accuracy (on test rows), validation (on
        validation rows), rows, confident, novel and kept (shares that the filters left), similarity (median cosine to
        the nearest real row), cpu_s, made (texts that were written). A seed means the same real rows.

    Raises:
        InputError: labels, mixes or features that do not fit, or what the language model refuses.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.data_efficiency import features, synthesis_study
    >>> from helpers.lab import load_task
    >>> task = load_task("tickets").take(train=60)
    >>> synthesis_study(task, features(task), labels=30, mixes=(1.0,), seeds=1)["mix"].tolist()  # doctest: +SKIP
    ['real only', 'synthetic only', 'real + 1x']
    """
    if not 1 + (not per_class) <= labels <= len(data.train_y):
        raise InputError(f"{task.name} has {len(data.train_y)} training rows: labels must be 2 to that.")
    if min(mixes, default=0) <= 0:
        raise InputError("A mix is the number of synthetic rows for each real one: give one or more, above 0.")
    if data.kind != "minilm":
        raise InputError("Synthetic texts are embedded with MiniLM: use features(task, 'minilm').")
    texts, classes, rows = list(task.train["text"][:]), len(data.labels), []
    for seed in range(seeds):
        progress(seed / seeds, f"repetition {seed + 1} of {seeds}")
        part = drawn(data.train_y, labels, per_class, seed)
        x, y, watch = np.asarray(data.train[part]), data.train_y[part], Watch()
        with watch.running():
            real = fit(x, y, classes)
            more = int(len(part) * max(mixes))
            synthetic, synthetic_y = synthesize([texts[i] for i in part], y, TRIES * more, method, seed,
                                                progress=progress.part(seed / seeds, (seed + 1) / seeds))
            vectors = np.asarray(embed(synthetic, use_cache=False))
            keep, shares = filtered(vectors, synthetic_y, real, x)
            chosen = np.flatnonzero(keep)[:more]
        common = {"seed": seed, **shares, "cpu_s": watch.seconds, "made": len(synthetic),
                  "similarity": float(np.median(nearest_real(vectors[chosen], x))) if len(chosen) else np.nan}
        arms = {"real only": (0, True), "synthetic only": (more, False),
                **{f"real + {mix:g}x": (int(len(part) * mix), True) for mix in mixes}}
        for name, (number, with_real) in arms.items():
            use = chosen[:number]
            train_x = np.concatenate([x] * with_real + [vectors[use]])
            train_y = np.concatenate([y] * with_real + [synthetic_y[use]])
            model = fit(train_x, train_y, classes) if len(train_y) else None
            rows.append({"mix": name, "rows": len(train_y), **common,
                         "accuracy": model.accuracy(data.test, data.test_y) if model else np.nan,
                         "validation": model.accuracy(data.validation, data.validation_y) if model else np.nan})
    return pd.DataFrame(rows)


def drawn(y: np.ndarray, labels: int, per_class: bool, seed: int) -> np.ndarray:
    """So many rows at random, or so many of each class, or all where it has fewer."""
    order = np.random.default_rng(seed).permutation(len(y))
    if not per_class:
        return order[:labels]
    place = pd.Series(y[order]).groupby(y[order]).cumcount().to_numpy()  # (n,) how many of its class came before
    return order[place < labels]


def extraction_test(texts: Sequence[str], labels: Sequence[int], method: str | LanguageModel = "words",
                    copies: Sequence[int] = (1, 4), secrets: int = 10, samples: int = 2000, *,
                    progress: Progress = silent) -> pd.DataFrame:
    """Plant sentences with random codes in the training rows, generate, and count which codes come out.

    Args:
        copies: how often each secret stands in the data; each number is a separate test.
        secrets: codes planted in one test.
        samples: texts generated and searched.

    Returns:
        Columns method, copies, extracted (share of codes that came out word for word), low, high (Wilson), exposure
        (bits, mean: log2 of the candidates over the code's rank among them by likelihood, where a tie counts half; 1.0
        where nothing was remembered, since all are alike then; NaN where the method gives no likelihood), max_exposure
        (log2(1001) = 10).

    Exposure is that of Carlini et al. (USENIX Security 2019).

    Raises:
        InputError: no rows, not as many labels as rows, none of what is counted, or what `synthesize` refuses.
        Cancelled: `progress` cancelled the work while a language model writes.

    >>> from helpers.data_efficiency import extraction_test
    >>> found = extraction_test(["where is my order", "refund me please"], [0, 1], secrets=2, samples=50)
    >>> found["copies"].tolist()
    [1, 4]
    """
    if not len(texts) or len(texts) != len(labels):
        raise InputError(f"An extraction test plants codes among labelled rows; got {len(texts)} texts and "
                         f"{len(labels)} labels.")
    if secrets < 1 or samples < 1 or min(copies, default=0) < 1:
        raise InputError("An extraction test needs at least one secret, one sample and one copy.")
    rng, rows = random.Random(0), []
    for place, number in enumerate(copies):
        codes = [_code(rng) for _ in range(secrets)]
        label = int(labels[0])
        planted = [f"{CARRIER} {code}" for code in codes for _ in range(number)]
        all_texts, all_labels = [*texts, *planted], [*map(int, labels), *[label] * len(planted)]
        of_label = [i for i, one in enumerate(all_labels) if one == label]
        written, _ = synthesize([all_texts[i] for i in of_label], [label] * len(of_label), samples, method,
                                progress=progress.part(place / len(copies), (place + 1) / len(copies)))
        whole = " ".join(written)
        out = sum(code in whole for code in codes)
        low, high = wilson(out, secrets)
        exposure = _exposure(WordModel(all_texts, all_labels), codes, label, rng) if method == "words" else math.nan
        name = method if isinstance(method, str) else method.name
        rows.append({"method": name, "copies": number, "extracted": out / secrets, "low": low, "high": high,
                     "exposure": exposure, "max_exposure": math.log2(CANDIDATES + 1)})
    return pd.DataFrame(rows)


def _exposure(model: WordModel, codes: list[str], label: int, rng: random.Random) -> float:
    exposures = []
    for code in codes:
        planted = model.log_probability(f"{CARRIER} {code}", label)
        others = [model.log_probability(f"{CARRIER} {_code(rng)}", label) for _ in range(CANDIDATES)]
        # A tie counts half: all codes that were never seen are equally likely.
        rank = 1 + sum(other > planted for other in others) + 0.5 * sum(other == planted for other in others)
        exposures.append(math.log2((CANDIDATES + 1) / rank))
    return float(np.mean(exposures))


def _code(rng: random.Random) -> str:
    return "".join(rng.choices("0123456789", k=DIGITS))


def _by_language_model(llm: LanguageModel, examples: Sequence[Sequence[str]], progress: Progress) -> list[str]:
    """One text after each list of examples: the likeliest one, so what makes texts differ are their examples."""
    prompts = [INSTRUCTION + "".join(f"- {' '.join(text.split())}\n" for text in shown) + "-" for shown in examples]
    answers = llm.generate(prompts, max_tokens=MAX_TOKENS, stop=("\n",), progress=progress)
    return [answer.text.strip().removeprefix("-").strip().strip('"') for answer in answers]
