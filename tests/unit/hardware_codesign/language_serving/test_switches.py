"""Switches that cannot be are refused; what each gives on paper is what a hand comes to."""

import dataclasses

import pandas as pd
import pytest

from helpers.hardware_codesign.language_serving.phase_model import StepCounts
from helpers.hardware_codesign.language_serving.switches import (
    ENGINES,
    GUESSERS,
    KV_PRECISIONS,
    Switches,
    lessons,
    on_other_machines,
    request_seconds,
    without,
)
from helpers.lab import InputError
from helpers.lab.facts import Peaks

COUNTS = StepCounts(body=9e7, head=1e7, stored=1e8, kv_bytes=4e4, attention=1e4)
SLOW_MEMORY = Peaks("much arithmetic", {"fp32": 1e18}, 1e10)  # memory alone counts
SLOW_ARITHMETIC = Peaks("much bandwidth", {"fp32": 1e10}, 1e18)  # arithmetic alone counts
ASKED = {"prompt": 100, "answer": 20, "common": 0.5}


@pytest.mark.parametrize(("settings", "words"), [
    ({"kv_precision": "u5"}, "Unknown precision 'u5'"), ({"guesser": "a friend"}, "Unknown guesser 'a friend'"),
    ({"sequences": 0}, "at least one sequence"), ({"step_tokens": 0}, "at least one sequence"),
    ({"streams": 0}, "one stream"), ({"threads": -1}, "no negative number"), ({"kept_tokens": 64}, "above 64 tokens"),
    ({"kept_tokens": 100}, "multiple of 32"), ({"kept_tokens": -96}, "above 64 tokens")])
def test_switches_that_cannot_be_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        Switches(**settings)


def test_each_engine_but_the_first_is_one_switch_away_from_an_earlier_one():
    for name in list(ENGINES)[1:]:
        one, other = (dataclasses.asdict(ENGINES[which]) for which in (name, without(name)))
        assert sum(one[key] != other[key] for key in one) == 1
    assert without("one by one") is None
    assert {switches.guesser for switches in ENGINES.values()} == {"", *GUESSERS}
    assert {switches.kv_precision for switches in ENGINES.values()} == set(KV_PRECISIONS)


def test_where_memory_limits_a_step_takes_as_long_as_its_bytes():
    alone = request_seconds(Switches(sequences=1), COUNTS, SLOW_MEMORY, **ASKED)
    assert alone == pytest.approx((1e8 + 4e4 * 100) / 1e10 + 19 * (1e8 + 4e4 * 110) / 1e10, rel=1e-6)
    eight = request_seconds(Switches(sequences=8), COUNTS, SLOW_MEMORY, **ASKED)
    assert eight == pytest.approx((1e8 + 4e4 * 100) / 1e10 + 19 / 8 * (1e8 + 8 * 4e4 * 110) / 1e10, rel=1e-6)
    halved = request_seconds(Switches(sequences=1, kv_precision="f16"), COUNTS, SLOW_MEMORY, **ASKED)
    assert halved == pytest.approx((1e8 + 2e4 * 100) / 1e10 + 19 * (1e8 + 2e4 * 110) / 1e10, rel=1e-6)
    dropped = request_seconds(Switches(sequences=1, kept_tokens=96), COUNTS, SLOW_MEMORY, **ASKED)
    assert dropped == pytest.approx((1e8 + 4e4 * 100) / 1e10 + 19 * (1e8 + 4e4 * 96) / 1e10, rel=1e-6)


@pytest.mark.parametrize(("on", "first"), [(False, 1), (True, 51)])
def test_a_common_prompt_is_read_once_and_still_attended_to(on, first):
    """An answer of one token, which comes with the prompt: each token that is read attends to all up to itself."""
    seconds = request_seconds(Switches(prefix_caching=on), COUNTS, SLOW_ARITHMETIC, prompt=100, answer=1, common=0.5)
    places = range(first, 101)
    assert seconds == pytest.approx((2 * 9e7 * len(places) + 2e7 + 1e4 * sum(places)) / 1e10)


