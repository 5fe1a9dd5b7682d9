"""A hosted language model by the token: its terms, the reader's counts, and quality from given answers alone."""

import json

import numpy as np
import pytest
from tiny_gguf import tiny_llm

from helpers.efficient_architectures import RequestTokens, hosted_prompts, hosted_rungs, request_tokens
from helpers.lab import InputError
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.prompting import prompted_extractor
from helpers.lab.money.costs import api_prices

TOKENS = RequestTokens(read=1500, written=60, shared=1200)
MINI = "OpenAI gpt-5.4-mini"


def dollars(tokens, names=None, **options):
    rows = hosted_rungs(tokens, names, **options)
    return {(row.model, row.terms): row.usd_per_million for row in rows.itertuples()}


def test_each_of_the_terms_costs_what_the_price_list_says():
    """By hand, from 0.75, 0.075 and 4.5 dollars a million tokens."""
    result = dollars(TOKENS, [MINI])
    assert result[MINI, "list price"] == pytest.approx(1500 * 0.75 + 60 * 4.5)
    assert result[MINI, "with the beginning cached"] == pytest.approx(300 * 0.75 + 1200 * 0.075 + 60 * 4.5)
    assert result[MINI, "in batches"] == pytest.approx((1500 * 0.75 + 60 * 4.5) / 2)


def test_terms_without_a_sourced_price_have_no_row():
    result = dollars(TOKENS)
    assert {name for name, terms in result if terms == "list price"} == set(api_prices())
    assert not any(name.startswith("Mistral") and terms != "list price" for name, terms in result)
    assert not any(name.startswith("Anthropic") and "cached" in terms for name, terms in result)


def test_a_short_beginning_is_cached_by_nobody():
    assert (MINI, "with the beginning cached") not in dollars(RequestTokens(1500, 60, shared=1000), [MINI])


def test_tokens_are_counted_by_the_models_own_tokenizer(things_task):
    asked = prompted_extractor(tiny_llm(), things_task, select="none")
    result = request_tokens(asked, things_task, 12)
    prompts = [tiny_llm().read(asked.prompt(text)) for text in things_task.test["text"][:12]]
    assert result.read == np.mean([len(prompt) for prompt in prompts])
    columns = list(zip(*prompts, strict=False))  # place by place
    assert result.shared == next(n for n, column in enumerate(columns) if len(set(column)) > 1)
    texts = [json.dumps({"wish": one["wish"], "order": one.get("order", ""), "product": one.get("product", "")})
             for one in extractions(things_task, "test")[:12]]
    assert result.written == np.mean(tiny_llm().count_tokens(texts))


def test_quality_comes_from_answers_alone(things_task):
    expected = extractions(things_task, "test")[:4]
    answers = [json.dumps(one) for one in expected[:3]] + ["I cannot help with that."]
    assert hosted_rungs(TOKENS, [MINI])["resolved"].isna().all()
    rows = hosted_rungs(TOKENS, [MINI], task=things_task, answers=answers)
    assert (rows["resolved"] == 0.75).all()
    np.testing.assert_allclose(rows["usd_per_million_resolved"], rows["usd_per_million"] / 0.75)


def test_what_is_asked_is_what_the_language_model_here_is_asked(things_task):
    """So that qualities can be compared: the same words, up to the template of the chat."""
    asked = prompted_extractor(tiny_llm(), things_task, select="none")
    prompts = hosted_prompts(things_task, 3)["prompt"].tolist()
    assert prompts == [asked.prompt(text)[0]["content"] for text in things_task.test["text"][:3]]


@pytest.mark.parametrize("wrong", [
    lambda task: hosted_rungs(TOKENS, ["nobody's model"]), lambda task: hosted_rungs(TOKENS, answers=["{}"]),
    lambda task: hosted_rungs(TOKENS, task=task, answers=["{}"] * 10_000), lambda task: RequestTokens(10, 1, shared=11),
    lambda task: RequestTokens(0, 1),
    lambda task: hosted_prompts(task, 0), lambda task: hosted_prompts(task, 10_000),
    lambda task: request_tokens(prompted_extractor(tiny_llm(), task, select="none"), task, 1)])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, things_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(things_task)
