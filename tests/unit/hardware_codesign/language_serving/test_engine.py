"""Each switch of the engine leaves the answers as they are, and does what it is there for: on a tiny random Llama."""

import codecs
import functools

import numpy as np
import pytest
import torch
from tiny_gguf import tiny_gguf
from transformers.convert_slow_tokenizer import bytes_to_unicode

from helpers.hardware_codesign.language_serving.engine import Engine, compare_engines, shared_requests
from helpers.hardware_codesign.language_serving.switches import ENGINES, Switches
from helpers.lab import InputError
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import load_language_model

RNG = np.random.default_rng(1)
SHARED = RNG.integers(1, 1000, 64).tolist()
PROMPTS = [SHARED + RNG.integers(1, 1000, length).tolist() for length in (3, 20, 40, 9)]
TOKENS = [4, 12, 6, 9]


def file():
    return in_weight_type(tiny_gguf(), "F16")


@functools.cache
def reference():
    """The same file in transformers."""
    return load_language_model(file(), "transformers")


@pytest.fixture(scope="module")
def expected():
    """The likeliest token each time, by transformers, one prompt after another."""
    results = []
    for prompt, count in zip(PROMPTS, TOKENS, strict=True):
        ids = list(prompt)
        for _ in range(count):
            with torch.inference_mode():
                ids.append(int(reference().module(torch.tensor([ids])).logits[0, -1].argmax()))
        results.append(ids[len(prompt):])
    return results


@pytest.mark.parametrize("name", [name for name, switches in ENGINES.items()
                                  if switches.kv_precision in ("f32", "f16") and not switches.kept_tokens
                                  and not switches.form])
def test_answers_are_the_references_whatever_is_switched(name, expected):
    run = Engine(file(), ENGINES[name]).run(PROMPTS, TOKENS)
    assert run.answers == expected
    assert run.steps[:, 1].sum() == sum(TOKENS)
    assert (np.diff(run.steps[:, 0]) > 0).all()
    assert run.seconds == run.steps[-1, 0]
    assert (run.first_s > 0).all()


def letters(answer: list[int]) -> int:
    """How many of the tokens, from the first on, are the bytes of whole letters or may still become some."""
    byte_of = {letter: byte for byte, letter in bytes_to_unicode().items()}
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    for count, token in enumerate(reference().tokenizer.convert_ids_to_tokens(answer)):
        try:
            decoder.decode(bytes(byte_of[letter] for letter in token))
        except UnicodeDecodeError:
            return count
    return len(answer)


def test_a_form_that_any_text_keeps_changes_no_answer_that_is_text(expected):
    """The random model writes bytes that are no letters, too: those a form refuses."""
    run = Engine(file(), Switches(form=True)).run(PROMPTS, TOKENS)
    whole = [letters(answer) for answer in expected]
    assert [answer[:count] for answer, count in zip(run.answers, whole, strict=True)] == [
        answer[:count] for answer, count in zip(expected, whole, strict=True)]
    assert sum(whole) > sum(TOKENS) / 2
    assert [letters(answer) for answer in run.answers] == TOKENS