@pytest.mark.parametrize(("guesser", "stored", "kv_bytes"), [
    ("4 bits", 18 / 32 * 1e8, 4e4), ("half of the layers", 34 / 32 * (4.5e7 + 1e7), 2e4)])
def test_a_draft_reads_the_prompt_too_and_takes_a_step_for_each_guess(guesser, stored, kv_bytes):
    """By bytes: Q4_0 has 18 for 32 weights, Q8_0 has 34; half of the layers have half of the keys and values."""
    seconds = request_seconds(Switches(sequences=1, guesser=guesser), COUNTS, SLOW_MEMORY, **ASKED, written=2.0)
    reading = 1e8 + 4e4 * 100 + stored + kv_bytes * 100
    writing = 1e8 + 4e4 * 110 + 4 * (stored + kv_bytes * 110)
    assert seconds == pytest.approx((reading + 19 / 2 * writing) / 1e10)


@pytest.mark.parametrize(("peaks", "least", "most"), [(SLOW_MEMORY, 2.9, 3.1), (SLOW_ARITHMETIC, 0.5, 0.7)])
def test_guesses_cost_nothing_where_memory_limits_and_all_of_them_where_arithmetic_does(peaks, least, most):
    """Three of five checked tokens are right: three tokens a step, or five products for three."""
    asked = {"prompt": 1, "answer": 1000, "common": 0.0}
    plain = request_seconds(Switches(sequences=1), COUNTS, peaks, **asked)
    guessed = request_seconds(Switches(sequences=1, guesser="the prompt"), COUNTS, peaks, **asked, written=3.0)
    assert least < plain / guessed < most
    drafted = request_seconds(Switches(sequences=1, guesser="half of the layers"), COUNTS, peaks, **asked, written=3.0)
    assert drafted > guessed


def switched(gain):
    """Two tokens a step and answer where a draft guesses, beside one; the first of 200 comes with its prompt."""
    guessing = 16 + 16 * 199 / 2  # steps of 16 requests, one by one
    names = ["one by one", "one by one, with a draft in 4 bits", "static batches", "with one thread"]
    return pd.DataFrame({
        "engine": names, "off": ["", names[0], names[0], ""], "gain": [None, gain, 2.0, None],
        "gain_low": [None, 0.9 * gain, 1.9, None], "gain_high": [None, 1.1 * gain, 2.1, None],
        "tokens_per_step": [1.0, 16 * 200 / guessing, 4.0, 4.0], "requests": 16, "prompt_tokens": 10.0,
        "answer_tokens": 200.0, "note": ""})


def test_what_a_switch_gives_on_other_machines_takes_the_guesses_that_were_right_here():
    machines = {"CPU": (SLOW_ARITHMETIC, "fp32"), "GPU": (SLOW_MEMORY, "fp32")}
    result = on_other_machines(switched(0.6), COUNTS, machines, common=0.0)
    assert result["engine"].tolist() == ["one by one, with a draft in 4 bits", "static batches"]
    draft = result.iloc[0]
    figures = {"prompt": 10.0, "answer": 200.0, "common": 0.0}
    by_hand = (request_seconds(ENGINES["one by one"], COUNTS, SLOW_MEMORY, **figures)
               / request_seconds(ENGINES[draft["engine"]], COUNTS, SLOW_MEMORY, **figures, written=2.0))
    assert draft["GPU"] == pytest.approx(by_hand)
    assert draft["CPU"] < 1
    assert result.iloc[1]["GPU"] > 4  # eight answers share each fetch of the weights


def test_a_lesson_may_hold_here_there_or_nowhere():
    gains = pd.DataFrame({"engine": ["draft"], "gain_low": [0.5], "gain_high": [0.7], "CPU": [0.6], "GPU": [1.5]})
    assert lessons(gains, "CPU", "GPU") == ("Faster here: none. Slower here: draft. On paper a gain of a tenth or more "
                                           "on GPU alone: draft.")
    turned = gains.assign(gain_low=1.2, gain_high=1.4)
    assert lessons(turned, "CPU", "GPU") == ("Faster here: draft. Slower here: none. On paper a gain of a tenth or "
                                             "more on GPU alone: none.")
    assert "alone: none" in lessons(gains.assign(GPU=0.9), "CPU", "GPU")
