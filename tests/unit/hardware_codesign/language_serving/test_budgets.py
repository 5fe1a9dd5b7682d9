"""Token budgets: fewer tokens are counted, what is found is scored as by hand, and the verdict falls either way."""

import json

import pandas as pd
import pytest
from tiny_gguf import tiny_llm

from helpers.hardware_codesign.language_serving.budgets import (
    BUDGETS,
    PRICE,
    Budget,
    at_prices,
    budget_verdict,
    cheapest_budget,
    compare_budgets,
)
from helpers.lab import InputError, load_task
from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.language.engines.model import Answer
from helpers.lab.money.costs import api_prices


@pytest.fixture(scope="module")
def fields_task():
    return load_task("tickets-fields")


class Knowing:
    """A language model that knows the fields of all messages, if it is shown an example, and else nothing."""

    engine, name, context, stored = "openvino", "knowing", 4096, 0

    def __init__(self, task):
        self._found = dict(zip(task.test["text"][:], extractions(task, "test"), strict=True))

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def generate(self, prompts, *, max_tokens, form, progress):
        answers = []
        for prompt in prompts:
            result = next(one for text, one in self._found.items() if prompt[-1]["content"].endswith(text))
            answers.append(Answer(json.dumps(result if len(prompt) > 1 else {}), (), 100 * len(prompt), "stop", 7))
        return answers


def test_what_is_found_is_scored_and_paid_for(fields_task):
    budgets = {"examples": Budget(2), "none": Budget(0)}
    result = compare_budgets(Knowing(fields_task), fields_task, budgets, rows=40, split="test").set_index("budget")
    names = field_names(fields_task)
    absent = sum(name not in one for one in extractions(fields_task, "test")[:40] for name in names) / (40 * len(names))
    assert result.loc["examples", "right"] == 1.0
    assert result.loc["none", "right"] == pytest.approx(absent)
    assert result["constant"].tolist() == pytest.approx([absent, absent])
    assert result.loc["none", "difference"] == pytest.approx(absent - 1)
    assert result["valid"].tolist() == [1.0, 1.0]
    price = api_prices()[PRICE]
    by_hand = 500 * price.input_usd_per_million_tokens + 7 * price.output_usd_per_million_tokens
    assert result.loc["examples", "usd_per_million"] == pytest.approx(by_hand)
    assert result.loc["none", "prompt_tokens"] == 100
    assert at_prices(result, 3.0, 10.0)["usd_per_million"].tolist() == [500 * 3 + 7 * 10, 100 * 3 + 7 * 10]


@pytest.mark.slow
def test_a_smaller_budget_takes_fewer_tokens_of_a_real_model(fields_task):
    budgets = {"two": Budget(2, max_answer=6), "trimmed": Budget(2, meanings=False, max_answer=6),
               "short": Budget(0, meanings=False, max_answer=2)}
    result = compare_budgets(tiny_llm(), fields_task, budgets, rows=3)
    assert result["prompt_tokens"].is_monotonic_decreasing
    assert result["answer_tokens"].iloc[-1] <= 2
    assert result["usd_per_million"].is_monotonic_decreasing
    assert (result["split"] == "validation").all()


def test_budgets_that_cannot_be_are_refused(fields_task):
    for arguments, words in (({"rows": 0}, "at least one message"), ({"budgets": {}}, "at least one budget")):
        with pytest.raises(InputError, match=words):
            compare_budgets(Knowing(fields_task), fields_task, **arguments)
    with pytest.raises(InputError, match="has no fields"):
        compare_budgets(Knowing(fields_task), load_task("digits"))


def tried(difference_low):
    return pd.DataFrame({"budget": list(BUDGETS)[:2], "usd_per_million": [90.0, 60.0], "right": [0.7, 0.68],
                         "low": [0.65, 0.6], "high": [0.75, 0.72], "difference": [0.0, -0.02],
                         "difference_low": [0.0, difference_low], "difference_high": [0.0, 0.01], "constant": 0.4})


def test_the_cheapest_budget_may_be_the_first():
    assert cheapest_budget(tried(-0.04)) == "4 examples"
    assert cheapest_budget(tried(-0.06)) == "8 examples"
    assert cheapest_budget(tried(float("nan"))) == "8 examples"


@pytest.mark.parametrize(("change", "words"), [
    ({}, "67% of '8 examples', and finds 68%: -2.0 points of the fields (-4.0 to +1.0, no significant difference)"),
    ({"difference_high": -0.01}, "(-4.0 to -1.0), on rows"),
    ({"difference": 0.05, "difference_low": 0.02, "difference_high": 0.08}, "+5.0 points of the fields (+2.0 to +8.0)"),
    ({"low": 0.3}, "no significant difference from an empty answer to each message (40%): no budget pays"),
    ({"low": 0.1, "right": 0.2, "high": 0.3}, "20% of the fields, fewer than an empty answer to each message (40%)"),
    ({"low": float("nan"), "high": float("nan")}, "no significant difference from an empty answer")])
def test_the_verdict_falls_as_the_figures_do(change, words):
    tested = tried(-0.04)
    for column, value in change.items():
        tested.loc[1, column] = value
    assert words in budget_verdict(tested)


def test_a_first_budget_that_is_the_cheapest_stands_alone():
    assert "No cheaper budget finds as much as '8 examples': 70%" in budget_verdict(tried(0.0).head(1))
