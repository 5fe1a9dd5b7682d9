"""Endpoints: the form of a request, what llama.cpp's own server answers, and whom a key may be sent to."""

import json
import os
import pickle
import time

import numpy as np
import pytest
import torch
from faulty_server import USAGE, paris, piece, send, stream
from small_llama import PROMPTS, smollm2

from helpers.lab import Cancelled, InputError
from helpers.lab.language.engines.endpoints import endpoint
from helpers.lab.language.loading import load_saved
from helpers.lab.progress import Progress

KEY = "sk-test-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Rome", "Paris"]}}, "required": ["city"],
          "additionalProperties": False}
QUESTION = "Which city is the capital of France? Answer with its name."


# What is sent and what is read

def test_a_request_has_the_form_of_the_interface(faulty):
    llm = endpoint(f"{faulty.url}/chat/completions/", model="small")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is the Louvre?"}]
    llm.generate([messages], max_tokens=9, stop=["\n"], form=SCHEMA)
    assert faulty.seen[0][2] == {
        "path": "/v1/chat/completions", "model": "small", "messages": messages, "max_tokens": 9, "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True}, "stop": ["\n"],
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}}
    assert "Authorization" not in faulty.seen[0][1]


def test_an_answer_has_the_servers_own_counts(faulty):
    [answer] = endpoint(faulty.url, model="small").generate(["a"])
    assert (answer.text, answer.tokens, answer.ended) == ("Paris", (), "stop")
    assert (answer.prompt_tokens, answer.answer_tokens, answer.cached_tokens) == (
        USAGE["prompt_tokens"], USAGE["completion_tokens"], 5)
    faulty.script = [stream(piece("Pa", "length"), {"choices": [], "usage": {"prompt_tokens": 3,
                                                                             "completion_tokens": 1}})]
    [answer] = endpoint(faulty.url, model="small").generate(["a"])
    assert (answer.ended, answer.cached_tokens) == ("length", None)


def test_tokens_of_all_answers_are_counted_for_the_bill(faulty):
    llm = endpoint(faulty.url, model="small")
    llm.generate(["a", "b"])
    llm.generate(["c"])
    assert llm.used == (3 * USAGE["prompt_tokens"], 3 * USAGE["completion_tokens"])


def test_answers_come_in_the_order_of_their_prompts(faulty):
    def echo(handler):
        asked = faulty.seen[-1][2]["messages"][0]["content"]
        time.sleep(0.3 if asked == "first" else 0)
        send(handler, 200, b"data: " + json.dumps(piece(asked, "stop") | {"usage": USAGE}).encode() + b"\n\n",
             content_type="text/event-stream")

    faulty.script = [echo]
    llm = endpoint(faulty.url, model="small", at_once=1)
    assert [answer.text for answer in llm.generate(["first", "second"])] == ["first", "second"]


def test_a_server_that_counts_no_tokens_is_refused(faulty):
    faulty.script = [paris(usage=None)]
    with pytest.raises(InputError, match="does not count its tokens"):
        endpoint(faulty.url, model="small").generate(["a"])


def test_what_the_interface_cannot_do_is_said(faulty):
    llm = endpoint(faulty.url, model="small")
    for options, sentence in (({"form": "(a|b)"}, "JSON schema, not to a regular expression"),
                              ({"stop": list("abcde")}, "at most 4 stop words, not 5"),
                              ({"max_tokens": 0}, "at least one token to write")):
        with pytest.raises(InputError, match=sentence):
            llm.generate(["a"], **options)
    with pytest.raises(InputError, match="none that is empty"):
        llm.score("a", ["b", ""])
    for look in (llm.encode, llm.read):
        with pytest.raises(InputError, match="does not show its tokenizer"):
            look("a")
    assert faulty.seen == []
    assert llm.generate([]) == []


def test_a_server_without_log_probabilities_scores_nothing(faulty):
    plain = {"choices": [{"message": {"content": "Paris"}, "finish_reason": "stop"}], "usage": USAGE}
    faulty.script = [lambda handler: send(handler, 200, json.dumps(plain).encode(), content_type="application/json")]
    with pytest.raises(InputError, match="shows no log-probabilities"):
        endpoint(faulty.url, model="small").score("a", ["b"])


