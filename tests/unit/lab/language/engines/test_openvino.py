"""OpenVINO GenAI beside the reference: answers, forms, and scores that a cache of prefixes does not spoil."""

import pickle
import re

import numpy as np
import pytest
from small_llama import PROMPTS, smollm2

QUESTION = "Which city is the capital of France? Answer with its name."
CITIES = ["Paris", "London"]

pytestmark = pytest.mark.slow


def test_openvino_answers_as_the_reference_but_for_ties():
    """Q8_0 in place of Q4_1 moves a logit by some hundredths: an answer may turn where two tokens are as likely."""
    expected = smollm2("transformers").generate(PROMPTS, max_tokens=16)
    result = smollm2("openvino").generate(PROMPTS, max_tokens=16)
    same = [one.tokens == other.tokens for one, other in zip(result, expected, strict=True)]
    assert sum(same) >= 3, [answer.text for answer in result]
    assert result[0].text == "The capital of France is Paris."


def test_scores_stand_also_where_a_block_of_the_cache_ends():
    """OpenVINO caches 32 tokens at a time: prompts of all lengths between two blocks, one after another."""
    reference, llm = smollm2("transformers"), smollm2("openvino")
    for more in range(0, 32, 5):
        prompt = QUESTION + " x" * more
        np.testing.assert_allclose(llm.score(prompt, CITIES), reference.score(prompt, CITIES), atol=0.6)


def test_scores_are_remembered_in_little_memory():
    """Of a prompt of 300 tokens: under its whole text as a key, each would take 2 kB."""
    llm = smollm2("openvino")
    llm.score(QUESTION + " x" * 300, CITIES)
    assert len(pickle.dumps(llm._known)) / len(llm._known) < 100


def test_answers_keep_to_a_regular_expression():
    [answer] = smollm2("openvino").generate([PROMPTS[1]], form="(red|green|blue)")
    assert re.fullmatch("red|green|blue", answer.text)
