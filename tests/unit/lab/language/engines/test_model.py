"""What every engine holds to: the chat template, scores, stop words, forms, Cancel, and what does not fit."""

import json
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


def test_a_prompt_is_read_in_the_models_own_chat_template():
    llm = smollm2("openvino")
    expected = llm.tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], add_generation_prompt=True,
                                                 return_dict=False)
    assert llm.read("Hello") == llm.read([{"role": "user", "content": "Hello"}]) == expected


@engines
def test_an_answers_score_is_the_sum_of_its_log_probabilities(engine):
    reference = smollm2("transformers")
    prefix, [row] = reference.read(QUESTION), reference.encode(CITIES[3:])
    ids = torch.tensor([[*prefix, *row, min(reference.ends)]])
    with torch.inference_mode():
        result = reference.module(ids).logits[0].log_softmax(-1)
    expected = sum(float(result[place - 1, ids[0, place]]) for place in range(len(prefix), ids.shape[1]))
    # llama.cpp rounds activations to 8 bits in each product, OpenVINO reads Q8_0 here: hundredths of a nat a token.
    scores = smollm2(engine).score(QUESTION, CITIES)
    assert scores[3] == pytest.approx(expected, abs=0.001 if engine == "transformers" else 0.4)
    assert scores.argmax() == 3
    np.testing.assert_allclose(smollm2(engine).score(QUESTION, CITIES), scores, atol=0.1)  # the cache knows them now


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


@pytest.mark.parametrize("engine", ["openvino", "llama.cpp"])
def test_answers_keep_to_a_json_schema(engine):
    schema = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"],
              "additionalProperties": False}
    [answer] = smollm2(engine).generate([PROMPTS[0]], form=schema)
    assert json.loads(answer.text)["city"] in ("Rome", "Paris")


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
