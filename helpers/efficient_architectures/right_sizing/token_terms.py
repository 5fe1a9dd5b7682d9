"""The ladder's last rung: a hosted language model by the token, from the reader's own counts, with its terms."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts
from helpers.lab.measuring.intervals import wilson
from helpers.lab.money.costs import ApiPrice, api_price, api_prices

if TYPE_CHECKING:
    from helpers.lab.data.task import Task
    from helpers.lab.extraction.prompting import PromptedExtractor

LIST_PRICE, CACHED, BATCHES = "list price", "with the beginning cached", "in batches"


@dataclasses.dataclass(frozen=True)
class RequestTokens:
    """Tokens of a mean request: read, written, and of those read the ones that all requests begin with.

    Raises:
        InputError: none read, fewer than none written, or more shared than read.
    """

    read: float
    written: float
    shared: float = 0.0

    def __post_init__(self) -> None:
        if not (self.read > 0 and self.written >= 0 and 0 <= self.shared <= self.read):
            raise InputError(f"A request reads some tokens, writes 0 or more, and shares 0 to all of those read; not "
                             f"{self.read:g}, {self.written:g} and {self.shared:g}.")


def request_tokens(extractor: "PromptedExtractor", task: "Task", rows: int | None = None) -> RequestTokens:
    """The tokens that an extractor's prompts and the right answers have for a task's test messages, by its tokenizer.

    Other tokenizers differ by some tenths. `shared` are the tokens that all of these prompts begin with.

    Args:
        rows: the first so many test messages; None: all.

    Raises:
        InputError: fewer than two messages: one prompt alone is shared as a whole.
    """
    texts, expected = task.test["text"][:rows], extractions(task, "test")[:rows]
    if len(texts) < 2:
        raise InputError("What requests share is counted in at least two test messages; give more rows than "
                         f"{len(texts)}.")
    prompts = [extractor.llm.read(extractor.prompt(text)) for text in texts]
    answers = [answer for _, answer in extractor.tuning_rows(list(zip(texts, expected, strict=True)))]
    # Where the first and the last of the sorted prompts part, all of them have parted.
    first, last = min(prompts), max(prompts)
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return RequestTokens(float(np.mean([len(prompt) for prompt in prompts])),
                         float(np.mean(extractor.llm.count_tokens(answers))), float(shared))


def hosted_prompts(task: "Task", rows: int) -> pd.DataFrame:
    """What to ask a hosted model, so that `hosted_rungs` can score its answers.

    Returns:
        One row for each of the first `rows` test messages: message (from 1 on), and prompt, the instruction with it.

    Raises:
        InputError: no row, more than there are test messages, or a task without fields.

    >>> from helpers.efficient_architectures import hosted_prompts
    >>> from helpers.lab import load_task
    >>> hosted_prompts(load_task("tickets-fields"), 2)["message"].tolist()
    [1, 2]
    """
    from helpers.lab.extraction.prompting import instruction

    if not 0 < rows <= len(task.test):
        raise InputError(f"Ask about 1 to {len(task.test):,} test messages, not {rows:,}.")
    asked = instruction(field_names(task), task.labels)
    return pd.DataFrame({"message": range(1, rows + 1),
                         "prompt": [f"{asked}\n\n{text}" for text in task.test["text"][:rows]]})


def hosted_rungs(tokens: RequestTokens, names: Sequence[str] | None = None, *, task: "Task | None" = None,
                 answers: Sequence[str] | None = None) -> pd.DataFrame:
    """Dollars per million requests of hosted models: at list price, with the shared beginning cached, and in batches.

    Args:
        tokens: counted by request_tokens, or the reader's own.
        names: 'VENDOR MODEL' as in `api_prices`; by default all of them.
        answers: what such a model wrote for the first test messages of `task`, in their order, if there are any: see
            hosted_prompts. An answer without a JSON object resolves nothing.

    Returns:
        One row a model and its terms: model, terms, usd_per_million; resolved with resolved_low and resolved_high, and
        usd_per_million_resolved (NaN without answers: then nobody measured it); as_of, source_url. Terms without a
        sourced price have no row, nor has a beginning too short to be cached. Joules are published by nobody.

    Raises:
        InputError: an unknown name, answers without a task, or more of them than test messages.

    >>> from helpers.efficient_architectures import RequestTokens, hosted_rungs
    >>> rows = hosted_rungs(RequestTokens(read=1500, written=60, shared=1200), ["OpenAI gpt-5.4-mini"])
    >>> rows[["terms", "usd_per_million"]].round(1).values.tolist()
    [['list price', 1395.0], ['with the beginning cached', 585.0], ['in batches', 697.5]]
    """
    prices = {name: api_price(name) for name in names or api_prices()}
    resolved, low, high = _quality(task, answers)
    rows = []
    for name, price in prices.items():
        for terms, usd, source in _bills(price, tokens):
            rows.append({"model": name, "terms": terms, "usd_per_million": usd, "resolved": resolved,
                         "resolved_low": low, "resolved_high": high,
                         "usd_per_million_resolved": usd / resolved if resolved else np.nan,
                         "as_of": source["as_of"], "source_url": source["source_url"]})
    return pd.DataFrame(rows)


def _bills(price: ApiPrice, tokens: RequestTokens) -> list[tuple[str, float, dict[str, str]]]:
    """(terms, dollars a million requests, their source) of all terms that have a sourced price."""
    listed = {"as_of": price.as_of, "source_url": price.source_url}
    plain = 1e6 * price.usd(tokens.read, tokens.written)
    terms = next((row for row in read_facts("api_terms") if row["vendor"] == price.vendor), None)
    bills = [(LIST_PRICE, plain, listed)]
    if terms and price.caches(tokens.shared):
        bills.append((CACHED, 1e6 * price.usd(tokens.read, tokens.written, tokens.shared), terms))
    if terms and terms["batch_discount"]:
        bills.append((BATCHES, plain * (1 - float(terms["batch_discount"])), terms))
    return bills


def _quality(task: "Task | None", answers: Sequence[str] | None) -> tuple[float, float, float]:
    if answers is None:
        return (float("nan"),) * 3
    from helpers.lab.extraction.prompting import parse_answer  # a page shows prices without what reads answers
    from helpers.lab.extraction.scores import WITH_WISH, score_extractions

    if task is None or not 0 < len(answers) <= len(task.test):
        raise InputError(f"The {len(answers)} answers need the task that they are about, with a test message for each: "
                         "hosted_rungs(tokens, task=task, answers=answers).")
    fields = field_names(task)
    score = score_extractions([parse_answer(answer, fields) for answer in answers],
                              extractions(task, "test")[:len(answers)], fields)
    return score[WITH_WISH], *wilson(int(score.right[WITH_WISH].sum()), len(answers))
