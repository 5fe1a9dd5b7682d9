"""Distillation from a language model: what it says of messages trains a specialist, in the place of people's labels."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset

from helpers.lab.data.extraction import Extraction, extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.scores import MESSAGE, score_extractions
from helpers.lab.extraction.tagging.tag_training import NothingToLearn, train_tagger
from helpers.lab.measuring.intervals import mcnemar_p, paired_difference, significant_of_many, wilson
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import Model
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import baseline
from helpers.lab.training.weights import MINILM
from helpers.model_optimization.distillation.teacher_costs import Bill, asked, priced

PEOPLE = (0, 100, None)  # how many messages people have labelled; None: all
FOR_VALIDATION = 4  # every fourth of those serves to choose, not as an example
TAGGED_ROWS = 3_200  # a tagger's training rows over all epochs: the fewer there are, the more epochs
TIMED_TEXTS = 64
ON_TEACHER, ON_TEST = "messages that it labelled", "test messages"
_CHUNK = 8  # messages that a teacher labels between two looks at Cancel


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The differences between learning labels and learning extractions.

    ask: (texts, progress) -> the teacher's answers; people: of each training row what people say;
    train: (rows, answers, progress) -> (a specialist, None where there is nothing to learn; seconds that it took);
    right: answers, split, rows -> (n,) bool, which of them are right; answer: (specialist, texts) -> its answers;
    constant: what is answered where nothing was learned.
    """

    ask: Callable[[Sequence[str], Progress], list]
    people: Sequence[Any]
    train: Callable[[Sequence[int], Sequence[Any], Progress], tuple[Any, float]]
    right: Callable[[Sequence[Any], str, Sequence[int]], np.ndarray]
    answer: Callable[[Any, Sequence[str]], list]
    constant: Any


def people_labelled(task: Task, rows: int, seed: int = 0) -> Task:
    """The task as it is once people have labelled so many training messages, drawn at random: what a teacher may see.

    A quarter of them are its validation rows, on which settings are chosen. The messages that `teach_specialist` and
    `teach_tagger` give to the teacher are others, as long as there are enough, and all have the same seed.

    Raises:
        InputError: fewer than four rows, or more than there are.

    >>> from helpers.lab import load_task
    >>> from helpers.model_optimization import people_labelled
    >>> few = people_labelled(load_task("tickets"), 100)
    >>> len(few.train), len(few.validation)
    (75, 25)
    """
    if not FOR_VALIDATION <= rows <= len(task.train):
        raise InputError(f"People label {FOR_VALIDATION} to {len(task.train):,} of the training messages, not {rows}.")
    chosen = _order(task, seed)[:rows]
    return dataclasses.replace(task, train=task.train.select(np.delete(chosen, np.s_[::FOR_VALIDATION])),
                               validation=task.train.select(chosen[::FOR_VALIDATION]))


