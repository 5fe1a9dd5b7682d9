"""A language model as an extractor: from an instruction alone, or with examples, held to a JSON schema or free."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from helpers.lab.data.extraction import Extraction, extractions, field_names
from helpers.lab.data.labels import WISH
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.language.examples import LEAST_ROOM, SELECTIONS, SYSTEM_TOKENS, TURN_TOKENS, Nearest, shortened
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:
    from helpers.lab.language.engines.model import Answer, LanguageModel

MAX_ANSWER = 96  # tokens; the longest right answer of tickets-fields has some 80
MAX_VALUE = 60  # characters of a value in a form: a small model may not find an end by itself
_EXAMPLES = "examples.json"
_MEANINGS = {
    "order": "the number of the order, contract, return or invoice",
    "product": "the product or plan that the message is about",
    "amount": "the sum of money that it is about",
    "date": "the day or month that it is about",
}

Example = tuple[str, Extraction]


class PromptedExtractor(Extractor):
    """Asks a language model for the wish and the fields as one JSON object.

    Args:
        llm: see load_language_model; or any other with its `generate`.
        wishes: the ones to choose from.
        examples: texts and what is to be found in them; training rows.
        shots: examples shown in each prompt; fewer where they would not fit.
        select: "none"; "fixed", the first ones for all texts; "nearest", those likest the text by TF-IDF, the likest
            one last. A text is never its own example.
        form: whether answers are held to a JSON schema, which the engines OpenVINO and llama.cpp can.
        meanings: whether the instruction says of each key what it means, or names it alone.
        max_answer: tokens of an answer, at most; one that is cut is no valid JSON.

    Raises:
        InputError: an unknown selection, no token to answer with, no examples to select from, or wishes that leave no
            room for a text.
    """

    kind = "prompted"

    def __init__(self, llm: "LanguageModel", fields: Sequence[str], wishes: Sequence[str],
                 examples: Sequence[Example] = (), *, shots: int = 8, select: str = "nearest",
                 form: bool = True, meanings: bool = True, max_answer: int = MAX_ANSWER) -> None:
        if max_answer < 1:
            raise InputError(f"An answer of {max_answer} tokens says nothing: allow at least one.")
        if select not in SELECTIONS:
            raise InputError(f"Unknown selection '{select}'. Choose one of: {', '.join(SELECTIONS)}.")
        if select != "none" and not (shots > 0 and examples):
            raise InputError(f"The selection '{select}' needs at least one example, and at least one shot: give "
                             "training rows, or select='none'.")
        shown = "instruction alone" if select == "none" else f"{shots} {select} examples"
        super().__init__(f"{llm.name}, {shown}{'' if form else ', free form'}", fields, {
            "model": llm.name, "engine": llm.engine, "shots": 0 if select == "none" else shots, "select": select,
            "form": form, "meanings": meanings, "max_answer": max_answer})
        self.llm, self.wishes = llm, tuple(wishes)
        # Half of what the instruction leaves: the other half is for examples.
        self._room = (llm.context - max_answer - self._tokens(self._messages([], ""))) // 2
        if self._room < LEAST_ROOM:
            raise InputError(f"The names of {len(self.wishes):,} wishes leave no room for a text in the "
                             f"{llm.context:,} tokens that '{llm.name}' reads at once: use fewer or shorter names.")
        self.examples = {"none": [], "fixed": list(examples[:shots]), "nearest": list(examples)}[select]
        if select == "nearest":
            self._nearest = Nearest([text for text, _ in self.examples])

    @property
    def stored(self) -> int:
        """Bytes of the model's file, and of the examples."""
        return self.llm.stored + super().stored

    def extract(self, texts: Sequence[str], *, progress: Progress = silent) -> list[Extraction | None]:
        """See Extractor.

        Raises:
            InputError: what `generate` of the language model raises.
        """
        return [parse_answer(answer.text, self.fields) for answer in self.ask(texts, progress=progress)]

    def ask(self, texts: Sequence[str], *, progress: Progress = silent) -> "list[Answer]":
        """The answer to each text as the model wrote it, with the tokens that were read and written; see `extract`."""
        schema = self._schema() if self.settings["form"] else None
        return self.llm.generate([self.prompt(text) for text in texts], max_tokens=self.settings["max_answer"],
                                 form=schema, progress=progress)

    def prompt(self, text: str) -> list[dict[str, str]]:
        """Return the prompt as messages: the instruction, the examples that fit, the text.

        A text that takes more than half of the room is cut.
        """
        examples, text = self._examples_for(text), shortened(self.llm, text, self._room)
        room = self.llm.context - self.settings["max_answer"]
        while examples and self._tokens(self._messages(examples, text)) > room:
            examples = examples[1:]  # the least like it
        return self._messages(examples, text)

    def tuning_rows(self, examples: Sequence[Example]) -> list[tuple[list[dict[str, str]], str]]:
        """(prompt without examples, right answer) of each text: what `tune` takes."""
        return [(self._messages([], shortened(self.llm, text, self._room)), self._answer(found))
                for text, found in examples]

    def _tokens(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a prompt, with room for what a chat template puts before all messages and around each."""
        counts = self.llm.count_tokens([message["content"] for message in messages])
        return sum(counts) + SYSTEM_TOKENS + TURN_TOKENS * len(messages)

    def _examples_for(self, text: str) -> list[Example]:
        if self.settings["select"] != "nearest":
            return [example for example in self.examples if example[0] != text]
        nearest = self._nearest.rows(text, self.settings["shots"] + 1)
        others = [self.examples[row] for row in nearest if self.examples[row][0] != text]
        return others[:self.settings["shots"]][::-1]

    def _messages(self, examples: Sequence[Example], text: str) -> list[dict[str, str]]:
        """The instruction stands in the first turn of the user: not every chat template has a system's turn."""
        turns = []
        for shown, found in examples:
            turns += [("user", shown), ("assistant", self._answer(found))]
        turns.append(("user", text))
        asked = instruction(self.fields, self.wishes, self.settings["meanings"])
        turns[0] = ("user", f"{asked}\n\n{turns[0][1]}")
        return [{"role": role, "content": content} for role, content in turns]

    def _answer(self, fields: Extraction) -> str:
        return json.dumps({name: fields.get(name, "") for name in (WISH, *self.fields)}, ensure_ascii=False)

    def _schema(self) -> dict[str, Any]:
        kinds: dict[str, Any] = {WISH: {"enum": list(self.wishes)}}
        kinds |= {field: {"type": "string", "maxLength": MAX_VALUE} for field in self.fields}
        return {"type": "object", "properties": kinds, "required": list(kinds), "additionalProperties": False}

    def _save(self, path: Path) -> dict[str, Any]:
        write_atomically(path / _EXAMPLES, json.dumps(self.examples, ensure_ascii=False))
        return {"wishes": self.wishes}

    @classmethod
    def read(cls, path: Path, facts: Mapping[str, Any], llm: "LanguageModel | None") -> Self:
        """Load what `save` wrote, with the language model given."""
        settings = facts["settings"]
        if llm is None:
            raise InputError(f"'{facts['name']}' needs its language model: load_extractor(path, llm), where it was "
                             f"'{settings['model']}' in {settings['engine']}.")
        examples = [(text, found) for text, found in json.loads((path / _EXAMPLES).read_text(encoding="utf-8"))]
        return cls(llm, facts["fields"], facts["wishes"], examples, shots=settings["shots"], select=settings["select"],
                   form=settings["form"], meanings=settings["meanings"], max_answer=settings["max_answer"])


def prompted_extractor(llm: "LanguageModel", task: Task, *, shots: int = 8, select: str = "nearest",
                       form: bool = True, meanings: bool = True,
                       max_answer: int = MAX_ANSWER) -> PromptedExtractor:
    """A PromptedExtractor for the fields and wishes of a task, its examples the training rows.

    Raises:
        InputError: a task without fields, or as PromptedExtractor.

    >>> from helpers.lab import load_language_model, load_task
    >>> from helpers.lab.extraction.prompting import prompted_extractor
    >>> ask = prompted_extractor(load_language_model("smollm2"), load_task("tickets-fields"))  # doctest: +SKIP
    >>> ask.extract(["Where is my doorbell, order HB-52347?"])  # doctest: +SKIP
    [{'wish': 'delivery_late', 'order': 'HB-52347', 'product': 'doorbell'}]
    """
    order = np.random.default_rng(0).permutation(len(task.train)) if select == "fixed" else range(len(task.train))
    texts, extracted = task.train["text"][:], extractions(task, "train")
    return PromptedExtractor(llm, field_names(task), task.labels, [(texts[row], extracted[row]) for row in order],
                             shots=shots, select=select, form=form, meanings=meanings, max_answer=max_answer)


def instruction(fields: Sequence[str], wishes: Sequence[str], meanings: bool = True) -> str:
    """Return the instruction before the message: the keys, and the meaning of each or its name alone.

    >>> from helpers.lab.extraction.prompting import instruction
    >>> instruction(["order"], ["refund", "late"], meanings=False)
    'Answer with one JSON object. wish: one of refund, late; order'
    """
    keys = "\n".join(f"{field}: {_MEANINGS.get(field, field)}" for field in fields)
    if not meanings:
        return f"Answer with one JSON object. {WISH}: one of {', '.join(wishes)}; {'; '.join(fields)}"
    return ("Read the customer's message. Answer with one JSON object and nothing else. Its keys:\n"
            f"{WISH}: one of {', '.join(wishes)}\n{keys}\n"
            'Copy each value from the message as it stands there, but for the wish. Write "" for what the message '
            "does not have.")


def parse_answer(answer: str, fields: Sequence[str]) -> Extraction | None:
    """The JSON object that begins at the first brace of an answer; None where none does.

    Values that are no text or number, empty ones and those of other names are left out.

    >>> from helpers.lab.extraction.prompting import parse_answer
    >>> parse_answer('Sure! {"wish": "refund", "amount": 5, "order": ""} Anything else?', ["order", "amount"])
    {'wish': 'refund', 'amount': '5'}
    """
    try:
        values, _ = json.JSONDecoder().raw_decode(answer, answer.index("{"))
    except (ValueError, RecursionError):
        return None
    plain = {name: str(value).strip() for name, value in values.items()
             if name in (WISH, *fields) and isinstance(value, str | int | float) and not isinstance(value, bool)}
    return {name: value for name, value in plain.items() if value}
