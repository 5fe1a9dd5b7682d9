"""Engines on paper against sums done by hand and the recorded steps of an H100."""

import dataclasses

import numpy as np
import pytest

from helpers.app import recorded_table
from helpers.cloud_distributed import LlmFleet, ServingEngine, paper_band, paper_engine, serve_llm
from helpers.cloud_distributed.training.communication import Link
from helpers.lab import DECODERS, DecoderSheet, InputError
from helpers.lab.language.sheet import Decoder, Efficiency

SMALL = Decoder(1e9, layers=10, heads=16, kv_heads=4, head_size=64)
# NVIDIA L4 in hardware.csv: 121 TFLOPS bf16, 300 GB/s, 24 GiB. All of it used, no overhead: the paper roofline.
IDEAL = Efficiency(compute=1.0, bandwidth=1.0, overhead_s=0.0)
SHEET = DecoderSheet(SMALL, "NVIDIA L4", efficiency=IDEAL)
LLAMA = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")


def test_one_request_takes_the_roofline_by_hand():
    """2,000 prompt tokens: compute-bound; then 10 steps, each reads the weights and the context: memory-bound."""
    run = serve_llm([0.0], [2000], [11], LlmFleet(paper_engine(SHEET)))
    attention = 4 * 10 * 16 * 64 * (2000 * 2001 / 2)
    prefill = (2 * 1e9 * 2000 + attention) / 121e12
    decode = [(2e9 + (2000 + k) * 10_240) / 300e9 for k in range(10)]
    assert run.ttft_s[0] == pytest.approx(prefill, rel=1e-9)
    assert run.latency_s[0] == pytest.approx(prefill + sum(decode), rel=1e-9)


def test_per_token_time_of_a_known_model_on_a_known_device():
    """Llama 3.1 8B on an H100: 16.06 GB of weights over 3,350 GB/s are 4.8 ms a token at best."""
    sheet = dataclasses.replace(LLAMA, efficiency=IDEAL)
    run = serve_llm([0.0], [10], [20], LlmFleet(paper_engine(sheet)))
    assert run.per_token_s[0] == pytest.approx(16.06 / 3350, rel=0.01)


def test_an_engine_on_paper_takes_as_long_as_its_sheet_says():
    engine = paper_engine(LLAMA)
    assert engine.step_s(1000, 0, 1000 * 1001 / 2, 1000) == pytest.approx(LLAMA.prefill_s(1000))
    assert engine.step_s(0, 8, 8 * 1000, 8 * 1000) == pytest.approx(LLAMA.decode_s(batch=8, context=1000))
    assert engine.kv_tokens == LLAMA.kv_tokens


def test_four_accelerators_pay_for_what_they_exchange():
    """By hand: 2 x 10 all-reduces of 1,024 values of 2 bytes, 2 x 3 messages each; 3/4 of twice the bytes are sent."""
    link = Link.given(1e-5, 1e9, "by hand")
    one, four = paper_engine(SHEET), paper_engine(SHEET, 4, link)
    sent_s = 20 * 2 * 3 / 4 * 1024 * 2 / 1e9
    assert four.overhead_s == pytest.approx(20 * 6 * 1e-5)
    assert four.step_s(0, 1, 0, 0) == pytest.approx(float(one.step_s(0, 0, 0, 0)) / 4 + sent_s + four.overhead_s)
    assert four.step_s(4096, 0, 0, 0) == pytest.approx(4096 * (2e9 / 121e12 / 4 + sent_s) + four.overhead_s)
    assert four.kv_tokens == pytest.approx((4 * 24 * 2**30 * 0.9 - 2e9) / 10_240, abs=1)


def test_a_large_model_on_four_accelerators_is_a_fifth_slower_than_a_quarter_of_its_work():
    sheet = DecoderSheet(DECODERS["Llama 3.1 70B"], "NVIDIA H100 SXM")
    free = paper_engine(sheet, 4, Link.given(0.0, 1e18, "no cost"))
    ratio = paper_engine(sheet, 4).step_s(0, 8, 8000, 8000) / free.step_s(0, 8, 8000, 8000)
    assert 1.1 < ratio < 1.35


def test_the_recorded_h100_lies_in_the_band_of_its_data_sheet():
    """Medians over processes, of steps that nobody fitted anything to."""
    table = recorded_table("3_hardware_codesign_gpu_decoder")
    table = table[table["model"] == "Llama 3.1 8B"].groupby(["phase", "batch", "context"])["seconds"].median()
    band = paper_band(LLAMA)
    assert len(table) >= 8
    for (phase, batch, context), seconds in table.items():
        step = ((context, 0, context * (context + 1) / 2, context) if phase == "prefill"
                else (0, batch, batch * context, batch * context))
        fastest, slowest = (float(band[name].step_s(*step)) for name in ("fastest", "slowest"))
        assert fastest <= seconds <= slowest, (phase, batch, context)


def test_the_band_holds_what_is_assumed():
    band = paper_band(LLAMA)
    times = [float(band[name].step_s(500, 4, 1e5, 9000)) for name in ("fastest", "assumed", "slowest")]
    assert times == sorted(times)
    assert band["assumed"] == paper_engine(LLAMA)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: paper_engine(DecoderSheet(DECODERS["Llama 3.1 70B"], "NVIDIA L4")), "keys and values fit"),
    (lambda: paper_engine(LLAMA, 3), "32 heads cannot be divided over 3"),
    (lambda: ServingEngine((0.0,) * 4, (0.0,) * 4, 0.0, 10), "not all 0"),
    (lambda: ServingEngine((0.0, -1.0, 0.0, 0.0), (1.0,) * 4, 0.0, 10), "0 or more"),
    (lambda: ServingEngine((0.0, np.nan, 0.0, 0.0), (1.0,) * 4, 0.0, 10), "0 or more"),
])
def test_engines_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
