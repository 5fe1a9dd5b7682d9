"""Token budgets: fewer examples, a trimmed template, a limit of the answer. What each costs, and what it finds."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from helpers.lab.data.extraction import Extraction, extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.prompting import MAX_ANSWER, PromptedExtractor, parse_answer, prompted_extractor
from helpers.lab.extraction.scores import VALID, score_extractions
from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.measuring.intervals import bootstrap_interval, paired_mean_interval
from helpers.lab.money.costs import api_prices
from helpers.lab.progress import Progress, silent

PRICE = "Mistral ministral-8b"  # of a hosted model, which tokens are paid at
TOLERATED = 0.05  # share of fields that a cheaper budget may find fewer


@dataclasses.dataclass(frozen=True)
class Budget:
    """A request's budget: examples in its prompt, the meanings of the keys, tokens of the answer."""

    shots: int
    meanings: bool = True
    max_answer: int = MAX_ANSWER


BUDGETS: Mapping[str, Budget] = {
    "8 examples": Budget(8),
    "4 examples": Budget(4),
    "4 examples, template trimmed": Budget(4, meanings=False),
    "4 examples, 48 tokens of answer": Budget(4, max_answer=48),
    "1 example": Budget(1),
    "1 example, template trimmed": Budget(1, meanings=False),
    "no example": Budget(0),
}


def compare_budgets(llm: LanguageModel, task: Task, budgets: Mapping[str, Budget] = BUDGETS, *, rows: int = 48,
                    split: Literal["validation", "test"] = "validation", progress: Progress = silent) -> pd.DataFrame:
    """The same messages by each budget: tokens, dollars, and the share of fields that are found; the first refers.

    Budgets are chosen on validation rows and reported on test rows (`cheapest_budget` names the one to report).

    Args:
        llm: asked for the fields; see `prompted_extractor`. Its answers are held to a form where its engine can.
        task: with fields, as `load_task("tickets-fields")`.
        rows: messages, the first of the split.

    Returns:
        A row a budget: budget, prompt_tokens, answer_tokens (means), right (mean over messages of the share of fields
        with the right value, absent ones too), low, high (95%, bootstrap over messages), difference, difference_low,
        difference_high (paired with the first), valid (share of answers that are JSON), constant (right of an empty
        answer to each message), usd_per_million (requests, at PRICE; see `at_prices`), rows, split.

    Raises:
        InputError: no budget, no row, a task without fields, or what the model refuses.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.hardware_codesign import compare_budgets
    >>> from helpers.lab import load_language_model, load_task
    >>> llm, fields = load_language_model("smollm2"), load_task("tickets-fields")
    >>> compare_budgets(llm, fields, rows=8)["right"].between(0, 1).all()  # doctest: +SKIP
    True
    """
    if not budgets or rows < 1:
        raise InputError("Budgets are compared on at least one message, and there is at least one budget.")
    expected = extractions(task, split)[:rows]
    texts, names = getattr(task, split)["text"][:rows], field_names(task)
    constant = _shares([{} for _ in texts], expected, names)[0].mean()
    scored, reference = [], None
    for place, (name, budget) in enumerate(budgets.items()):
        answers = _asker(llm, task, budget).ask(texts, progress=progress.part(place / len(budgets),
                                                                              (place + 1) / len(budgets)))
        share, valid = _shares([parse_answer(answer.text, names) for answer in answers], expected, names)
        reference = share if reference is None else reference
        read, written = (float(np.mean([getattr(answer, which) for answer in answers]))
                         for which in ("prompt_tokens", "answer_tokens"))
        right = dict(zip(("right", "low", "high"), bootstrap_interval(np.mean, share), strict=True))
        apart = dict(zip(("difference", "difference_low", "difference_high"), paired_mean_interval(reference, share),
                         strict=True))
        scored.append({"budget": name, "prompt_tokens": read, "answer_tokens": written, **right, **apart,
                      "valid": valid, "constant": float(constant)})
    progress(1.0, "done")
    listed = api_prices()[PRICE]
    return at_prices(pd.DataFrame(scored), listed.input_usd_per_million_tokens,
                     listed.output_usd_per_million_tokens).assign(rows=len(texts), split=split)