def test_a_switch_shows_in_the_steps():
    """One by one each token has its step; together a step has a token of each; a static batch ends before the next."""
    alone = Engine(file(), Switches(sequences=1)).run(PROMPTS, TOKENS)
    assert alone.steps[:, 1].max() == 1
    together = Engine(file(), Switches(step_tokens=1024)).run(PROMPTS, TOKENS)
    assert len(together.steps) == max(TOKENS)
    static = Engine(file(), Switches(sequences=2, static=True, step_tokens=1024)).run(PROMPTS, TOKENS)
    assert len(static.steps) == max(TOKENS[:2]) + max(TOKENS[2:])
    chunked = Engine(file(), Switches(step_tokens=32)).run(PROMPTS[:1], [1])
    assert len(chunked.steps) == -(-len(PROMPTS[0]) // 32)
    same = Engine(file(), Switches(sequences=1, guesser="4 bits")).run(PROMPTS, TOKENS)
    assert len(same.steps) < len(alone.steps)


def test_dropped_keys_and_values_change_answers_once_they_are_dropped():
    """Until the cache is full nothing is dropped: 96 tokens are kept."""
    dropping, keeping = Engine(file(), Switches(kept_tokens=96)), Engine(file(), Switches())
    short, long = [PROMPTS[0][:40]], [RNG.integers(1, 1000, 200).tolist()]
    assert dropping.run(short, [8]).answers == keeping.run(short, [8]).answers
    assert dropping.run(long, [24]).answers != keeping.run(long, [24]).answers


def test_an_engine_answers_again_after_a_prompt_that_does_not_fit():
    engine = Engine(file())
    for prompts, tokens in (([], []), ([[1]], [0]), ([[1], [2]], [1]), ([[]], [1])):
        with pytest.raises(InputError, match="prompts of at least one token"):
            engine.run(prompts, tokens)
    assert len(engine.run(PROMPTS[:1], [3]).answers[0]) == 3


def test_prompts_share_what_they_should():
    texts = [f"message {number} about parcel {7 * number}" for number in range(60)]
    ask = shared_requests(reference(), texts, common=0.75, count=5, prompt_tokens=64, answer_tokens=(2, 4))
    prompts, tokens = ask(0)
    assert {len(prompt) for prompt in prompts} == {64}
    assert len({tuple(prompt[:48]) for prompt in prompts}) == 1
    assert len({tuple(prompt[48:]) for prompt in prompts}) == 5
    assert set(tokens) <= {2, 3, 4}
    assert ask(0) == (prompts, tokens)
    assert ask(1)[0] != prompts
    assert ask(1)[0][0][:48] == prompts[0][:48]
    for settings in ({"common": 1.0}, {"common": -0.1}, {"prompt_tokens": 10_000}):
        with pytest.raises(InputError, match="need a share from 0 to below 1"):
            shared_requests(reference(), texts, **settings)
    for settings in ({"count": 0}, {"answer_tokens": (0, 4)}, {"answer_tokens": (8, 4)}):
        with pytest.raises(InputError, match="There is at least one request"):
            shared_requests(reference(), texts, **settings)


def test_engines_are_compared_on_the_same_requests_and_one_that_cannot_run_has_a_note():
    """OpenVINO itself refuses a precision that it does not know; the other engines stand."""
    def requests(number):
        return [[*prompt, number + 1] for prompt in PROMPTS], TOKENS

    unknown = Switches()
    object.__setattr__(unknown, "kv_precision", "nonsense")  # past the check of what a user gives
    chosen = {name: ENGINES[name] for name in ("one by one", "static batches", "with prefix caching")}
    result = compare_engines(file(), requests, {**chosen, "unknown": unknown}, rounds=2).set_index("engine")
    assert "cannot serve" in result.loc["unknown", "note"]
    assert np.isnan(result.loc["unknown", "speedup"])
    result = result.drop(index="unknown")
    assert (result["note"] == "").all()
    assert result["same_answers"].tolist() == [1.0, 1.0, 1.0]
    assert result["off"].tolist() == ["", "one by one", ""]
    static = result.loc["static batches"]
    assert static[["gain", "gain_low", "gain_high"]].tolist() == static[["speedup", "low", "high"]].tolist()
    assert static["tokens_per_step"] > 1
    assert result.loc["one by one", ["speedup", "low", "high"]].tolist() == [1.0] * 3
    cached = result.loc["with prefix caching"]
    assert cached["low"] <= cached["speedup"] <= cached["high"]
    assert cached["answer_tokens"] == np.mean(TOKENS)
    assert cached["prompt_tokens"] == np.mean([len(prompt) + 1 for prompt in PROMPTS])
    np.testing.assert_allclose(result["requests_per_s"] * result["seconds"], 4)
    with pytest.raises(InputError, match="at least two rounds"):
        compare_engines(file(), requests, chosen, rounds=1)
