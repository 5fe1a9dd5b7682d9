"""Rows that nobody wrote: generated from few labelled ones, filtered, held against real ones; what they give away."""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import Linear, fit
from helpers.data_efficiency.options import GENERATORS, SEEDS
from helpers.data_efficiency.runs import Watch
from helpers.data_efficiency.vectors import Features, embed
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import wilson

ORDER = 3  # words that the language model looks at, the one to predict among them
SHORTER = 0.2  # chance to draw from one word less of context: what makes new sentences out of old ones
MAX_WORDS = 80
START, END = "<", ">"
CONFIDENT = 0.5  # least probability of the wanted class, by a classifier of the real rows
NOVEL = 0.97  # at most so similar to the nearest real row: above it is a copy
TRIES = 3  # texts written for each one that is wanted
SHOWN = 5  # real rows in the prompt of a Hub model
PROMPTS = 8  # at a time
# Of the extraction test
CARRIER = "my customer code is"
DIGITS = 6
CANDIDATES = 1000


class WordModel:
    """P(word | last two words, label): counts, mixed with those of shorter contexts (Jelinek and Mercer, 1980).

    Args:
        texts, labels: the rows to learn from; at least one.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[int]) -> None:
        if not len(texts) or len(texts) != len(labels):
            raise InputError("A language model needs at least one text, and as many labels as texts.")
        self._counts: dict[tuple, Counter] = defaultdict(Counter)
        words = {END}
        for text, label in zip(texts, labels, strict=True):
            row = [START] * (ORDER - 1) + text.split() + [END]
            words.update(row)
            for at in range(ORDER - 1, len(row)):
                for length in range(ORDER):
                    self._counts[(int(label), *row[at - length:at])][row[at]] += 1
        self._vocabulary = len(words)
        self._drawable = {context: (list(words), list(words.values())) for context, words in self._counts.items()}
        self.labels = sorted({int(label) for label in labels})

    def write(self, label: int, rng: random.Random) -> str:
        """One new text of a class.

        Raises:
            InputError: the class had no row.
        """
        if label not in self.labels:
            raise InputError(f"The language model has seen no row of class {label}.")
        row = [START] * (ORDER - 1)
        while len(row) < MAX_WORDS + ORDER:
            length = ORDER - 1
            while length and ((label, *row[len(row) - length:]) not in self._counts or rng.random() < SHORTER):
                length -= 1
            words, weights = self._drawable[(label, *row[len(row) - length:])]
            row.append(rng.choices(words, weights)[0])
            if row[-1] == END:
                break
        return " ".join(word for word in row if word not in (START, END))

    def log_probability(self, text: str, label: int) -> float:
        """Natural logarithm of how likely the text is in a class; words never seen get a share of the least."""
        row = [START] * (ORDER - 1) + text.split() + [END]
        return sum(math.log(self._probability(row[at], (label, *row[at - ORDER + 1:at])))
                   for at in range(ORDER - 1, len(row)))

    def _probability(self, word: str, context: tuple) -> float:
        shorter = 1 / (self._vocabulary + 1) if len(context) == 1 else self._probability(
            word, (context[0], *context[2:]))
        counts = self._counts.get(context)
        if counts is None:
            return shorter
        return (1 - SHORTER) * counts[word] / counts.total() + SHORTER * shorter


def synthesize(texts: Sequence[str], labels: Sequence[int], count: int, method: str = "words",
               seed: int = 0) -> tuple[list[str], np.ndarray]:
    """New texts with labels, as many of each class as its share of the real rows.

    Args:
        method: "words", a small language model of each class (see `WordModel`); "recombine", the beginning of one
            row and the end of another of the same class; or the folder or Hub name of a causal language model,
            which is shown some real rows of the class.
        count: texts to write.

    Returns:
        (texts, (count,) int64 labels). Nothing is filtered yet.

    Raises:
        InputError: unknown method, no rows, or no such model.
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
    elif "/" in method or Path(method).is_dir():
        written = _by_causal_model(method, [rng.choices(by_label[label], k=SHOWN) for label in wanted], seed)
    else:
        raise InputError(f"Unknown generator '{method}'. Choose one of: {', '.join(GENERATORS)}, or a causal language "
                         "model's folder or Hub name (owner/name).")
    return written, np.array(wanted, np.int64)


