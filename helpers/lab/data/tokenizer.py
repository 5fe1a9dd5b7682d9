"""Texts to token ids: the same tokenizer, and the same cost, for every model."""

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from helpers.lab.errors import InputError, reason
from helpers.lab.paths import write_atomically

MAX_TOKENS = 128
# What BERT's splitter makes of printable ASCII: runs of letters and digits, and each other sign alone.
_PLAIN_WORD = re.compile(r"[0-9a-z]+|[!-/:-@\[-`{-~]")
_MAX_WORDS = 100_000  # remembered; a word is some 200 bytes
_TEXTS_AT_ONCE = 1_000  # tokenized whole: what is cut off is counted, too


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much of the texts an encoder reads; fractions, marks such as [CLS] not counted.

    unknown: share of all tokens that stand for what the vocabulary does not have; rows_cut: share of texts longer than
    the token limit; tokens_cut: share of all tokens that lie beyond it.
    """

    unknown: float
    rows_cut: float
    tokens_cut: float


class TextEncoder:
    """A fast tokenizer without padding, cutting at `max_tokens`.

    Where the tokenizer is BERT's for lower case (MiniLM's is), the words of plain ASCII texts are looked up in a table
    that fills as they are met: the same ids in about an eighth of the time. Other texts and tokenizers take the
    library's way.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS, pad_id: int | None = None) -> None:
        self.max_tokens = max_tokens
        self.pad_id: int = (tokenizer.padding or {}).get("pad_id", 0) if pad_id is None else pad_id
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        # A megabyte of text would be tokenized whole and then cut; 64 characters a token are more
        # than any real text needs.
        self.max_characters = 64 * max_tokens
        frame = tokenizer.encode("").ids  # [CLS], [SEP]
        self._frame = len(frame)
        self._words = _WordTable(tokenizer, *frame) if len(frame) == 2 and _is_lower_case_bert(tokenizer) else None

    @classmethod
    def load(cls, path: Path, max_tokens: int = MAX_TOKENS) -> "TextEncoder":
        """Read a tokenizer.json.

        Raises:
            InputError: it is damaged, or cannot cut at `max_tokens`.
        """
        with _readable(path):
            return cls(Tokenizer.from_file(str(path)), max_tokens)

    @classmethod
    def of_checkpoint(cls, folder: Path, max_tokens: int = MAX_TOKENS) -> "TextEncoder":
        """The tokenizer of a published model's folder, with the padding token that its own files name.

        A model without one is given its end-of-text token, else token 0.

        Raises:
            InputError: its tokenizer.json, tokenizer_config.json or config.json is damaged.
        """
        named, numbered = read_facts(folder / "tokenizer_config.json"), read_facts(folder / "config.json")
        with _readable(folder / "tokenizer.json"):
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            return cls(tokenizer, max_tokens, _pad_id(tokenizer, named, numbered))

    @property
    def pad_token(self) -> str:
        """The padding token as text."""
        return self._tokenizer.id_to_token(self.pad_id)

    @property
    def unknown_token(self) -> str | None:
        """Token for a piece that is not in the vocabulary; a vocabulary of bytes needs none."""
        return None if self._unknown_id is None else self._tokenizer.id_to_token(self._unknown_id)

    @property
    def max_id(self) -> int:
        """The largest token id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    @property
    def shortest(self) -> int:
        """The least `max_tokens`: the marks around a text and one token of it."""
        return self._frame + 1

    def to_json(self) -> str:
        """The tokenizer.json; a padding token other than token 0 stands in it."""
        if self.pad_id:
            self._tokenizer.enable_padding(pad_id=self.pad_id, pad_token=self.pad_token)
        text = self._tokenizer.to_str()
        self._tokenizer.no_padding()
        return text

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        write_atomically(path, self.to_json())

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and attention mask of rows of ids, see `pad`."""
        return pad(rows, self.pad_id)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most `max_tokens` each, and at least one."""
        cut = [text[:self.max_characters] for text in texts]
        if self._words is None:
            return [encoding.ids or [self.pad_id] for encoding in self._tokenizer.encode_batch(cut)]
        rows = [self._words.encode(text, self.max_tokens) if _is_plain(text) else None for text in cut]
        others = [index for index, row in enumerate(rows) if row is None]
        for index, encoding in zip(others, self._tokenizer.encode_batch([cut[i] for i in others]), strict=True):
            rows[index] = encoding.ids
        return rows

    def encode_with_spans(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """`encode`, and where in the text each token stands: (start, end) in characters, (0, 0) of marks such as [CLS].
        """
        encodings = self._tokenizer.encode_batch([text[:self.max_characters] for text in texts])
        return [(encoding.ids or [self.pad_id], encoding.offsets or [(0, 0)]) for encoding in encodings]

    def coverage(self, texts: Sequence[str]) -> Coverage:
        """How much of the texts lies beyond the token limit, and how much of them this encoder cannot read.

        All of each text is tokenized, about as long as encoding takes. A vocabulary of bytes knows every text; it has
        no unknown tokens.

        >>> from helpers.lab import find_weights
        >>> from helpers.lab.data.tokenizer import TextEncoder
        >>> encoder = TextEncoder.load(find_weights() / "tokenizer.json", max_tokens=6)
        >>> encoder.coverage(["one two three four", "one two three four five six", "\u58f9 \u8cb3"])
        Coverage(unknown=0.16666666666666666, rows_cut=0.3333333333333333, tokens_cut=0.16666666666666666)
        """
        tokens = cut_rows = cut_tokens = unknown = 0
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            part = texts[start:start + _TEXTS_AT_ONCE]
            for text, (length, strange) in zip(part, self._lengths(part), strict=True):
                # Beyond so many characters a text is cut before it is tokenized, whatever its number of tokens.
                remaining = (length if len(text) <= self.max_characters
                        else min(length, len(self.encode([text])[0]) - self._frame))
                remaining = max(0, min(remaining, self.max_tokens - self._frame))
                tokens, unknown = tokens + length, unknown + strange
                cut_rows, cut_tokens = cut_rows + (remaining < length), cut_tokens + length - remaining
        return Coverage(unknown / max(1, tokens), cut_rows / max(1, len(texts)), cut_tokens / max(1, tokens))

    def _lengths(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Of each text, uncut: its tokens and how many of them are unknown, marks not counted."""
        plain = [self._words is not None and _is_plain(text) for text in texts]
        others = iter(self._tokenizer.encode_batch([text for text, known in zip(texts, plain, strict=True)
                                                    if not known]))
        for text, known in zip(texts, plain, strict=True):
            if known:
                pieces = [self._words.encode(text, len(text) + 3)]  # a token is at least a character
            else:
                encoding = next(others)
                pieces = [piece.ids for piece in (encoding, *encoding.overflowing)]
            yield (sum(len(ids) - self._frame for ids in pieces),
                   sum(ids.count(self._unknown_id) for ids in pieces) if self._unknown_id is not None else 0)

    @functools.cached_property
    def _unknown_id(self) -> int | None:
        """The token for what the vocabulary does not have; a vocabulary of bytes needs none."""
        model = json.loads(self._tokenizer.to_str())["model"]
        token = model.get("unk_token")
        return model.get("unk_id") if token is None else self._tokenizer.token_to_id(token)


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
        encoding = self._tokenizer.encode(word, add_special_tokens=False)
        ids = [number for piece in (encoding, *encoding.overflowing) for number in piece.ids]  # of a cut word, its rest
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


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One sentence for whatever the library says about a file that is not a tokenizer's."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a damaged file may also end in a panic of the Rust library, which is no Exception
        raise InputError(f"The model in '{path.parent.name}' is damaged or incomplete: its {path.name} cannot be read "
                         f"({reason(error)}). Get it again, or save it again.") from error


