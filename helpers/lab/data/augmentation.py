"""Altered copies of texts, made from the words at hand: more to learn from, without more to label."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from helpers.lab.errors import InputError

EDITED = 0.1  # share of the words that "edits" touches
MASKED = 0.15
DROPPED = 0.15  # chance of each word that "crossover" leaves out
CANDIDATES = 20  # words that may replace one, the most frequent first
METHODS = ("crossover", "edits", "masked")

# (word before, word after) -> how often which words stood between them; either neighbour alone with ''
Between = dict[tuple[str, str], Counter]


def augment(texts: Sequence[str], copies: int, seed: int = 0, method: str = "crossover") -> list[str]:
    """Altered copies: all texts once, then all of them again, `copies` times.

    Args:
        copies: of each text; 0 gives none. A text without a word is copied as it is.
        method: "edits", a tenth of the words swapped, dropped, repeated elsewhere or replaced (EDA; Wei and Zou, EMNLP
            2019; replacements are words that occur between the same neighbours); "masked", 15% of the words hidden
            and filled in from both neighbours (see `fill_in`): both leave the label as it is. "crossover", words left
            out, neighbours swapped, a word taken from another text, or its first half joined to another's second half:
            no label can be trusted, so a teacher must answer. That gives the answers between the classes that a
            student learns most from (compare TinyBERT's replaced words, arXiv 1909.10351).

    Returns:
        len(texts) * copies texts; the originals are not among them.

    Raises:
        InputError: unknown method, or a negative number of copies.

    >>> from helpers.lab.data.augmentation import augment
    >>> len(augment(["where is my parcel", "i want my money back"], copies=3, method="edits"))
    6
    """
    if method not in METHODS:
        raise InputError(f"Unknown augmentation '{method}'. Choose one of: {', '.join(METHODS)}.")
    if copies < 0:
        raise InputError(f"The number of augmented copies cannot be negative ({copies}).")
    rng = random.Random(seed)
    rows = [text.split() for text in texts]
    if method == "crossover":
        others = [row for row in rows if row]
        return [" ".join(rng.choice(_CROSSOVERS)(row, rng.choice(others), rng) if row else row)
                for _ in range(copies) for row in rows]
    between = words_between(texts)
    change = _edited if method == "edits" else fill_in
    return [" ".join(change(row, between, rng) if row else row) for _ in range(copies) for row in rows]


def words_between(texts: Sequence[str]) -> Between:
    """Which words stood between which neighbours; a text's ends count as words."""
    counts: Between = defaultdict(Counter)
    for text in texts:
        words = ["<", *text.lower().split(), ">"]
        for before, word, after in zip(words, words[1:], words[2:], strict=False):
            for key in ((before, after), (before, ""), ("", after)):
                counts[key][word] += 1
    return counts


def fill_in(words: list[str], between: Between, rng: random.Random) -> list[str]:
    """Hide 15% of the words, at least one, and draw each again from the words seen between its two neighbours.

    A masked language model in its smallest form: both neighbours are known, the word is drawn by how often it stood
    there in the texts. Where no other word was ever seen there, the word stays.
    """
    words = list(words)
    for at in rng.sample(range(len(words)), max(1, round(MASKED * len(words)))):
        words[at] = _other(words, at, between, rng)
    return words


def _other(words: list[str], at: int, between: Between, rng: random.Random) -> str:
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


def _edited(words: list[str], between: Between, rng: random.Random) -> list[str]:
    words = list(words)
    edits: list[Callable[[list[str], int], None]] = [
        lambda words, at: words.__setitem__(at, _other(words, at, between, rng)),
        lambda words, at: words.insert(rng.randrange(len(words) + 1), words[at]),
        lambda words, at: words.insert(rng.randrange(len(words)), words.pop(at)),
        lambda words, at: words.pop(at) if len(words) > 1 else None]
    for _ in range(max(1, round(EDITED * len(words)))):
        rng.choice(edits)(words, rng.randrange(len(words)))
    return words


def _drop(row: list[str], _: list[str], rng: random.Random) -> list[str]:
    return [word for word in row if rng.random() > DROPPED] or row


def _swap(row: list[str], _: list[str], rng: random.Random) -> list[str]:
    if len(row) < 2:
        return row
    place = rng.randrange(len(row) - 1)
    return [*row[:place], row[place + 1], row[place], *row[place + 2:]]


def _borrow(row: list[str], other: list[str], rng: random.Random) -> list[str]:
    place = rng.randrange(len(row))
    return [*row[:place], rng.choice(other), *row[place + 1:]]


def _join(row: list[str], other: list[str], _: random.Random) -> list[str]:
    return row[:(len(row) + 1) // 2] + other[len(other) // 2:]


_CROSSOVERS = (_drop, _swap, _borrow, _join)