def test_a_score_adds_up_along_the_tokens_that_the_server_shows(faulty):
    """A server of three tokens: after "Paris" comes " now" or " then"; what is not among the likeliest is bounded."""
    after = {"": {"Paris": -0.1, "Par": -2.0, "Lon": -3.0}, "Paris": {" now": -0.5, " then": -1.0},
             "Lon": {"don": -0.25}}

    def likeliest(handler):
        last = faulty.seen[-1][2]["messages"][-1]
        top = after[last["content"] if last["role"] == "assistant" else ""]
        shown = {"content": [{"token": "x", "logprob": 0, "top_logprobs": [
            {"token": token, "logprob": value} for token, value in top.items()]}]}
        choice = {"message": {"content": "x"}, "finish_reason": "length", "logprobs": shown}
        body = {"choices": [choice], "usage": USAGE}
        send(handler, 200, json.dumps(body).encode(), content_type="application/json")

    faulty.script = [likeliest]
    llm = endpoint(faulty.url, model="small", at_once=1)
    np.testing.assert_allclose(llm.score("a", ["Paris now", "Paris", "London", "Rome"]), [-0.6, -0.1, -3.25, -3.0])
    assert len(faulty.seen) == 3  # the beginnings "", "Paris" and "Lon"


# Addresses and keys

@pytest.mark.parametrize(("url", "sentence"), [
    ("http://api.example.com/v1", r"http:// would send the prompts and the key to api\.example\.com unencrypted"),
    ("http://127.0.0.1.example.com/v1", "unencrypted"), ("http://10.0.0.1/v1", "unencrypted"),
    ("ftp://example.com", "begins with https://"), ("api.openai.com/v1", "begins with https://"),
    ("https://exa mple.com", "begins with https://"), ("https://host:port/v1", "begins with https://"),
    ("https://user:word@example.com/v1", "without a user, a key"),
    ("https://example.com/v1?key=word", "without a user, a key")])
def test_an_address_that_would_show_the_key_is_refused(url, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        endpoint(url, model="small")
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:8080/v1", "http://[::1]:8080", "http://127.0.0.2/v1",
                                 "https://api.example.com/v1"])
def test_other_addresses_will_do(url):
    assert repr(endpoint(url, model="small")) == f"endpoint({url!r}, model='small')"


def test_numbers_that_will_not_do_are_refused():
    for options in ({"at_once": 0}, {"at_once": 1.5}, {"timeout_s": 0}, {"requests_per_minute": -1}):
        with pytest.raises(InputError, match="are above 0"):
            endpoint("https://example.com", model="small", **options)
    with pytest.raises(InputError, match="NO_SUCH_KEY holds no key"):
        endpoint("https://example.com", model="small", key_from="NO_SUCH_KEY")


def test_the_key_is_in_no_attribute_no_pickle_and_no_file(faulty, monkeypatch, tmp_path):
    monkeypatch.setenv("A_TEST_KEY", KEY)
    monkeypatch.setenv("HELPERS_ENDPOINTS", "")
    llm = endpoint(faulty.url, model="small", key_from="A_TEST_KEY", requests_per_minute=1000)
    [answer] = llm.generate(["a"])
    llm.save(tmp_path / "saved")
    kept = [repr(llm), repr(answer), repr(vars(llm)), repr(vars(llm.server)), str(pickle.dumps(llm)),
            *(file.read_text() for file in (tmp_path / "saved").rglob("*") if file.is_file())]
    assert not [text for text in kept if KEY in text]
    for again in (pickle.loads(pickle.dumps(llm)), load_saved(tmp_path / "saved")):
        assert again.generate(["a"])[0].text == "Paris"
        assert faulty.seen[-1][1]["Authorization"] == f"Bearer {KEY}"