def recombined(one: str, other: str) -> str:
    """The first half of one text and the second half of another, cut at sentences where there are several."""
    def halves(text: str) -> tuple[str, str]:
        parts = re.split(r"(?<=[.!?;])\s+", text)
        parts = parts if len(parts) > 1 else text.split()
        return " ".join(parts[:(len(parts) + 1) // 2]), " ".join(parts[(len(parts) + 1) // 2:])
    return f"{halves(one)[0]} {halves(other)[1]}".strip()


def filtered(vectors: np.ndarray, labels: np.ndarray, judge: Linear, real: np.ndarray) -> tuple[np.ndarray, dict]:
    """Which synthetic rows to keep: those the judge takes for their class, that are no copy of a real row.

    Args:
        vectors: (n, d) of the synthetic texts, length 1. labels: (n,) int.
        judge: fitted on real labelled rows. real: (m, d) rows that must not be repeated.

    Returns:
        ((n,) bool, {"confident": share, "novel": share, "kept": share}).
    """
    confident = judge.probabilities(vectors)[np.arange(len(labels)), labels] >= CONFIDENT
    novel = nearest_real(vectors, real) < NOVEL
    return confident & novel, {"confident": float(confident.mean()), "novel": float(novel.mean()),
                               "kept": float((confident & novel).mean())}


def nearest_real(synthetic: np.ndarray, real: np.ndarray) -> np.ndarray:
    """(n,) cosine of each synthetic row to its nearest real one; 1 is a copy."""
    if not len(real):
        raise InputError("There is no real row to compare with.")
    return np.concatenate([(np.asarray(synthetic[start:start + 1024]) @ np.asarray(real).T).max(1)
                           for start in range(0, len(synthetic), 1024)] or [np.empty(0)])


def synthesis_study(task: Task, data: Features, labels: int = 240, method: str = "words",
                    mixes: Sequence[float] = (0.5, 1.0, 2.0), seeds: int = SEEDS) -> pd.DataFrame:
    """Train on real rows, on synthetic ones, and on mixes; test on real ones.

    Args:
        labels: real labelled rows to start from.
        mixes: synthetic rows for each real one.

    Returns:
        Columns mix ("real only", "synthetic only", "real + 0.5x", ...), seed, accuracy (on test rows), validation (on
        validation rows), rows, kept (share that the filters left), similarity (median cosine to the nearest real row),
        cpu_s. A seed means the same real rows.
    """
    if not 2 <= labels <= len(data.train_y):
        raise InputError(f"{task.name} has {len(data.train_y)} training rows: labels must be 2 to that.")
    if data.kind != "minilm":
        raise InputError("Synthetic texts are embedded with MiniLM: use features(task, 'minilm').")
    texts, classes, rows = list(task.train["text"][:]), len(data.labels), []
    for seed in range(seeds):
        part = np.random.default_rng(seed).permutation(len(texts))[:labels]
        x, y, watch = np.asarray(data.train[part]), data.train_y[part], Watch()
        with watch.running():
            real = fit(x, y, classes)
            more = int(labels * max(mixes))
            synthetic, synthetic_y = synthesize([texts[i] for i in part], y, TRIES * more, method, seed)
            vectors = np.asarray(embed(synthetic, use_cache=False))
            keep, shares = filtered(vectors, synthetic_y, real, x)
            chosen = np.flatnonzero(keep)[:more]
        common = {"seed": seed, "kept": shares["kept"], "cpu_s": watch.seconds,
                  "similarity": float(np.median(nearest_real(vectors[chosen], x))) if len(chosen) else np.nan}
        arms = {"real only": (0, True), "synthetic only": (more, False),
                **{f"real + {mix:g}x": (int(labels * mix), True) for mix in mixes}}
        for name, (number, with_real) in arms.items():
            use = chosen[:number]
            train_x = np.concatenate([x] * with_real + [vectors[use]])
            train_y = np.concatenate([y] * with_real + [synthetic_y[use]])
            model = fit(train_x, train_y, classes) if len(train_y) else None
            rows.append({"mix": name, "rows": len(train_y), **common,
                         "accuracy": model.accuracy(data.test, data.test_y) if model else np.nan,
                         "validation": model.accuracy(data.validation, data.validation_y) if model else np.nan})
    return pd.DataFrame(rows)


def extraction_test(texts: Sequence[str], labels: Sequence[int], method: str = "words", copies: Sequence[int] = (1, 4),
                    secrets: int = 10, samples: int = 2000) -> pd.DataFrame:
    """Plant sentences with random codes in the training rows, generate, and count which codes come out.

    Args:
        copies: how often each secret stands in the data; each number is a test of its own.
        secrets: codes planted in one test.
        samples: texts generated and searched.

    Returns:
        Columns method, copies, extracted (share of codes that came out word for word), low, high (Wilson), exposure
        (bits, mean: log2 of the candidates over the code's rank among them by likelihood; 1.4 where nothing was
        remembered; NaN where the method gives no likelihood), max_exposure (log2(1001) = 10).

    Exposure is that of Carlini et al. (USENIX Security 2019).
    """
    if secrets < 1 or samples < 1 or min(copies, default=0) < 1:
        raise InputError("An extraction test needs at least one secret, one sample and one copy.")
    rng, rows = random.Random(0), []
    for number in copies:
        codes = [_code(rng) for _ in range(secrets)]
        label = int(labels[0])
        planted = [f"{CARRIER} {code}" for code in codes for _ in range(number)]
        all_texts, all_labels = [*texts, *planted], [*map(int, labels), *[label] * len(planted)]
        of_label = [i for i, one in enumerate(all_labels) if one == label]
        written, _ = synthesize([all_texts[i] for i in of_label], [label] * len(of_label), samples, method)
        whole = " ".join(written)
        out = sum(code in whole for code in codes)
        low, high = wilson(out, secrets)
        exposure = _exposure(WordModel(all_texts, all_labels), codes, label, rng) if method == "words" else math.nan
        rows.append({"method": method, "copies": number, "extracted": out / secrets, "low": low, "high": high,
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


def _by_causal_model(name: str, examples: Sequence[Sequence[str]], seed: int) -> list[str]:
    """One text after each list of examples, by a causal language model of the Hub or of a folder."""
    import httpx2
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False).eval()
    except (OSError, ValueError, httpx2.HTTPError) as error:  # the last where the network is lost half-way
        raise InputError(f"The language model '{name}' could not be loaded ({type(error).__name__}). Check the name "
                         "and the network, or give a local folder.") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    torch.manual_seed(seed)
    texts: list[str] = []
    for start in range(0, len(examples), PROMPTS):
        prompts = ["".join(f"- {text}\n" for text in shown) + "-" for shown in examples[start:start + PROMPTS]]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, truncation=True, max_length=512)
        with torch.inference_mode():
            written = model.generate(**batch, do_sample=True, top_p=0.95, max_new_tokens=64,
                                     pad_token_id=tokenizer.pad_token_id)
        texts += [text.strip().split("\n")[0].strip() for text in
                  tokenizer.batch_decode(written[:, batch["input_ids"].shape[1]:], skip_special_tokens=True)]
    return texts
