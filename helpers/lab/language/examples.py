"""Examples in prompts: the texts most like one, and room for them in the model's context."""

from collections.abc import Sequence

import numpy as np

from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.models.sklearn import word_vectorizer

SELECTIONS = ("none", "fixed", "nearest")
SYSTEM_TOKENS, TURN_TOKENS = 64, 16  # what a chat template may put before all messages, and around each
LEAST_ROOM = 64  # tokens for a text
_LETTERS = 32  # that a token has at most, but for long runs of one sign: what is behind them is not even counted


class Nearest:
    """Finds the texts that are most like another, by TF-IDF of their words.

    Raises:
        InputError: no text has a word of two letters.

    >>> from helpers.lab.language.examples import Nearest
    >>> Nearest(["where is my parcel", "cancel the plan", "my parcel is lost"]).rows("parcel lost", 2)
    [2, 0]
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._vectorizer = word_vectorizer()
        try:
            self._vectors = self._vectorizer.fit_transform(texts)
        except ValueError:  # an empty vocabulary
            raise InputError("No example has a word of two letters or more, so none is nearest: use "
                             "select='fixed'.") from None

    def rows(self, text: str, count: int) -> list[int]:
        """Places of the texts most like this one, the nearest first; of those alike in the same measure, the first."""
        likeness = (self._vectors @ self._vectorizer.transform([text]).T).toarray()[:, 0]  # (texts,)
        return np.argsort(-likeness, kind="stable")[:count].tolist()


def shortened(llm: LanguageModel, text: str, room: int) -> str:
    """The beginning of a text that takes at most `room` tokens."""
    text = text[:_LETTERS * room]
    while (size := llm.count_tokens([text])[0]) > room:
        text = text[:len(text) * room // size]
    return text
