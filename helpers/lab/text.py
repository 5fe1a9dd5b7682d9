"""Texts to token ids: the same tokenizer, and the same cost, for every model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

MAX_TOKENS = 128


class TextEncoder:
    """A fast tokenizer without padding, cutting at `max_tokens`."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        # A megabyte of text would be tokenized whole and then cut; 64 characters a token are more
        # than any real text needs.
        self._most_characters = 64 * max_tokens

    @classmethod
    def load(cls, path: Path, max_tokens: int = MAX_TOKENS) -> "TextEncoder":
        """Read a tokenizer.json."""
        return cls(Tokenizer.from_file(str(path)), max_tokens)

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        self._tokenizer.save(str(path), pretty=False)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most `max_tokens` each."""
        cut = [text[:self._most_characters] for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(cut)]


def pad(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, (n, longest row) int64 each, padded with id 0 on the right."""
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = row
        mask[index, :len(row)] = 1
    return ids, mask
