"""The engines beside each other and beside transformers' own generate: answers, scores, forms, Cancel."""

import json
import re
import time

import numpy as np
import pytest
import torch
from small_llama import PROMPTS, smollm2

from helpers.lab import Cancelled, InputError
from helpers.lab.progress import Progress

ENGINES = ["transformers", "openvino", "llama.cpp"]
QUESTION = "Which city is the capital of France? Answer with its name."
CITIES = ["Paris", "London", "Berlin", "The capital of France is Paris."]

engines = pytest.mark.parametrize("engine", ENGINES)
pytestmark = pytest.mark.slow


def test_the_reference_answers_as_transformers_generate_does():
    llm = smollm2("transformers")
    for prompt, answer in zip(PROMPTS[:2], llm.generate(PROMPTS[:2], max_tokens=12), strict=True):
        ids = torch.tensor([llm.read(prompt)])
        expected = llm.module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False,
                                       pad_token_id=2)[0, ids.shape[1]:].tolist()
        assert list(answer.tokens) == [token for token in expected if token not in llm.ends]
        assert answer.prompt_tokens == ids.shape[1]
        assert answer.ended == ("stop" if expected[-1] in llm.ends else "length")


def test_a_prompt_is_read_in_the_models_own_chat_template():
    llm = smollm2("openvino")
    expected = llm.tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True,
                                                 return_dict=False)
    assert llm.read("Hello") == llm.read([{"role": "user", "content": "Hello"}]) == expected


def test_openvino_answers_as_the_reference_but_for_ties():
    """Q8_0 in place of Q4_1 moves a logit by some hundredths: an answer may turn where two tokens are as likely."""
    expected = smollm2("transformers").generate(PROMPTS, max_tokens=16)
    found = smollm2("openvino").generate(PROMPTS, max_tokens=16)
    same = [one.tokens == other.tokens for one, other in zip(found, expected, strict=True)]
    assert sum(same) >= 3, [answer.text for answer in found]
    assert found[0].text == "The capital of France is Paris."


@engines
def test_an_answers_score_is_the_sum_of_its_log_probabilities(engine):
    reference = smollm2("transformers")
    prefix, [row] = reference.read(QUESTION), reference.encode(CITIES[3:])
    ids = torch.tensor([[*prefix, *row, min(reference.ends)]])
    with torch.inference_mode():
        told = reference.module(ids).logits[0].log_softmax(-1)
    expected = sum(float(told[place - 1, ids[0, place]]) for place in range(len(prefix), ids.shape[1]))
    # llama.cpp rounds activations to 8 bits in each product, OpenVINO reads Q8_0 here: hundredths of a nat a token.
    scores = smollm2(engine).score(QUESTION, CITIES)
    assert scores[3] == pytest.approx(expected, abs=0.001 if engine == "transformers" else 0.4)
    assert scores.argmax() == 3
    np.testing.assert_allclose(smollm2(engine).score(QUESTION, CITIES), scores, atol=0.1)  # the cache knows them now


def test_scores_stand_also_where_a_block_of_the_cache_ends():
    """OpenVINO caches 32 tokens at a time: prompts of all lengths between two blocks, one after another."""
    reference, llm = smollm2("transformers"), smollm2("openvino")
    for more in range(0, 32, 5):
        prompt = QUESTION + " x" * more
        np.testing.assert_allclose(llm.score(prompt, CITIES[:2]), reference.score(prompt, CITIES[:2]), atol=0.6)


@engines
def test_an_answer_ends_before_a_stop_word_or_at_its_length(engine):
    llm = smollm2(engine)
    [answer] = llm.generate([PROMPTS[1]], max_tokens=16)
    word = answer.text[10:16]  # of some forty letters
    [stopped] = llm.generate([PROMPTS[1]], max_tokens=16, stop=["never said", word])
    assert stopped.text == answer.text[:answer.text.index(word)]
    assert stopped.ended == "stop"
    [short] = llm.generate([PROMPTS[1]], max_tokens=3)
    assert (len(short.tokens), short.ended) == (3, "length")
    assert short.tokens == answer.tokens[:3]


def test_answers_keep_to_a_form():
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"],
              "additionalProperties": False}
    for engine in ("openvino", "llama.cpp"):
        [answer] = smollm2(engine).generate([PROMPTS[0]], form=schema)
        assert json.loads(answer.text)["city"] in ("Rome", "Paris")
    [answer] = smollm2("openvino").generate([PROMPTS[1]], form="(red|green|blue)")
    assert re.fullmatch("red|green|blue", answer.text)
    with pytest.raises(InputError, match="JSON schema, not to a regular expression"):
        smollm2("llama.cpp").generate([PROMPTS[0]], form="(a|b)")
    with pytest.raises(InputError, match="cannot hold answers to a form"):
        smollm2("transformers").generate([PROMPTS[0]], form=schema)


@engines
def test_cancel_is_heard_within_a_second_and_the_model_answers_again(engine):
    wanted: list[float] = []

    def report(_fraction, _message):
        wanted.append(time.perf_counter())

    llm = smollm2(engine)
    progress = Progress(report, lambda: len(wanted) >= 3)
    with pytest.raises(Cancelled):
        llm.generate(["Tell a very long story."] * 2, max_tokens=200, progress=progress)
    assert time.perf_counter() - wanted[-1] < 1
    assert llm.generate([PROMPTS[0]], max_tokens=4)[0].tokens


@engines
def test_what_does_not_fit_is_refused(engine):
    llm = smollm2(engine)
    with pytest.raises(InputError, match="do not fit in the 4,096"):
        llm.generate(["word " * 5000])
    with pytest.raises(InputError, match="at least one token to write"):
        llm.generate(PROMPTS[:1], max_tokens=0)
    with pytest.raises(InputError, match="none that is empty"):
        llm.score(QUESTION, ["Paris", ""])
    assert llm.generate([]) == []