def read_facts(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model's folder; empty where there is no such file.

    Raises:
        InputError: it holds something else.
    """
    if not path.is_file():
        return {}
    with _readable(path):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise ValueError(f"a JSON object is expected, not a {type(facts).__name__}")
        return facts


def _pad_id(tokenizer: Tokenizer, named: dict[str, Any], numbered: dict[str, Any]) -> int:
    """The padding token by the checkpoint's files (tokens by name, tokens by number), else the end of text."""
    for role in ("pad", "eos"):
        token = named.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        ids = [tokenizer.token_to_id(token) if isinstance(token, str) else None, numbered.get(f"{role}_token_id")]
        if role == "pad" and tokenizer.padding:
            ids.append(tokenizer.padding["pad_id"])
        if known := [one for one in ids if isinstance(one, int) and one >= 0 and tokenizer.id_to_token(one)]:
            return known[0]
    return 0


def pad_for(module: Any, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """`pad` with the padding token that a module's configuration names, else token 0."""
    number = getattr(getattr(module, "config", None), "pad_token_id", None)
    return pad(rows, number if isinstance(number, int) and number >= 0 else 0)


def pad(rows: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and attention mask, (n, longest row) int64 each, padded with `pad_id` on the right.

    A decoder's head looks for the last token that is no padding: with another id its answer would depend on which
    texts share the batch.
    """
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = row
        mask[index, :len(row)] = 1
    return ids, mask
