"""Texts to token ids: the same tokenizer, and the same cost, for every model."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

MAX_TOKENS = 128
# What BERT's splitter makes of printable ASCII: runs of letters and digits, and each other sign alone.
_PLAIN_WORD = re.compile(r"[0-9a-z]+|[!-/:-@\[-`{-~]")
_MAX_WORDS = 100_000  # remembered; a word is some 200 bytes


class TextEncoder:
    """A fast tokenizer without padding, cutting at `max_tokens`.

    Where the tokenizer is BERT's for lower case (MiniLM's is), the words of plain ASCII texts are looked up in a table
    that fills as they are met: the same ids in about an eighth of the time. Other texts and tokenizers take the
    library's way.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        # A megabyte of text would be tokenized whole and then cut; 64 characters a token are more
        # than any real text needs.
        self._max_characters = 64 * max_tokens
        frame = tokenizer.encode("").ids  # [CLS], [SEP]
        self._words = _WordTable(tokenizer, *frame) if len(frame) == 2 and _is_lower_case_bert(tokenizer) else None

    @classmethod
    def load(cls, path: Path, max_tokens: int = MAX_TOKENS) -> "TextEncoder":
        """Read a tokenizer.json."""
        return cls(Tokenizer.from_file(str(path)), max_tokens)

    def save(self, path: Path) -> None:
        """Write a tokenizer.json."""
        self._tokenizer.save(str(path), pretty=False)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most `max_tokens` each."""
        cut = [text[:self._max_characters] for text in texts]
        if self._words is None:
            return [encoding.ids for encoding in self._tokenizer.encode_batch(cut)]
        rows = [self._words.encode(text, self.max_tokens) if _is_plain(text) else None for text in cut]
        others = [index for index, row in enumerate(rows) if row is None]
        for index, encoding in zip(others, self._tokenizer.encode_batch([cut[i] for i in others]), strict=True):
            rows[index] = encoding.ids
        return rows


class _WordTable:
    """Word -> token ids, filled as words are met."""

    def __init__(self, tokenizer: Tokenizer, before: int, after: int) -> None:
        self._tokenizer, self._before, self._after = tokenizer, before, after
        self._ids: dict[str, list[int]] = {}

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Token ids of a plain text, at most `max_tokens`, those before and after it included."""
        row, known = [self._before], self._ids
        for word in _PLAIN_WORD.findall(text.lower()):
            ids = known.get(word)
            row += self._add(word) if ids is None else ids
        del row[max_tokens - 1:]
        row.append(self._after)
        return row

    def _add(self, word: str) -> list[int]:
        ids = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(self._ids) < _MAX_WORDS:
            self._ids[word] = ids
        return ids


def _is_plain(text: str) -> bool:
    """Whether the table may be used: '[' may begin a special token, the rest is for BERT's normalizer."""
    return text.isascii() and text.isprintable() and "[" not in text


def _is_lower_case_bert(tokenizer: Tokenizer) -> bool:
    description = json.loads(tokenizer.to_str())
    normalizer, splitter = description.get("normalizer") or {}, description.get("pre_tokenizer") or {}
    specials = [token["content"] for token in description.get("added_tokens", [])]
    parts = normalizer.get("type"), normalizer.get("lowercase"), splitter.get("type"), description["model"]["type"]
    return (parts == ("BertNormalizer", True, "BertPreTokenizer", "WordPiece")
            and all(text.startswith("[") for text in specials))


def pad(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, (n, longest row) int64 each, padded with id 0 on the right."""
    longest = max(len(row) for row in rows)
    ids = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = row
        mask[index, :len(row)] = 1
    return ids, mask
