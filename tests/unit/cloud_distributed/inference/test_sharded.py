"""A tiny model over two real processes: its answers are those of plain PyTorch, and what a slow link costs."""

import pandas as pd
import pytest
import torch
from small_llama import tiny_llama

from helpers.cloud_distributed import Link, run_sharded
from helpers.cloud_distributed.inference.sharded import ShardedRuns, _require_layers
from helpers.lab import InputError

PROMPTS = [[5, 17, 42, 99], [7, 7, 250]]
TOKENS = 6
SLOW = Link.given(0.02, 1e6, "by hand")


@pytest.fixture(scope="module")
def runs():
    return run_sharded(tiny_llama, PROMPTS, TOKENS, links={"slow": SLOW})


def greedy(ids, tokens):
    """The whole text again for each token, without a cache."""
    module, text = tiny_llama(), list(ids)
    with torch.inference_mode():
        for _ in range(tokens):
            text.append(int(module(torch.tensor([text])).logits[0, -1].argmax()))
    return text[len(ids):]


def test_the_answers_are_those_of_one_process_without_a_cache(runs):
    expected = [greedy(ids, TOKENS) for ids in PROMPTS]
    assert list(runs.answers) == ["one process", "2 processes", "slow"]
    assert all(answers == expected for answers in runs.answers.values())
    assert runs.frame["same_answers"].all()


def test_each_process_has_a_layer_and_sends_one_tokens_hidden_values(runs):
    """64 values of four bytes go on, the token's number of eight bytes comes back. The embedding is also the head."""
    assert runs.layers == (1, 1)
    assert runs.sent_bytes == 64 * 4 + 8
    module = tiny_llama()
    layer = 4 * sum(weight.numel() for weight in module.model.layers[0].parameters())
    table = 4 * module.lm_head.weight.numel()
    assert runs.weight_bytes == (layer + table, layer + table + 4 * 64)  # the last has the final norm, too


def test_a_slow_link_adds_its_waits_to_each_token(runs):
    waits_ms = 1e3 * (2 * SLOW.latency_s + (64 * 4 + 8) / SLOW.bytes_per_s)
    one, cut, slow = runs.frame["token_ms"]
    assert runs.frame["predicted_ms"][2] == pytest.approx(cut + waits_ms)
    assert slow >= waits_ms
    assert runs.frame["low_ms"].le(runs.frame["token_ms"]).all()
    assert runs.frame["tokens_per_s"].tolist() == pytest.approx([1e3 / one, 1e3 / cut, 1e3 / slow])


@pytest.mark.parametrize(("same", "words"), [(True, "give the same answers as"), (False, "give other answers than")])
def test_the_sentence_says_what_came_out(same, words):
    frame = pd.DataFrame({"setting": ["one process", "2 processes"], "tokens_per_s": [10.0, 8.0],
                          "same_answers": [True, same]})
    text = ShardedRuns(frame, {}, (15, 15), (3, 2), 2312).sentence()
    assert words in text
    assert "10.0 in one process, 8.0 cut. Each further token sends 2,312 bytes" in text


@pytest.mark.parametrize(("call", "message"), [
    (lambda: run_sharded(tiny_llama, [[]], 3), "none of them empty"),
    (lambda: _require_layers(tiny_llama(), 3), "2 layers cannot be cut over 3 processes"),
    (lambda: _require_layers(torch.nn.Linear(2, 2), 2), "Linear has no model.layers")])
def test_what_cannot_be_cut_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
