"""Two fleets for one service: sums done by hand, no request lost, and what splitting is for."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import LlmFleet, ServingEngine, serve_llm
from helpers.cloud_distributed.language_serving.split_fleets import serve_by_length, serve_pools
from helpers.cloud_distributed.training.communication import Link
from helpers.lab import InputError

ENGINE = ServingEngine((0.0, 2e-5, 2e-5, 1e-9), (5e-3, 0.0, 1e-4, 3e-8), 0.001, 100_000)
LINK = Link.given(0.001, 1e9, "by hand")


def drawn(seed, count, longest=300, span=5.0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.random(count)) * span, rng.integers(1, longest + 1, count), rng.integers(1, 41, count)


def test_an_answer_alone_takes_its_prompt_its_way_and_its_steps():
    """One request each ten seconds: read, sent over, and then a token a step with one more in memory each time."""
    fleet = LlmFleet(ENGINE)
    run = serve_pools(np.arange(5) * 10.0, np.full(5, 400), np.full(5, 20), fleet, fleet, 1e5, LINK)
    read = float(ENGINE.step_s(400, 0, 400 * 401 / 2, 400))
    moved = 0.001 + 401 * 1e5 / 1e9
    wrote = float(ENGINE.step_s(1, 0, 401, 401)) + sum(float(ENGINE.step_s(0, 1, 401 + k, 401 + k))
                                                       for k in range(18))
    np.testing.assert_allclose(run.ttft_s, read)
    np.testing.assert_allclose(run.latency_s, read + moved + wrote)
    np.testing.assert_allclose(run.per_token_s, (moved + wrote) / 19)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 60), st.sampled_from([330, 700, 5000]), st.integers(1, 3))
def test_pools_lose_and_double_no_request(seed, count, kv, replicas):
    sent = drawn(seed, count, span=0.5)
    fleet = LlmFleet(dataclasses.replace(ENGINE, kv_tokens=kv), replicas, max_batch=8, token_budget=64)
    run = serve_pools(*sent, fleet, dataclasses.replace(fleet, replicas=1), 1e4, LINK)
    fits = sent[1] + sent[2] <= kv
    np.testing.assert_array_equal(run.answered, fits | (sent[1] + 1 <= kv) & (sent[2] == 1))
    np.testing.assert_array_equal(run.ttft_s, serve_llm(*sent[:2], np.ones(count), fleet).ttft_s)
    moved_s = np.where(sent[2] > 1, LINK.latency_s + (sent[1] + 1) * 1e4 / 1e9, 0.0)
    assert (run.latency_s[fits] >= (run.ttft_s + moved_s)[fits] - 1e-9).all()
    assert run.written == sent[2][run.answered].sum()
    assert run.end_s >= np.nanmax(sent[0] + run.ttft_s) - 1e-9


def test_answers_in_a_pool_do_not_wait_behind_long_prompts():
    rng = np.random.default_rng(3)
    arrivals = np.arange(200) * 0.08
    prompt, output = np.where(rng.random(200) < 0.3, 6000, 100), np.full(200, 40)
    fleet = LlmFleet(ENGINE, token_budget=8192)
    together = serve_llm(arrivals, prompt, output, dataclasses.replace(fleet, replicas=2))
    apart = serve_pools(arrivals, prompt, output, fleet, fleet, 1e3, LINK)
    assert np.quantile(apart.per_token_s, 0.95) < 0.7 * np.quantile(together.per_token_s, 0.95)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_each_side_of_a_length_is_a_fleet_by_itself(seed, count):
    arrivals, prompt, output = drawn(seed, count, span=0.5)
    prompt[:2] = 1, 300
    slow = dataclasses.replace(ENGINE, arithmetic=(0.0, 1e-4, 1e-4, 0.0))
    run = serve_by_length(arrivals, prompt, output, 150, LlmFleet(slow), LlmFleet(ENGINE, 2))
    for side, fleet in ((prompt <= 150, LlmFleet(slow)), (prompt > 150, LlmFleet(ENGINE, 2))):
        alone = serve_llm(arrivals[side], prompt[side], output[side], fleet)
        np.testing.assert_array_equal(run.latency_s[side], alone.latency_s)
    assert run.answered.all()
    assert run.summary()["answered"] == count


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serve_pools([0.0], [1], [1], LlmFleet(ENGINE), LlmFleet(ENGINE), 0.0, LINK), "more than 0 bytes"),
    (lambda: serve_by_length([0.0], [5], [1], 9, LlmFleet(ENGINE), LlmFleet(ENGINE)), "one side of 9 tokens"),
])
def test_splits_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
