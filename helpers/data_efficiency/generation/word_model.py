"""A small language model of words for each class: counts of what followed what."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from helpers.lab.errors import InputError

ORDER = 3  # words that the language model looks at, the one to predict among them
SHORTER = 0.2  # chance to draw from one word less of context: what makes new sentences out of old ones
MAX_WORDS = 80
START, END = "\n<", "\n>"  # with a line break, which no word of a text has


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
