"""Language models on paper, against sums by hand."""

import math
from pathlib import Path

import pytest

import helpers
from helpers.hardware_codesign import token_costs
from helpers.lab import DECODERS, DecoderSheet, InputError
from helpers.lab.language.sheet import Decoder, Efficiency
from helpers.lab.measuring.recorded import read_table

RECORDED = Path(helpers.__file__).parent / "facts" / "recorded"

SMALL = Decoder(1e9, layers=10, heads=16, kv_heads=4, head_size=64)
LLAMA = DECODERS["Llama 3.1 8B"]
H100 = DecoderSheet(LLAMA, "NVIDIA H100 SXM")  # 3,350 GB/s, 989 TFLOPS in bf16, 80 GiB


def test_the_memory_for_keys_and_values_is_what_the_weights_leave():
    """24 GiB * 0.9 - 2 GB of weights, at 2 * 10 layers * 4 heads * 64 * 2 bytes a token."""
    assert DecoderSheet(SMALL, "NVIDIA L4").kv_tokens == math.floor((24 * 2**30 * 0.9 - 2e9) / 10_240)
    assert DecoderSheet(DECODERS["Llama 3.1 70B"], "NVIDIA L4").kv_tokens == 0


def test_keys_and_values_are_those_of_the_config():
    """8 key-value heads of 128 in 32 layers, keys and values of 2 bytes: 131,072 bytes a token."""
    assert LLAMA.kv_bytes == 131_072
    assert DecoderSheet(LLAMA, "NVIDIA L4").kv_tokens == int((0.9 * 24 * 2**30 - 2 * 8.03e9) // 131_072)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_decoding_alone_is_reading_the_weights_and_the_overhead_of_a_step(bits):
    sheet = DecoderSheet(LLAMA, "NVIDIA H100 SXM", bits)
    assert sheet.decode_s(1, 0) == pytest.approx(bits / 8 * 8.03e9 / (0.8 * 3350e9) + 0.002)


def test_a_decode_step_is_one_reading_of_the_weights_and_of_each_sequences_keys_and_values():
    """32 sequences of 1,000 tokens: 16.06 GB and 4.19 GB at 80% of 3,350 GB/s are 7.56 ms, and 2 ms of overhead."""
    assert H100.decode_s(32, 1000) == pytest.approx((16.06e9 + 32 * 1000 * 131_072) / 2680e9 + 0.002)
    assert 1000 * H100.decode_s(32, 1000) == pytest.approx(9.56, abs=0.01)


def test_the_prices_of_tokens_follow_the_same_sheet():
    row = token_costs(LLAMA, prompt=1000, output=250).query("device == 'NVIDIA H100 SXM' and bits == 16").iloc[0]
    assert row["token_ms"] == pytest.approx(1000 * H100.decode_s(row["batch"], 1125))
    assert row["first_token_s"] == pytest.approx(H100.prefill_s(1000))


def test_reading_a_prompt_is_two_operations_a_weight_and_token_and_attention_to_all_before():
    flops = 2 * 8.03e9 * 1000 + 4 * 32 * 32 * 128 * (1000 * 1001 / 2)
    assert H100.prefill_s(1000) == pytest.approx(flops / (0.6 * 989e12) + 0.002)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: DecoderSheet(SMALL, "NVIDIA Z9"), "Unknown device 'NVIDIA Z9'. Choose one of: NVIDIA T4"),
    (lambda: DecoderSheet(SMALL, "NVIDIA T4"), "no bf16 figure for NVIDIA T4"),
    (lambda: DecoderSheet(SMALL, bits=32), "bits must be 1 to 16"),
    (lambda: Efficiency(compute=1.5), "fraction above 0"),
    (lambda: Efficiency(overhead_s=-0.1), "overhead_s is 0 or more"),
])
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_sheet_is_near_a_recorded_gpu():
    """PyTorch alone on an H100: without a server's overhead, within 15% wherever the GPU, not Python, is the limit."""
    seen = read_table(RECORDED / "3_hardware_codesign_gpu_decoder.json")
    seen = seen.groupby(["phase", "batch", "context"])["seconds"].median().reset_index()
    alone = DecoderSheet(LLAMA, "NVIDIA H100 SXM", efficiency=Efficiency(overhead_s=0.0))
    for row in seen[(seen["phase"] == "decode") | (seen["context"] >= 512)].itertuples():
        paper = alone.decode_s(row.batch, row.context) if row.phase == "decode" else alone.prefill_s(row.context)
        assert paper == pytest.approx(row.seconds, rel=0.15)
