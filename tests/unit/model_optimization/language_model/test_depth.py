"""Blocks taken out of a language model: it computes as if they did nothing, and the least missed ones go first."""

import copy

import pytest
import torch
from small_llama import tiny_llama
from tiny_gguf import tiny_llm

from helpers.lab import Cancelled, InputError
from helpers.lab.language.perplexity import negative_log_likelihood
from helpers.lab.language.tuning import tuned_on
from helpers.lab.progress import Progress
from helpers.model_optimization import depth_against_perplexity
from helpers.model_optimization.language_model.depth import rank_blocks, without_blocks

IDS = torch.randint(300, (2, 12), generator=torch.Generator().manual_seed(0))
TEXTS = ["Where is my camera? It is late.", "The hub is broken since May.", "Please cancel the order of the lamp."]


def passing_by(module, block):
    """The same module with a block that gives back what it gets."""
    whole = copy.deepcopy(module)
    whole.model.layers[block].forward = lambda states, *_args, **_kwargs: states
    return whole


@pytest.mark.parametrize("block", [0, 1])
def test_without_a_block_it_computes_as_if_the_block_did_nothing(block):
    module = tiny_llama()
    before, fewer = module(IDS).logits, without_blocks(module, [block])
    torch.testing.assert_close(fewer(IDS).logits, passing_by(module, block)(IDS, use_cache=False).logits)
    torch.testing.assert_close(module(IDS).logits, before)  # the model stays as it is
    assert fewer.config.num_hidden_layers == 1
    assert sum(weight.numel() for weight in fewer.parameters()) < sum(weight.numel() for weight in module.parameters())


def test_token_by_token_a_shorter_model_answers_as_in_one_go():
    fewer = without_blocks(tiny_llama(), [0])
    cache, steps = None, []
    for one in IDS.split(1, dim=1):
        said = fewer(one, past_key_values=cache, use_cache=True)
        cache, steps = said.past_key_values, [*steps, said.logits]
    torch.testing.assert_close(torch.cat(steps, 1), fewer(IDS).logits, rtol=1e-4, atol=1e-4)


def test_a_block_that_does_nothing_is_missed_least():
    llm = copy.copy(tiny_llm())
    llm.module = copy.deepcopy(llm.module)
    idle = llm.module.model.layers[1]
    for part in (idle.self_attn.o_proj, idle.mlp.down_proj):  # both write into the residual stream
        part.weight.data.zero_()
    ranked = rank_blocks(llm, TEXTS)
    assert ranked["block"].tolist() == [1, 0]
    assert ranked["ratio"][0] == pytest.approx(1, abs=1e-6)
    assert ranked["ratio"][1] != pytest.approx(1, abs=1e-3)


def test_recovery_brings_perplexity_down_and_the_whole_model_is_tuned_as_long():
    llm = tiny_llm()
    frame = depth_against_perplexity(llm, TEXTS, TEXTS, drops=(1,), epochs=60)
    assert frame["name"].tolist() == ["2 blocks", "2 blocks, tuned as long", "1 blocks", "1 blocks, recovered"]
    whole = negative_log_likelihood(llm.module, llm.encode(TEXTS))
    assert frame["perplexity"][0] == pytest.approx(whole.perplexity)
    assert frame["perplexity"][1] < frame["perplexity"][0]
    assert frame["perplexity"][3] < frame["perplexity"][2]
    assert frame["ratio"][2] == pytest.approx(frame["perplexity"][2] / frame["perplexity"][0])
    assert frame["ratio"][3] == pytest.approx(frame["perplexity"][3] / frame["perplexity"][1])
    assert frame["megabytes"].is_monotonic_decreasing
    assert frame["dropped"][2] in ("0", "1")


def test_tuning_on_texts_learns_each_token_but_the_first():
    """The loss that training lowers is the perplexity's."""
    llm = tiny_llm()
    tuned = tuned_on(llm, llm.encode(TEXTS[:1]), epochs=200)
    before, after = (negative_log_likelihood(module, llm.encode(TEXTS[:1])) for module in (llm.module, tuned))
    assert after.perplexity < 0.8 * before.perplexity


def test_what_cannot_go_is_refused():
    module, llm = tiny_llama(), tiny_llm()
    for blocks in ([2], [0, 1], [-1]):
        with pytest.raises(InputError, match="blocks 0 to 1, of which at least one stays"):
            without_blocks(module, blocks)
    with pytest.raises(InputError, match="Of 2 blocks 1 to 1 can go, not 2"):
        depth_against_perplexity(llm, TEXTS, TEXTS, drops=(2,))
    with pytest.raises(InputError, match="at least one text of two tokens"):
        tuned_on(llm, llm.encode([""]), epochs=1)
    with pytest.raises(Cancelled):
        depth_against_perplexity(llm, TEXTS, TEXTS, drops=(1,), progress=Progress(cancelled=lambda: True))
