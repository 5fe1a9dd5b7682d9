"""More training rows from few: edited texts, words filled in anew, mixed vectors; and whether that helps."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit, one_hot
from helpers.data_efficiency.selection.active_learning import SEEDS
from helpers.data_efficiency.selection.labelling_cost import Watch, paired_gains
from helpers.data_efficiency.vectors import Features, embed
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError

EDITED = 0.1  # share of the words that an edit touches
MASKED = 0.15
MIX = 0.2  # both parameters of mixup's beta distribution
CANDIDATES = 20
METHODS = ("none", "edits", "masked", "mixup")


def augment(texts: Sequence[str], labels: Sequence[int], method: str, copies: int = 2, seed: int = 0,
            corpus: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Changed copies of labelled texts; the label stays.

    Args:
        method: "edits", a tenth of the words swapped, dropped, repeated elsewhere or replaced (EDA; Wei and Zou,
            EMNLP 2019; replacements are words that occur between the same neighbours); "masked", 15 % of the words
            hidden and filled in from both neighbours (see `fill_in`).
        copies: of each text.
        corpus: texts without labels to learn words from; the texts themselves by default.

    Returns:
        (copies of all texts, their labels (n * copies,) int64); the originals are not among them.

    Raises:
        InputError: unknown method ("mixup" mixes vectors, not texts: see `mixed`), or a wrong number of copies.
    """
    if method not in ("edits", "masked"):
        raise InputError(f"Texts cannot be augmented by '{method}'. Known: edits, masked.")
    if copies < 1 or len(texts) != len(labels):
        raise InputError("Augmentation needs at least one copy, and as many labels as texts.")
    rng = random.Random(seed)
    between = _between(corpus if corpus is not None else texts)
    change = _edited if method == "edits" else fill_in
    made = [change(text, between, rng) for text in texts for _ in range(copies)]
    return made, np.repeat(np.asarray(labels, np.int64), copies)


def mixed(x: np.ndarray, targets: np.ndarray, copies: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Mixup (Zhang et al., ICLR 2018) of vectors: (n * copies, d) rows and (n * copies, classes) mixed labels."""
    rng = np.random.default_rng(seed)
    one = np.tile(np.arange(len(x)), copies)
    other = rng.integers(0, len(x), len(one))
    share = rng.beta(MIX, MIX, len(one))[:, None]
    return (share * x[one] + (1 - share) * x[other]).astype(np.float32), (
        share * targets[one] + (1 - share) * targets[other])


def fill_in(text: str, between: dict[tuple[str, str], Counter], rng: random.Random) -> str:
    """Hide 15 % of the words, at least one, and draw each anew from the words seen between its two neighbours.

    A masked language model in its smallest form: both neighbours are known, the word is drawn by how often it stood
    there in the corpus. Where no other word was ever seen there, the word stays.
    """
    words = text.split()
    for at in rng.sample(range(len(words)), max(1, round(MASKED * len(words)))) if words else []:
        words[at] = _other(words, at, between, rng)
    return " ".join(words)


def augmentation_study(task: Task, data: Features, budgets: Sequence[int] = (48, 120, 360),
                       methods: Sequence[str] = METHODS, seeds: int = SEEDS, copies: int = 2) -> pd.DataFrame:
    """Accuracy with each method at several numbers of labelled rows; a seed means the same labelled rows for all.

    Words are learned from the labelled rows alone: what a method knows, it has from the same budget.

    Returns:
        Columns method, labels, seed, accuracy, cpu_s (of augmenting, embedding and training).

    Raises:
        InputError: unknown method, or a budget that the training rows do not have.
    """
    if wrong := [name for name in methods if name not in METHODS]:
        raise InputError(f"There is no augmentation '{wrong[0]}'. Known: {', '.join(METHODS)}.")
    if max(budgets) > len(data.train_y) or min(budgets) < 2:
        raise InputError(f"Budgets must be 2 to {len(data.train_y)} labels: so many training rows has {task.name}.")
    texts, rows = list(task.train["text"][:]), []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(texts))
        for budget in budgets:
            part = order[:budget]
            for method in dict.fromkeys(["none", *methods]):
                watch = Watch()
                with watch.running():
                    x, targets = _enlarged(data, [texts[i] for i in part], part, method, copies, seed)
                    model = fit(x, targets, len(data.labels))
                rows.append({"method": method, "labels": int(budget), "seed": seed,
                             "accuracy": model.accuracy(data.test, data.test_y), "cpu_s": watch.seconds})
    return pd.DataFrame(rows)


def gains_over(runs: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Columns method, labels, accuracy, low, high, gain, gain_low, gain_high: paired with `reference`, 95 %."""
    return paired_gains(runs, "method", "labels", reference)


def _enlarged(data: Features, texts: list[str], part: np.ndarray, method: str, copies: int,
              seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(data.train[part]), data.train_y[part]
    targets = one_hot(y, len(data.labels))
    if method == "none":
        return x, targets
    if method == "mixup":
        more, more_targets = mixed(x, targets, copies, seed)
    else:
        if data.kind != "minilm":
            raise InputError("Changed texts are embedded with MiniLM: use features(task, 'minilm').")
        made, labels = augment(texts, y, method, copies, seed)
        more, more_targets = np.asarray(embed(made, keep=False)), one_hot(labels, len(data.labels))
    return np.concatenate([x, more]), np.concatenate([targets, more_targets])


def _between(texts: Sequence[str]) -> dict[tuple[str, str], Counter]:
    """(word before, word after) -> how often which words stood between them; either neighbour alone with ''."""
    found: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for text in texts:
        words = ["<", *text.lower().split(), ">"]
        for before, word, after in zip(words, words[1:], words[2:], strict=False):
            for key in ((before, after), (before, ""), ("", after)):
                found[key][word] += 1
    return found


def _other(words: list[str], at: int, between: dict[tuple[str, str], Counter], rng: random.Random) -> str:
    """Another word for a place: from both neighbours, else from one of them, else the same."""
    before = words[at - 1].lower() if at else "<"
    after = words[at + 1].lower() if at + 1 < len(words) else ">"
    for key in ((before, after), ("", after), (before, "")):
        fitting = [(word, n) for word, n in between.get(key, Counter()).most_common(CANDIDATES)
                   if word != words[at].lower()]
        if fitting:
            names, weights = zip(*fitting, strict=True)
            return rng.choices(names, weights)[0]
    return words[at]


def _edited(text: str, between: dict[tuple[str, str], Counter], rng: random.Random) -> str:
    words = text.split()
    edits: list[Callable[[list[str], int], None]] = [
        lambda words, at: words.__setitem__(at, _other(words, at, between, rng)),
        lambda words, at: words.insert(rng.randrange(len(words) + 1), words[at]),
        lambda words, at: words.insert(rng.randrange(len(words)), words.pop(at)),
        lambda words, at: words.pop(at) if len(words) > 1 else None]
    for _ in range(max(1, round(EDITED * len(words))) if words else 0):
        rng.choice(edits)(words, rng.randrange(len(words)))
    return " ".join(words)
