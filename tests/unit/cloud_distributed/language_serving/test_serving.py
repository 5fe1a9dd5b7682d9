"""The language-model server against sums done by hand and a step-by-step server in plain lists."""

import dataclasses

import numpy as np
import pytest

from helpers.cloud_distributed import LlmServer, serve_llm
from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.lab import DECODERS, DecoderSheet, InputError
from helpers.lab.language.sheet import Decoder, Efficiency

SMALL = Decoder(1e9, layers=10, heads=16, kv_heads=4, head_size=64)
# NVIDIA L4 in hardware.csv: 121 TFLOPS bf16, 300 GB/s, 24 GiB. All of it used, no overhead: the paper roofline.
IDEAL = Efficiency(compute=1.0, bandwidth=1.0, overhead_s=0.0)
SHEET = DecoderSheet(SMALL, "NVIDIA L4", efficiency=IDEAL)
SERVER = LlmServer(SHEET)


def test_one_request_takes_the_roofline_by_hand():
    """2,000 prompt tokens: compute-bound; then 10 steps, each reads the weights and the context: memory-bound."""
    run = serve_llm([0.0], [2000], [11], SERVER)
    attention = 4 * 10 * 16 * 64 * (2000 * 2001 / 2)
    prefill = (2 * 1e9 * 2000 + attention) / 121e12
    decode = [(2e9 + (2000 + k) * 10_240) / 300e9 for k in range(10)]
    assert run.ttft_s[0] == pytest.approx(prefill, rel=1e-9)
    assert run.latency_s[0] == pytest.approx(prefill + sum(decode), rel=1e-9)
    assert run.per_token_s[0] == pytest.approx(np.mean(decode), rel=1e-9)


def test_decoding_together_costs_little_more_than_alone():
    """Sixteen sequences share one reading of the weights: the batch's lesson."""
    alone = serve_llm([0.0], [1], [100], SERVER)
    together = serve_llm(np.zeros(16), np.ones(16), np.full(16, 100), SERVER)
    assert together.busy_s < 1.1 * alone.busy_s
    assert together.summary()["tokens_per_s"] > 14 * alone.summary()["tokens_per_s"]


def stepwise(arrivals, prompt, output, server):
    """The same server in plain lists, one step at a time: first and last token's moments."""
    weights_s, overhead_s, token_s, attention_s, context_s = server.costs()
    queue, inside, clock = list(range(len(arrivals))), [], 0.0
    filled, made = dict.fromkeys(queue, 0), dict.fromkeys(queue, 0)
    first, last = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan)
    while queue or inside:
        while queue and arrivals[queue[0]] <= clock and len(inside) < server.max_batch:
            need = prompt[queue[0]] + output[queue[0]]
            reserved = sum(prompt[i] + output[i] for i in inside)
            if need <= server.sheet.kv_tokens < need + reserved:
                break
            i = queue.pop(0)
            inside += [i] if need <= server.sheet.kv_tokens else []
        if not inside:
            clock = max(clock, arrivals[queue[0]]) if queue else clock
            continue
        decoding = [i for i in inside if made[i]]
        flops_s = sum(token_s + attention_s * (prompt[i] + made[i] - 1) for i in decoding)
        bytes_s = weights_s + sum(context_s * (prompt[i] + made[i] - 1) for i in decoding)
        room = max(0, server.token_budget - len(decoding))
        for i in [i for i in inside if not made[i]]:
            chunk = min(room, prompt[i] - filled[i])
            flops_s += sum(token_s + attention_s * (filled[i] + k + 1) for k in range(chunk))
            filled[i] += chunk
            bytes_s += context_s * filled[i] if chunk else 0.0
            room -= chunk
        clock += max(flops_s, bytes_s) + overhead_s
        for i in list(inside):
            if filled[i] == prompt[i]:
                made[i] += 1
                if made[i] == 1:
                    first[i] = clock
                if made[i] == output[i]:
                    last[i] = clock
                    inside.remove(i)
    return first, last


@pytest.mark.parametrize("seed", range(12))
def test_continuous_batching_does_what_a_stepwise_server_does(seed):
    rng = np.random.default_rng(seed)
    count = 40
    arrivals = np.sort(rng.random(count)) * rng.choice([0.05, 0.5])
    prompt, output = rng.integers(1, 300, count), rng.integers(1, 40, count)
    prompt[5] = 5000 if seed % 2 else prompt[5]
    tight = (2e9 + 10_240 * rng.choice([700, 3000])) / (24 * 2**30)  # room for so many tokens
    server = LlmServer(dataclasses.replace(SHEET, efficiency=Efficiency(1.0, 1.0, tight, overhead_s=0.001)),
                       max_batch=int(rng.choice([3, 64])), token_budget=int(rng.choice([64, 512])))
    run = serve_llm(arrivals, prompt, output, server)
    first, last = stepwise(arrivals, prompt, output, server)
    np.testing.assert_allclose(run.ttft_s, first - arrivals, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(run.latency_s, last - arrivals, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(run.outcome == Outcome.DROPPED, prompt + output > server.sheet.kv_tokens)
    assert run.peak_kv <= 1


def test_two_replicas_are_two_servers_with_every_second_request():
    rng = np.random.default_rng(0)
    arrivals, prompt, output = np.sort(rng.random(50)), rng.integers(1, 900, 50), rng.integers(1, 50, 50)
    both = serve_llm(arrivals, prompt, output, dataclasses.replace(SERVER, replicas=2))
    second = serve_llm(arrivals[1::2], prompt[1::2], output[1::2], SERVER)
    np.testing.assert_allclose(both.ttft_s[1::2], second.ttft_s)
    assert both.summary()["answered"] == 50


def test_per_token_time_of_a_known_model_on_a_known_device():
    """Llama 3.1 8B on an H100: 16.06 GB of weights over 3,350 GB/s are 4.8 ms a token at best."""
    server = LlmServer(DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM", efficiency=IDEAL))
    run = serve_llm([0.0], [10], [20], server)
    assert run.per_token_s[0] == pytest.approx(16.06 / 3350, rel=0.01)


def test_the_simulator_takes_as_long_as_the_sheet_says():
    """1,000 tokens of prompt in one step, then one step that reads them and the weights."""
    sheet = DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM")
    run = serve_llm([0.0], [1000], [2], LlmServer(sheet))
    assert run.ttft_s[0] == pytest.approx(sheet.prefill_s(1000), rel=1e-9)
    assert run.per_token_s[0] == pytest.approx(sheet.decode_s(batch=1, context=1000), rel=1e-9)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: LlmServer(DecoderSheet(DECODERS["Llama 3.1 70B"], "NVIDIA L4")), "leave no room"),
    (lambda: LlmServer(SHEET, replicas=0), "replicas must be 1 or more"),
    (lambda: serve_llm([0.0], [0], [1], SERVER), "prompt_tokens must be whole numbers of 1 or more"),
    (lambda: serve_llm([0.0, 1.0], [1], [1, 1], SERVER), r"shape \(1,\) for 2 arrivals"),
    (lambda: serve_llm([1.0, 0.0], [1, 1], [1, 1], SERVER), "ascending"),
])
def test_servers_and_requests_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