def at_prices(tried: pd.DataFrame, usd_in: float, usd_out: float) -> pd.DataFrame:
    """The same budgets at other prices of tokens, in usd_per_million; tokens are those of this model's tokenizer.

    Args:
        tried: what `compare_budgets` returned.
        usd_in, usd_out: dollars for a million tokens read, and written.

    >>> import pandas as pd
    >>> from helpers.hardware_codesign import at_prices
    >>> tried = pd.DataFrame({"budget": ["8 examples"], "prompt_tokens": [900.0], "answer_tokens": [50.0]})
    >>> at_prices(tried, usd_in=0.5, usd_out=2.0)["usd_per_million"].tolist()
    [550.0]
    """
    return tried.assign(usd_per_million=usd_in * tried["prompt_tokens"] + usd_out * tried["answer_tokens"])


def _asker(llm: LanguageModel, task: Task, budget: Budget) -> PromptedExtractor:
    """Held to a form where the engine can: transformers cannot."""
    return prompted_extractor(llm, task, shots=max(1, budget.shots), select="nearest" if budget.shots else "none",
                              form=llm.engine != "transformers", meanings=budget.meanings,
                              max_answer=budget.max_answer)


def cheapest_budget(tried: pd.DataFrame) -> str:
    """The cheapest budget that finds at most TOLERATED fewer of the fields than the first one (95%).

    If none is certain to, it is the first one itself, whose difference is 0.

    Args:
        tried: what `compare_budgets` returned, of validation rows.
    """
    enough = tried[tried["difference_low"].fillna(-1.0).ge(-TOLERATED) | (tried.index == tried.index[0])]
    return str(enough.loc[enough["usd_per_million"].idxmin(), "budget"])


def budget_verdict(tested: pd.DataFrame) -> str:
    """Compute what the chosen budget saves and loses beside the first one, on rows on which it was not chosen.

    Args:
        tested: what `compare_budgets` returned of the first budget and the chosen one; one row where they are the same.

    >>> import pandas as pd
    >>> from helpers.hardware_codesign import budget_verdict
    >>> budget_verdict(pd.DataFrame({"budget": ["8 examples"], "usd_per_million": [90.0], "right": [0.6],
    ...                              "low": [0.5], "high": [0.7], "constant": [0.4], "split": ["test"]}))
    "No cheaper budget finds as much as '8 examples': 60% of the fields at $90.00 a million requests."
    """
    first, chosen = tested.iloc[0], tested.iloc[-1]
    if not chosen["low"] > chosen["constant"]:
        beside = "fewer than" if chosen["high"] < chosen["constant"] else "no significant difference from"
        return (f"'{chosen['budget']}' finds {chosen['right']:.0%} of the fields, {beside} an empty answer to each "
                f"message ({chosen['constant']:.0%}): no budget pays with this model.")
    if len(tested) == 1:
        return (f"No cheaper budget finds as much as '{first['budget']}': {first['right']:.0%} of the fields at "
                f"${first['usd_per_million']:.2f} a million requests.")
    low, high = 100 * chosen["difference_low"], 100 * chosen["difference_high"]
    lost = (f"{100 * chosen['difference']:+.1f} points of the fields ({low:+.1f} to {high:+.1f}"
            f"{'' if low > 0 or high < 0 else ', no significant difference'})")
    return (f"'{chosen['budget']}' costs ${chosen['usd_per_million']:.2f} a million requests, "
            f"{chosen['usd_per_million'] / first['usd_per_million']:.0%} of '{first['budget']}', and finds "
            f"{chosen['right']:.0%}: {lost}, on rows on which it was not chosen.")


def _shares(extractions: list[Extraction | None], expected: list[Extraction], names: tuple[str, ...]
            ) -> tuple[np.ndarray, float]:
    """(messages,) share of the fields that are right in each, and the share of answers that are JSON."""
    scored = score_extractions(extractions, expected, names)
    return np.mean([scored.right[name] for name in names], axis=0), scored[VALID]
