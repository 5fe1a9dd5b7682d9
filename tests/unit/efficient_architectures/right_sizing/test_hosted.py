"""Hosted language models: their price a message, and the quality of answers that a user brings."""

import numpy as np
import pytest

from helpers.efficient_architectures import hosted_llm
from helpers.lab import InputError, load_task
from helpers.lab.training.weights import find_weights


def test_a_hosted_model_costs_its_price_times_the_tokens(tiny_task):
    prompt = "one two {text}"
    result = hosted_llm(tiny_task, ["OpenAI gpt-4o-mini"], prompt=prompt).iloc[0]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(find_weights() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    asked = np.mean([len(tokenizer.encode(f"one two {text}", add_special_tokens=False).ids)
                     for text in tiny_task.test["text"][:]])
    assert result["input_tokens"] == pytest.approx(asked)
    assert result["output_tokens"] == 1  # animals, tools and weather are a token each
    assert result["usd_per_million"] == pytest.approx(asked * 0.15 + 1 * 0.6)
    assert np.isnan(result["accuracy"])


def test_answers_that_the_user_brings_are_scored(tiny_task):
    truth = [tiny_task.labels[label] for label in tiny_task.test["label"][:]]
    answers = ["animals", *truth[1:]] if truth[0] != "animals" else ["tools", *truth[1:]]
    result = hosted_llm(tiny_task, ["OpenAI gpt-4o-mini"], answers=answers).iloc[0]
    assert result["accuracy"] == pytest.approx(1 - 1 / len(truth))


def test_a_label_spelled_as_the_prompt_spells_it_is_right(tmp_path):
    """The prompt asks for 'delivery late', and models like capitals and full stops."""
    (tmp_path / "two.csv").write_text("text,label\n" + "".join(
        f"word {n},{'delivery_late' if n % 2 else 'refund'}\n" for n in range(60)))
    task = load_task(tmp_path / "two.csv")
    answers = [{"delivery_late": "Delivery late.", "refund": " refund\n"}[task.labels[label]]
               for label in task.test["label"][:]]
    assert hosted_llm(task, ["OpenAI gpt-4o-mini"], answers=answers)["accuracy"][0] == 1


@pytest.mark.parametrize("wrong", [
    lambda task: hosted_llm(task, ["nobody's model"]),
    lambda task: hosted_llm(task, prompt="no place"),
    lambda task: hosted_llm(task, answers=["animals"]),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)