def teach_specialist(teacher: Model, task: Task, *, messages: int = 400, people: Sequence[int | None] = PEOPLE,
                     encoder: str | Path = MINILM, epochs: float | None = None, seed: int = 0,
                     token_price: tuple[float, float] | None = None, progress: Progress = silent) -> pd.DataFrame:
    """MiniLM fine-tuned on people's labels, with and without a teacher's labels of further messages.

    Args:
        teacher: labels the messages: a prompted language model, a tuned one, one behind an endpoint, or any other.
        messages: how many training messages it labels; people's labels of those stay unseen, but where people have
            labelled all: then a message comes twice, once with either label.
        people: how many training messages people have labelled; None: all.
        epochs: as in `baseline`, which trains each specialist.
        token_price: of a teacher behind an endpoint, dollars for a million tokens (read, written), which the server
            counts; any other is paid for its seconds of a machine.

    Returns:
        Its first row is the teacher itself, judged on the messages that it labelled; the second the constant answer.
        Then a row a specialist: columns name, people, taught (messages with the teacher's label), accuracy, low, high
        (Wilson, 95%), rows, on (which messages), gain, gain_low, gain_high (over the same people's labels alone;
        with none of these over the constant answer; paired, 95%), made_in_s, teacher_usd (for the labels),
        usd_per_million (requests), break_even (requests after which labels and training are repaid against asking the
        teacher itself; None: never), significant (the gain, all rows read together), teacher, offer.

    Raises:
        InputError: a task of images, other labels than the teacher's, fewer messages than one or more than there are,
            or a price of tokens where there are none to pay, or none where there are.
        Cancelled: the caller of `progress` wants an end.

    A model learns what it is shown: the labels of a teacher that is often wrong can take away what people's gave
    (Hinton et al., arXiv 1503.02531, for distillation; Wang et al., arXiv 2108.13487, for labels of language models).

    >>> from helpers.lab import load_language_model, load_task, prompted
    >>> from helpers.model_optimization import people_labelled, teach_specialist
    >>> task = load_task("tickets")
    >>> teacher = prompted(load_language_model("smollm2"), people_labelled(task, 100), select="none")  # doctest: +SKIP
    >>> teach_specialist(teacher, task)[["name", "accuracy", "gain"]]  # doctest: +SKIP
    """
    if task.input != "text":
        raise InputError(f"A language model labels texts; the task '{task.name}' has images.")
    bill = Bill(teacher, teacher.card.name, token_price)
    if teacher.card.labels and tuple(teacher.card.labels) != task.labels:
        raise InputError(f"'{teacher.card.name}' gives other labels than those of the task '{task.name}': make the "
                         "teacher for this task.")

    def ask(texts: Sequence[str], report: Progress) -> list[int]:
        predicted = []
        for start in range(0, len(texts), _CHUNK):
            report(start / len(texts), f"{teacher.card.name} labels message {start + 1:,} of {len(texts):,}")
            predicted += teacher.predict(texts[start:start + _CHUNK]).argmax(1).tolist()
        return predicted

    def train(rows: Sequence[int], labels: Sequence[int], report: Progress) -> tuple[Model, float]:
        model = baseline(_with_labels(task, rows, labels), encoder, epochs=epochs, seed=seed, progress=report)
        return model, model.card.made_in_s

    return _table(task, teacher.card.name, messages, people, seed, progress, _Kind(
        ask=ask, people=task.train["label"][:], train=train,
        right=lambda answers, split, rows: np.asarray(answers) == np.asarray(getattr(task, split)["label"])[rows],
        answer=lambda model, texts: model.predict(texts).argmax(1).tolist(),
        constant=int(np.bincount(task.test["label"][:]).argmax())), bill)


def teach_tagger(teacher: Extractor, task: Task, *, messages: int = 400, people: Sequence[int | None] = PEOPLE,
                 encoder: str | Path = MINILM, epochs: float | None = None, seed: int = 0,
                 token_price: tuple[float, float] | None = None, progress: Progress = silent) -> pd.DataFrame:
    """The same for extraction: a tagger trained on people's extractions, with and without a teacher's.

    Args:
        teacher: finds the fields of the messages: a prompted language model, a tuned one, or any other extractor.
        messages, people, encoder, token_price: as of `teach_specialist`.
        epochs: of each tagger; by default 4 to 16, so that few rows get as many steps.

    Returns:
        As `teach_specialist`; accuracy is the share of messages whose fields are all right, and the constant answer
        finds nothing. Nor does a tagger whose teacher found nothing that it could learn, see `train_tagger`.

    Raises:
        InputError: a task without fields, or as `teach_specialist`.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.lab import load_task, prompted_extractor
    >>> from helpers.model_optimization import people_labelled, teach_tagger
    >>> task = load_task("tickets-fields")
    >>> teacher = prompted_extractor(llm, people_labelled(task, 100), shots=2)  # doctest: +SKIP
    >>> teach_tagger(teacher, task)[["name", "accuracy", "gain"]]  # doctest: +SKIP
    """
    there, fields = {split: extractions(task, split) for split in ("train", "test")}, field_names(task)

    def train(rows: Sequence[int], extracted: Sequence[Extraction | None], report: Progress) -> tuple[Any, float]:
        began = time.perf_counter()
        part = dataclasses.replace(task, train=task.train.select(rows))
        try:
            tagger = train_tagger(part, extracted, encoder=encoder, seed=seed, progress=report,
                                  epochs=min(16.0, max(4.0, TAGGED_ROWS / len(rows))) if epochs is None else epochs)
        except NothingToLearn:
            return None, 0.0
        return tagger, time.perf_counter() - began

    return _table(task, teacher.name, messages, people, seed, progress, _Kind(
        ask=lambda texts, report: teacher.extract(texts, progress=report), people=there["train"], train=train,
        right=lambda answers, split, rows: score_extractions(answers, [there[split][row] for row in rows],
                                                             fields).right[MESSAGE],
        answer=lambda tagger, texts: [{}] * len(texts) if tagger is None else tagger.extract(texts), constant={}),
        Bill(teacher, teacher.name, token_price))