def test_a_saved_address_gets_no_key_before_the_user_says_so(faulty, monkeypatch, tmp_path):
    monkeypatch.setenv("A_TEST_KEY", KEY)
    monkeypatch.setenv("HELPERS_ENDPOINTS", "")
    endpoint(faulty.url, model="small", key_from="A_TEST_KEY").save(tmp_path)
    monkeypatch.setenv("HELPERS_ENDPOINTS", "")  # another session
    with pytest.raises(InputError, match=rf"would send the key in A_TEST_KEY to {faulty.url}\. If that is right, call"):
        load_saved(tmp_path)
    endpoint("https://example.com/v1", model="small", key_from="A_TEST_KEY")
    with pytest.raises(InputError, match="would send the key"):
        load_saved(tmp_path)
    endpoint(faulty.url, model="small", key_from="A_TEST_KEY")
    assert load_saved(tmp_path).generate(["a"])[0].text == "Paris"
    assert KEY not in os.environ["HELPERS_ENDPOINTS"]


# llama.cpp's own server

@pytest.fixture
def served(monkeypatch):
    """SmolLM2 behind llama.cpp's own server, on 127.0.0.1 and with its key."""
    monkeypatch.setenv("HELPERS_ENDPOINTS", "")
    local = smollm2("llama.cpp")
    monkeypatch.setenv("LLAMA_CPP_KEY", local._key)
    return endpoint(f"{local.address}/v1", model="smollm2", key_from="LLAMA_CPP_KEY")


@pytest.mark.slow
def test_answers_and_counts_are_those_of_the_same_model_without_a_server(served):
    local = smollm2("llama.cpp")
    result, expected = (llm.generate(PROMPTS[:3], max_tokens=12) for llm in (served, local))
    assert [answer.text for answer in result] == [answer.text for answer in expected]
    assert [answer.prompt_tokens for answer in result] == [answer.prompt_tokens for answer in expected]
    assert all(answer.answer_tokens <= 12 for answer in result)
    assert all(count >= len(ids) for text, count, ids in zip(
        PROMPTS, served.count_tokens(PROMPTS), local.encode(PROMPTS), strict=True))


@pytest.mark.slow
def test_served_answers_keep_to_a_json_schema_and_end_before_a_stop_word(served):
    [answer] = served.generate([PROMPTS[0]], form=SCHEMA)
    assert json.loads(answer.text)["city"] in ("Rome", "Paris")
    [whole] = served.generate([PROMPTS[1]], max_tokens=16)
    word = whole.text[10:16]  # of some forty letters
    [stopped] = served.generate([PROMPTS[1]], max_tokens=16, stop=["never said", word])
    assert (stopped.text, stopped.ended) == (whole.text[:whole.text.index(word)], "stop")


@pytest.mark.slow
def test_served_scores_are_those_of_the_reference(served):
    reference = smollm2("transformers")
    answers = ["The capital of France is Paris.", "Paris", "The city"]
    prefix, expected = reference.read(QUESTION), []
    for row in reference.encode(answers):
        with torch.inference_mode():
            result = reference.module(torch.tensor([prefix + row])).logits[0].log_softmax(-1)
        expected.append(sum(float(result[len(prefix) + place - 1, token]) for place, token in enumerate(row)))
    # llama.cpp rounds activations to 8 bits in each product: hundredths of a nat a token.
    np.testing.assert_allclose(served.score(QUESTION, answers), expected, atol=0.4)
    [unlikely] = reference.score(QUESTION, ["Zebra"])
    assert served.score(QUESTION, ["Zebra"])[0] > unlikely


@pytest.mark.slow
def test_a_served_answer_is_cancelled_within_a_second_and_a_wrong_key_is_refused(served, monkeypatch):
    began = time.monotonic()
    with pytest.raises(Cancelled):
        served.generate(["Tell a very long story."] * 2, max_tokens=400,
                        progress=Progress(cancelled=lambda: time.monotonic() - began > 1))
    assert time.monotonic() - began < 2
    assert served.generate([PROMPTS[0]], max_tokens=4)[0].text
    monkeypatch.setenv("LLAMA_CPP_KEY", "another")
    with pytest.raises(InputError, match="refuses the key in LLAMA_CPP_KEY"):
        served.generate([PROMPTS[0]])
