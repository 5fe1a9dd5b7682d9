"""A language model as a classifier: known labels are scored behind a prompt with an instruction and examples."""

import collections
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.language.examples import LEAST_ROOM, SELECTIONS, SYSTEM_TOKENS, TURN_TOKENS, Nearest, shortened
from helpers.lab.language.loading import load_saved
from helpers.lab.models.model import Card, saving
from helpers.lab.progress import Progress, silent

MEAN, CALIBRATED = "per-token mean", "calibrated"
_VALIDATION_ROWS = 48  # on which the correction is chosen
_CONTENT_FREE = "N/A"  # as Zhao et al. have it
_TRIED = 4  # times as many examples are looked at as are wanted: some may be too long


def prompted(llm: LanguageModel, task: Task, shots: int = 8, select: str = "nearest", *,
             progress: Progress = silent) -> "PromptedModel":
    """A Model whose answers are a language model's, with examples in its prompt and no training.

    Args:
        shots: examples, fewer where they do not fit into what the model reads at once.
        select: "none": the instruction and the labels alone. "fixed": training rows drawn once, each class in its turn.
            "nearest": for each text the training rows that are most like it (TF-IDF of words), the nearest one last.

    Scores of long labels are sums over more tokens. What corrects them is chosen on up to 48 validation rows, and named
    in the card: the mean over a label's tokens, or, if that is right more often, the score less that behind a text
    without content (Zhao et al., Calibrate Before Use, 2021), which also takes out a general liking for a label. That
    text has the fixed examples before it, but no nearest ones: it is like none.

    Returns:
        logits (n, classes) float32: the corrected log-probabilities.

    Raises:
        InputError: an unknown selection, a task of images, no shots, labels that leave no room for a text, or what the
            language model itself refuses.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.lab import load_language_model, load_task, prompted
    >>> task = load_task("tickets")
    >>> model = prompted(load_language_model("smollm2"), task, shots=4)  # doctest: +SKIP
    >>> model.predict(["where is my parcel?"]).shape  # doctest: +SKIP
    (1, 25)
    """
    if select not in SELECTIONS:
        raise InputError(f"Unknown selection '{select}'. Choose one of: {', '.join(SELECTIONS)}.")
    if task.input != "text":
        raise InputError(f"The task '{task.name}' has images, and a language model reads texts: choose another task.")
    if select != "none" and shots < 1:
        raise InputError(f"Examples are at least one, not {shots}: use select='none' for a prompt without them.")
    began = time.perf_counter()
    shots = shots if select != "none" else 0
    texts, labels = task.train["text"][:], task.train["label"][:]
    rows = _in_turns(labels)[:{"none": 0, "fixed": shots, "nearest": None}[select]]
    what = f"{shots} {select} examples" if shots else "instruction alone"
    settings = {"runtime": "prompted", "engine": llm.engine, "select": select, "shots": shots}
    card = Card(f"{llm.name} ({llm.engine}), {what}", len(task.labels), "efficient architectures", settings,
                labels=task.labels)
    plain = PromptedModel(card, llm, [(texts[row], labels[row]) for row in rows], None)
    return _with_best_correction(plain, task, began, progress)


