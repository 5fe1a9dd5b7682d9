"""What the engines of a language model have in common.

All read token ids and give token ids: one tokenizer, that of the model's own file, serves them all, so that they differ
in their arithmetic only.
"""

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent

HEARTBEAT_S = 0.2  # an engine lets its caller look at Cancel this often

Prompt = str | Sequence[Mapping[str, str]]  # what a user says, or messages {"role": …, "content": …}
Form = str | Mapping[str, Any]  # a regular expression, or a JSON schema
Piece = tuple[int | None, list[int]]  # (row, its new tokens); no row says that time has passed


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model wrote: text and token ids, without the end token and without the stop word.

    ended: "stop" where the model (or a stop word) ended it, "length" where `max_tokens` did.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: str


class LanguageModel(abc.ABC):
    """A causal language model with its tokenizer, in one of the engines.

    Args:
        context: tokens of prompt and answer together, at most.
        ends: token ids that end an answer.
        stored: bytes of the file that the engine reads.
    """

    engine: str

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int) -> None:
        self.name, self.tokenizer, self.context, self.ends = name, tokenizer, context, frozenset(ends)
        self.stored = stored

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands: no chat template, no marks around it."""
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []

    def read(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt in the model's chat template, up to where the answer begins.

        A model without a template reads the plain text.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(part) for part in prompt]
        if self.tokenizer.chat_template:
            prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "\n".join(message["content"] for message in messages)
        return self.encode([prompt])[0]

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int = 64, stop: Sequence[str] = (),
                 form: Form | None = None, progress: Progress = silent) -> list[Answer]:
        """An answer to each prompt: the likeliest token each time (greedy).

        Args:
            stop: an answer ends before the first of these.
            form: a regular expression or a JSON schema that answers keep to, where the engine can.
            progress: hears what is being written; asked several times a second whether to end.

        Raises:
            InputError: no tokens to read or to write, more than the context holds, or a form that the engine lacks.
            Cancelled: `progress` was told to end.
        """
        rows = [self.read(prompt) for prompt in prompts]
        self._require_room(rows, max_tokens)
        written: list[list[int]] = [[] for _ in rows]
        texts, ended = [""] * len(rows), {}
        with contextlib.closing(self._stream(rows, max_tokens, form, ended)) as pieces:
            for row, tokens in pieces:
                progress.check()
                for token in tokens if row is not None and row not in ended else ():
                    if token in self.ends:
                        ended[row] = "stop"
                        break
                    written[row].append(token)
                    texts[row] = self._decode(written[row]) if stop or len(rows) == 1 else ""
                    if any(word in texts[row] for word in stop):
                        ended[row] = "stop"
                        break
                    if len(written[row]) == max_tokens:
                        ended[row] = "length"
                        break
                if row is not None:
                    progress(sum(map(len, written)) / (max_tokens * len(rows)),
                             texts[0][-60:] if len(rows) == 1 else f"{len(ended)} of {len(rows)} answers")
        return [Answer(_before(self._decode(tokens), stop), tuple(tokens), len(ids), ended.get(row, "stop"))
                for row, (ids, tokens) in enumerate(zip(rows, written, strict=True))]

    def score(self, prompt: Prompt, answers: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """(answers,) log-probability, in nats, that the model answers just so and then ends.

        The prompt is read once for all answers.

        Raises:
            InputError: no answers, an empty one, or more tokens than the context holds.
            Cancelled: `progress` was told to end.
        """
        prefix, end = self.read(prompt), min(self.ends)
        rows = [[*ids, end] for ids in self.encode(answers)]
        if not rows or min(map(len, rows)) < 2:
            raise InputError("Scoring needs at least one answer, and none that is empty.")
        self._require_room([prefix], max(map(len, rows)))
        progress.check()
        return self._score(prefix, rows, progress)

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _require_room(self, rows: Sequence[Sequence[int]], more: int) -> None:
        if more < 1 or not all(rows):
            raise InputError("A language model needs a prompt of at least one token, and at least one token to write.")
        longest = max(map(len, rows), default=0)
        if longest + more > self.context:
            raise InputError(f"A prompt of {longest:,} tokens and {more:,} more do not fit in the {self.context:,} "
                             f"that '{self.name}' reads at once: shorten the prompt or max_tokens.")

    @abc.abstractmethod
    def _stream(self, rows: list[list[int]], limit: int, form: Form | None, ended: dict[int, str]) -> Iterator[Piece]:
        """Up to `limit` tokens of each row as they come, in any order; rows in `ended` need no more."""

    @abc.abstractmethod
    def _score(self, prefix: list[int], rows: list[list[int]], progress: Progress) -> np.ndarray:
        """Summed log-probability of each row's tokens after the prefix."""


def _before(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop words in it."""
    return text[:min((text.index(word) for word in stop if word in text), default=len(text))]
