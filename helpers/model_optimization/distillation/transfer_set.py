"""More texts for a teacher to answer: made from those at hand, no label needed."""

import random
from collections.abc import Sequence

from helpers.lab.errors import InputError


def augment(texts: Sequence[str], copies: int, seed: int = 0) -> list[str]:
    """`copies` altered versions of each text; none has a label that could be trusted, so a teacher must answer.

    Each is altered in one way: words left out, neighbours swapped, a word taken from another text,
    or its first half joined to another's second half (which gives the answers between the classes
    that a student learns most from; compare TinyBERT's replaced words, arXiv 1909.10351).
    """
    if copies < 0:
        raise InputError(f"The number of augmented copies cannot be negative ({copies}).")
    rng = random.Random(seed)
    words = [text.split() for text in texts]
    words = [row for row in words if row]
    return [" ".join(rng.choice(_CHANGES)(row, rng.choice(words), rng)) for _ in range(copies) for row in words]


def _leave_out(row: list[str], _: list[str], rng: random.Random) -> list[str]:
    kept = [word for word in row if rng.random() > 0.15]
    return kept or row


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


_CHANGES = (_leave_out, _swap, _borrow, _join)
