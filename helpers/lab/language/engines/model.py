"""The interface that all engines of a language model share.

Those on this machine read token ids and give token ids: one tokenizer, that of the model's own file, serves them all,
so that they differ in their arithmetic only.
"""

import abc
import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.lab.errors import InputError
from helpers.lab.paths import whereabouts, write_atomically
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:  # pages of what was recorded open without transformers
    from transformers import PreTrainedTokenizerBase

HEARTBEAT_S = 0.2  # an engine lets its caller look at Cancel this often
SAVED, WEIGHTS = "language.json", "weights"  # what `LanguageModel.save` writes
# What a folder's model consists of; a .bin is OpenVINO's weights, elsewhere it would be a pickle.
_SUFFIXES = {"openvino": (".xml", ".bin"), "transformers": (".safetensors",)}
_BESIDE = (".json", ".jinja", ".model", ".txt")

Prompt = str | Sequence[Mapping[str, str]]  # what a user says, or messages {"role": …, "content": …}
Form = str | Mapping[str, Any]  # a regular expression, or a JSON schema
Piece = tuple[int | None, list[int]]  # (row, its new tokens); no row says that time has passed


@dataclasses.dataclass(frozen=True)
class Answer:
    """A model's answer, without the end token and without the stop word.

    tokens: its token ids; empty where a server does not show them.
    prompt_tokens, answer_tokens: how many were read and written, as a server counts them, or by our tokenizer.
    ended: "stop" where the model (or a stop word) ended it, "length" where `max_tokens` did; a server may know others,
        such as "content_filter".
    cached_tokens: those of the prompt that a server had in its cache; None where it does not say.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: str
    answer_tokens: int
    cached_tokens: int | None = None


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as messages.

    >>> from helpers.lab.language.engines.model import messages_of
    >>> messages_of("Hello")
    [{'role': 'user', 'content': 'Hello'}]
    """
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(part) for part in prompt]


class LanguageModel(abc.ABC):
    """A language model that answers prompts, on this machine or behind a server.

    Args:
        context: tokens of prompt and answer together, at most.
        stored: bytes of the file that the engine reads; 0 where the weights are elsewhere.
    """

    engine: str
    parameters: int | None = None  # numbers in its weights, where its file says so

    def __init__(self, name: str, context: int, stored: int) -> None:
        self.name, self.context, self.stored = name, context, stored

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands: no chat template, no marks around it.

        Raises:
            InputError: the tokens are not to be had.
        """
        raise self._without_tokens()

    def read(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt in the model's chat template, up to where the answer begins.

        A model without a template reads the plain text.

        Raises:
            InputError: the tokens are not to be had.
        """
        raise self._without_tokens()

    @abc.abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it stands; rather too many where they can only be estimated."""

    @abc.abstractmethod
    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int = 64, stop: Sequence[str] = (),
                 form: Form | None = None, progress: Progress = silent) -> list[Answer]:
        """An answer to each prompt: the likeliest token each time (greedy).

        Args:
            stop: an answer ends before the first of these.
            form: a regular expression or a JSON schema that answers keep to, where the engine can.
            progress: hears what is being written; asked several times a second whether to end.

        Raises:
            InputError: no tokens to read or to write, more than the context holds, a form that the engine lacks, or a
                server that does not answer.
            Cancelled: `progress` cancelled the work.
        """

    @abc.abstractmethod
    def score(self, prompt: Prompt, answers: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """(answers,) log-probability, in nats, that the model answers just so and then ends.

        The prompt is read once for all answers.

        Raises:
            InputError: no answers, an empty one, or more tokens than the context holds.
            Cancelled: `progress` cancelled the work.
        """

    def save(self, folder: Path) -> None:
        """Write into a folder what `load_saved` needs for the same answers.

        Raises:
            InputError: a full disk, or a folder that cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            facts = {"engine": self.engine, "name": self.name, **self._save(folder)}
        except OSError as error:
            raise InputError(f"'{self.name}' cannot be written ({error.strerror}). Free some disk space, or check who "
                             f"may write to {whereabouts(folder)}.") from error
        write_atomically(folder / SAVED, json.dumps(facts, indent=1))

    def _without_tokens(self) -> InputError:
        return InputError(f"'{self.name}' runs in {self.engine}, which does not show its tokenizer: load a model by "
                          "load_language_model, or ask count_tokens for an estimate.")

    @abc.abstractmethod
    def _save(self, folder: Path) -> dict[str, Any]:
        """Write files into the folder; further facts of the model, as JSON has them."""


def require_answers(answers: Sequence[str]) -> None:
    """Refuse to score nothing.

    Raises:
        InputError: no answers, or an empty one.
    """
    if not len(answers) or not all(answers):
        raise InputError("Scoring needs at least one answer, and none that is empty.")


class LocalModel(LanguageModel):
    """A causal language model with its tokenizer, in one of the engines on this machine.

    Args:
        ends: token ids that end an answer.
        path: the file or folder that the engine reads; None where the model was made in memory.
    """

    def __init__(self, name: str, tokenizer: "PreTrainedTokenizerBase", context: int, ends: Sequence[int], stored: int,
                 path: Path | None) -> None:
        super().__init__(name, context, stored)
        self.tokenizer, self.ends, self.path = tokenizer, frozenset(ends), path

    @property
    def end(self) -> int:
        """The token that the model ends an answer with: its tokenizer's; other ends may be a text's, not a turn's."""
        return self.tokenizer.eos_token_id if self.tokenizer.eos_token_id in self.ends else min(self.ends)

    def encode(self, texts):
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []

    def read(self, prompt):
        messages = messages_of(prompt)
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            text = "\n".join(message["content"] for message in messages)
        return self.encode([text])[0]

    def count_tokens(self, texts):
        return [len(ids) for ids in self.encode(texts)]

    def generate(self, prompts, *, max_tokens=64, stop=(), form=None, progress=silent):
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
        return [Answer(_before(self._decode(tokens), stop), tuple(tokens), len(ids), ended.get(row, "stop"),
                       len(tokens))
                for row, (ids, tokens) in enumerate(zip(rows, written, strict=True))]

    def score(self, prompt, answers, *, progress=silent):
        require_answers(answers)
        prefix = self.read(prompt)
        rows = [[*ids, self.end] for ids in self.encode(answers)]
        self._require_room([prefix], max(map(len, rows)))
        progress.check()
        return self._score(prefix, rows, progress)

    def _save(self, folder):
        weights = folder / WEIGHTS
        weights.mkdir(exist_ok=True)
        if self.path.is_file():
            copies = {self.path: weights / "weights.gguf"}
        else:
            copies = {file: weights / file.name for file in self.path.iterdir()
                      if file.suffix in (*_BESIDE, *_SUFFIXES[self.engine])}
        for file, copied in copies.items():
            if file.resolve() != copied.resolve():  # saved again where it was loaded from
                shutil.copyfile(file, copied)
        return {}

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