def _table(task: Task, name: str, messages: int, people: Sequence[int | None], seed: int, progress: Progress,
           kind: _Kind, bill: Bill) -> pd.DataFrame:
    """See `teach_specialist`: the teacher is asked, each specialist trained and judged, and then all are priced."""
    order, texts, tests = _order(task, seed), task.train["text"][:], task.test["text"][:]
    _require_rows(len(order), messages, people)
    shown = order[::-1][:messages]
    teacher = asked(lambda report: kind.ask([texts[row] for row in shown], report), bill, progress.part(0.0, 0.4))
    constant = kind.right([kind.constant] * len(tests), "test", range(len(tests)))
    rows = [_row(name, 0, messages, kind.right(teacher.answers, "train", shown), ON_TEACHER),
            _row("the constant answer", 0, 0, constant, ON_TEST)]
    trained, alone, first = {}, {0: constant}, None
    arms = [(len(order) if size is None else size, more) for size in people for more in (False, True) if size != 0
            or more]
    for number, (size, more) in enumerate(arms):
        part = progress.part(0.4 + 0.6 * number / len(arms), 0.4 + 0.6 * (number + 1) / len(arms))
        taught = _taught(order[:size], shown, len(order)) if more else []
        specialist, seconds = kind.train([*order[:size].tolist(), *shown[taught].tolist()],
                                         [*(kind.people[row] for row in order[:size]),
                                          *(teacher.answers[place] for place in taught)], part)
        right = kind.right(kind.answer(specialist, tests), "test", range(len(tests)))
        if specialist is not None:
            trained[len(rows)], first = seconds, first or specialist
        rows.append(_row(_name(size, len(order), len(taught)), size, len(taught), right, ON_TEST,
                         alone[size] if more else None))
        alone.setdefault(size, right)
    few = tests[:TIMED_TEXTS]
    request_s = _seconds_a_request(lambda: kind.answer(first, few), len(few), progress) if trained else math.nan
    progress(1.0, "done")
    frame = priced(rows, trained, request_s, teacher).assign(teacher=name)
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def _require_rows(count: int, messages: int, people: Sequence[int | None]) -> None:
    if not 1 <= messages <= count or not all(one is None or 0 <= one <= count for one in people):
        raise InputError(f"Of {count:,} training messages the teacher labels at least one, and people none to all: "
                         f"not {messages} and {', '.join(map(str, people))}.")


def _taught(by_people: np.ndarray, shown: np.ndarray, count: int) -> list[int]:
    """The places, among the messages shown to the teacher, of the ones that a specialist learns with its answer.

    All of them if people have labelled all `count`; else the ones that people have not labelled.
    """
    labelled = set(by_people.tolist()) if len(by_people) < count else set()
    return [place for place, row in enumerate(shown.tolist()) if row not in labelled]


def _row(name: str, people: int, taught: int, right: np.ndarray, on: str,
         without: np.ndarray | None = None) -> dict[str, Any]:
    """A row of the table, with its gain over what was right `without` the teacher, on the same messages."""
    low, high = wilson(int(right.sum()), len(right))
    gains = (math.nan,) * 3 if without is None else paired_difference(without, right)
    p = math.nan if without is None else mcnemar_p(without, right)
    return {"name": name, "people": people, "taught": taught, "accuracy": float(right.mean()), "low": low, "high": high,
            "rows": len(right), "on": on, **dict(zip(("gain", "gain_low", "gain_high"), gains, strict=True)), "p": p}


def _name(people: int, count: int, taught: int) -> str:
    by_people = f"all {people:,} labels of people" if people == count else f"{people:,} labels of people"
    by_teacher = f"{taught:,} of the teacher"
    return " and ".join([*([by_people] if people else []), *([by_teacher] if taught else [])])


def _order(task: Task, seed: int) -> np.ndarray:
    """(rows,) int64, all training rows at random: people label the first ones, the teacher the last."""
    return np.random.default_rng(seed).permutation(len(task.train))


def _with_labels(task: Task, rows: Sequence[int], labels: Sequence[int]) -> Task:
    texts = task.train.select(rows)["text"][:]
    return dataclasses.replace(task, train=Dataset.from_dict({"text": texts, "label": list(labels)}))


def _seconds_a_request(work: Callable[[], list], texts: int, progress: Progress) -> float:
    """The same for all specialists of a table, which differ in their weights alone."""
    with timing_turn(progress):
        return float(np.median(seconds_in_turns({"": work}, 3, progress=progress.part(1.0, 1.0))[""])) / texts
