"""The record of a language model that answers: its figures agree with each other and with its price."""

import dataclasses
import time

import pandas as pd
import pytest
from faulty_server import paris, piece, stream
from small_llama import PROMPTS, smollm2

from helpers.lab import Cancelled, InputError, offer
from helpers.lab.language.engines.endpoints import endpoint
from helpers.lab.language.generation import Generation, measure_generation
from helpers.lab.machine import usable_cores
from helpers.lab.money.costs import api_prices
from helpers.lab.progress import Progress

ROUND = Generation(
    model="small", engine="openvino", megabytes=100.0, first_token_s=0.1, per_token_s=0.02, alone_per_s=40.0,
    together_per_s=100.0, low=90.0, high=110.0, read_per_s=1000.0, written_per_s=200.0, peak_mb=500.0, joules_low=1.0,
    joules=2.0, joules_high=3.0, energy_method="a test", agreement=1.0, resolved=0.25, prompts=10, prompt_tokens=5000,
    answer_tokens=300, cached_tokens=None, rounds=5, threads=2)


def test_dollars_of_a_rented_machine_are_those_of_its_time():
    """300 tokens at 100 a second take 3 s for 10 requests; the machine has just the cores that were used."""
    place = dataclasses.replace(offer("AWS m6i.large"), vcpus=2, on_demand_usd_hour=0.36)  # 0.0001 dollars a second
    row = ROUND.row(place)
    assert row["usd_per_million_tokens"] == pytest.approx(1e6 / 100 * 1e-4)
    assert row["usd_per_million_in"] == pytest.approx(1e6 / 1000 * 1e-4)
    assert row["usd_per_million_out"] == pytest.approx(1e6 / 200 * 1e-4)
    assert row["usd_per_request"] == pytest.approx(3 / 10 * 1e-4)
    assert row["usd_per_resolved"] == pytest.approx(4 * 3 / 10 * 1e-4)  # one in four carries all


def test_dollars_behind_a_server_are_those_of_its_tokens():
    price = dataclasses.replace(next(iter(api_prices().values())), input_usd_per_million_tokens=2.0,
                                output_usd_per_million_tokens=10.0)
    row = ROUND.row(price)
    whole = 5000 * 2e-6 + 300 * 10e-6
    assert (row["usd_per_million_in"], row["usd_per_million_out"]) == (2.0, 10.0)
    assert row["usd_per_request"] == pytest.approx(whole / 10)
    assert row["usd_per_resolved"] == pytest.approx(4 * whole / 10)
    assert row["usd_per_million_tokens"] == pytest.approx(whole / 300 * 1e6)


def test_what_nobody_knows_has_no_price():
    assert {ROUND.row(None)[name] for name in ROUND.row(None) if name.startswith("usd_")} == {None}
    for share in (None, 0.0):  # nobody judged, or nothing was resolved
        row = dataclasses.replace(ROUND, resolved=share, written_per_s=None).row(offer("AWS m6i.large"))
        assert (row["usd_per_resolved"], row["usd_per_million_out"]) == (None, None)
        assert row["usd_per_request"] > 0


def test_a_served_model_is_timed_and_billed_by_its_tokens(faulty):
    """The server is silent for 0.1 s, then says two tokens; it counts 7 tokens of each prompt."""
    faulty.script = [paris(after_s=0.1)]
    llm = endpoint(faulty.url, model="small", at_once=4)
    price = next(iter(api_prices().values()))
    judged = []
    frame = measure_generation([llm], ["a", "b", "c", "d"], rounds=2, prices={"small": price},
                               resolves=lambda place, text: judged.append((place, text)) or place == 0)
    [row] = frame.to_dict("records")
    assert judged == [(place, "Paris") for place in range(4)]
    assert row["resolved"] == 0.25
    assert (row["prompts"], row["prompt_tokens"], row["answer_tokens"], row["agreement"]) == (4, 28, 8, 1)
    assert row["cached_tokens"] == 4 * 5
    assert 0.1 < row["first_token_s"] < 1
    assert 0 < row["together_per_s"] < 8 / 0.1
    assert row["alone_per_s"] < 2 / 0.1
    assert 0 < row["read_per_s"] < 28 / 0.1
    assert pd.isna(row["peak_mb"])
    assert pd.isna(row["joules"])
    assert row["usd_per_request"] == pytest.approx(price.usd(28, 8) / 4)
    beginnings = [body["messages"][0]["content"] for _, _, body in faulty.seen if body["max_tokens"] == 1]
    fresh = [text for text in beginnings if len(text) > 1]
    assert len(set(fresh)) == len(fresh) > 0  # no cache has met them


def test_cancel_is_heard_while_a_server_is_silent(faulty):
    faulty.script = [paris(after_s=5)]
    began = time.monotonic()
    with pytest.raises(Cancelled):
        measure_generation([endpoint(faulty.url, model="small")], ["a"],
                           progress=Progress(cancelled=lambda: time.monotonic() - began > 0.5))
    assert time.monotonic() - began < 1.5


@pytest.mark.slow
def test_the_figures_of_a_run_agree_with_each_other():
    frame = measure_generation([smollm2("openvino"), smollm2("openvino")], PROMPTS[:2], max_tokens=6, rounds=2,
                               resolves=lambda place, text: "Paris" in text, memory=False)
    assert frame["agreement"].tolist() == [1, 1]  # with itself
    assert frame["resolved"].tolist() == [0.5, 0.5]
    place = offer("AWS m6i.large")
    for row in frame.to_dict("records"):
        assert row["low"] <= row["together_per_s"] <= row["high"]
        hours = 1e6 / row["together_per_s"] / 3600
        assert row["usd_per_million_tokens"] == pytest.approx(
            hours * place.on_demand_usd_hour * usable_cores() / place.vcpus)
        each = row["answer_tokens"] / row["prompts"]
        alone = 1 / (row["first_token_s"] / each + row["per_token_s"] * (each - 1) / each)
        assert row["alone_per_s"] == pytest.approx(alone, rel=0.8)
        assert row["usd_per_resolved"] == pytest.approx(2 * row["usd_per_request"])
        assert 0 <= row["joules_low"] < row["joules"] < row["joules_high"]
        assert row["read_per_s"] > row["together_per_s"]  # many tokens at a time


@pytest.mark.slow
def test_peak_memory_holds_the_weights():
    frame = measure_generation([smollm2("llama.cpp")], PROMPTS[:1], max_tokens=2, rounds=2, energy=False)
    assert frame["peak_mb"][0] > frame["megabytes"][0] > 90
    assert frame["energy_method"][0] == "not measured"


def test_a_model_that_says_nothing_has_no_speed(faulty):
    faulty.script = [stream(piece("", "stop"), {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 0}})]
    with pytest.raises(InputError, match="'small' ended every answer before its first token"):
        measure_generation([endpoint(faulty.url, model="small")], ["a"], rounds=1)


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="at least one language model"):
        measure_generation([], PROMPTS)