def label_words(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as one would say them; as they are where two would be said alike.

    >>> from helpers.lab.language.prompting import label_words
    >>> label_words(["refund_status", "cancelOrder", "other"])
    ('refund status', 'cancel Order', 'other')
    """
    words = [" ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).replace("_", " ").split()) for label in labels]
    return tuple(words) if all(words) and len(set(words)) == len(words) else tuple(labels)


class PromptedModel:
    """See `prompted`.

    Args:
        card: its labels are what is scored; its settings say how many examples are shown and how they are selected.
        examples: (text, number of its label) to select from.
        prior: (classes,) scores behind a text without content; None: the mean over a label's tokens.
    """

    runtime = "prompted"

    def __init__(self, card: Card, llm: LanguageModel, examples: Sequence[tuple[str, int]],
                 prior: np.ndarray | None) -> None:
        self.card, self.llm, self.examples, self.prior = card, llm, list(examples), prior
        self.words = label_words(card.labels)
        self.instruction = ("Which label fits the text? Answer with the label alone.\n"
                            f"Labels: {', '.join(self.words)}\n\n")
        self._lengths = np.array(llm.count_tokens(self.words)) + 1  # (classes,); the end is a token, too
        taken = llm.count_tokens([self.instruction])[0] + int(self._lengths.max()) + SYSTEM_TOKENS + TURN_TOKENS
        self._room = llm.context - taken
        if self._room < LEAST_ROOM:
            raise InputError(f"The names of {card.classes:,} labels take {taken:,} of the {llm.context:,} tokens that "
                             f"'{llm.name}' reads at once, and leave no room for a text: use fewer or shorter labels.")
        if card.settings["select"] == "nearest":
            self._nearest = Nearest([text for text, _ in self.examples])

    def predict(self, inputs: Sequence[str]) -> np.ndarray:
        """(n, classes) float32 corrected log-probabilities of n texts."""
        return self.corrected(self.scores(inputs))

    def scores(self, inputs: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """(n, classes) log-probabilities of the labels, as the language model gives them."""
        log_probs = np.empty((len(inputs), self.card.classes))
        for row, text in enumerate(inputs):
            progress(row / len(inputs), f"text {row + 1} of {len(inputs)}")
            log_probs[row] = self.llm.score(self.prompt(text), self.words, progress=progress)
        return log_probs

    def corrected(self, scores: np.ndarray) -> np.ndarray:
        """(n, classes) float32 of (n, classes) scores: see `prompted`."""
        return (scores / self._lengths if self.prior is None else scores - self.prior).astype(np.float32)

    def prompt(self, text: str) -> list[dict[str, str]]:
        """Return the prompt: examples as turns of a conversation, then the text, cut where it is too long.

        The instruction stands in the first turn, since not every chat template knows a system's.
        """
        text = shortened(self.llm, text, self._room // 2)
        return self._messages(text, self._shown(text))

    def tokens(self, inputs: Sequence[str]) -> list[tuple[int, int]]:
        """(tokens read, tokens written) of each text, for a price of tokens; the answer is the longest label's.

        What a chat template puts around a turn is estimated.
        """
        counted = []
        for text in inputs:
            contents = [part["content"] for part in self.prompt(text)]
            counted.append((sum(self.llm.count_tokens(contents)) + TURN_TOKENS * len(contents),
                            int(self._lengths.max())))
        return counted

    def content_free(self) -> list[dict[str, str]]:
        """Return the prompt without a text, for the model's `prior`."""
        nearest = self.card.settings["select"] == "nearest"
        return self._messages(_CONTENT_FREE, [] if nearest else self._shown(_CONTENT_FREE))

    def save(self, path: Path) -> None:
        """Write the card, the examples and the language model into the folder `path`."""
        facts = {"examples": self.examples, "prior": None if self.prior is None else self.prior.tolist()}
        with saving(path, self.runtime, self.card) as folder:
            (folder / "prompt.json").write_text(json.dumps(facts), encoding="utf-8")
            self.llm.save(folder / "language")

    @classmethod
    def load(cls, path: Path, card: Card, max_tokens: int | None) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((path / "prompt.json").read_text(encoding="utf-8"))
        prior = None if facts["prior"] is None else np.array(facts["prior"], float)
        examples = [(str(text), int(label)) for text, label in facts["examples"]]
        return cls(card, load_saved(path / "language"), examples, prior)

    def _shown(self, text: str) -> list[tuple[str, int]]:
        """The examples that are wanted most and fit beside a text, in their order in the prompt."""
        room = self._room - self.llm.count_tokens([text])[0]
        shown: list[tuple[str, int]] = []
        for example in self._candidates(text):
            size = sum(self.llm.count_tokens([_turn(example[0]), self.words[example[1]]])) + 2 * TURN_TOKENS
            if size <= room // 2 and example not in shown:  # none takes the room of all others
                shown.append(example)
                room -= size
            if len(shown) == self.card.settings["shots"]:
                break
        if self.card.settings["select"] == "nearest":
            shown.reverse()
        return shown

    def _messages(self, text: str, shown: Sequence[tuple[str, int]]) -> list[dict[str, str]]:
        messages = []
        for content, label in shown:
            messages += [{"role": "user", "content": _turn(content)},
                         {"role": "assistant", "content": self.words[label]}]
        messages.append({"role": "user", "content": _turn(text)})
        messages[0]["content"] = self.instruction + messages[0]["content"]
        return messages

    def _candidates(self, text: str) -> list[tuple[str, int]]:
        """Examples for a text, the most wanted first."""
        if self.card.settings["select"] != "nearest":
            return self.examples
        # The first of equally similar ones, or of ones not similar at all: in them each class has its turn.
        return [self.examples[row] for row in self._nearest.rows(text, _TRIED * self.card.settings["shots"])]


def _with_best_correction(plain: PromptedModel, task: Task, began: float, progress: Progress) -> PromptedModel:
    """The model with the correction that is right more often on some validation rows; if in doubt, the mean."""
    rows = np.random.default_rng(0).permutation(len(task.validation))[:_VALIDATION_ROWS]
    chosen = task.validation.select(rows)
    prior = plain.llm.score(plain.content_free(), plain.words, progress=progress)
    scores, labels = plain.scores(chosen["text"][:], progress), np.asarray(chosen["label"][:])
    calibrated = PromptedModel(plain.card, plain.llm, plain.examples, prior)
    right = [int((model.corrected(scores).argmax(axis=1) == labels).sum()) for model in (plain, calibrated)]
    best = calibrated if right[1] > right[0] else plain
    best.card = best.card.derive(best.card.name, best.card.strategy, time.perf_counter() - began,
                                 correction=CALIBRATED if best is calibrated else MEAN)
    progress(1.0, "done")
    return best


def _in_turns(labels: Sequence[int]) -> list[int]:
    """(rows,) indices in random order, but each class once before one comes again."""
    order = np.random.default_rng(0).permutation(len(labels))
    seen: collections.Counter[int] = collections.Counter()
    turns = []
    for row in order:
        turns.append(seen[labels[row]])
        seen[labels[row]] += 1
    return [int(row) for row in order[np.argsort(turns, kind="stable")]]


def _turn(text: str) -> str:
    return f"Text: {text}\nLabel:"
