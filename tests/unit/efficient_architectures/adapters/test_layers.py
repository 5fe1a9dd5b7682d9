"""Bottlenecks change nothing at the start, and adapters go where the papers have them."""

import re

import pytest
import torch
from architectures import small_classifier
from torch import nn

from helpers.efficient_architectures.adapters.layers import LinearWithBottleneck, add_bottlenecks
from helpers.efficient_architectures.adapters.tuning import ia3_sites, lora_sites
from helpers.lab import InputError


def test_a_new_bottleneck_changes_nothing_until_it_is_trained():
    base, states = nn.Linear(8, 6), torch.randn(3, 8)
    layer = LinearWithBottleneck(base, 2)
    torch.testing.assert_close(layer(states), base(states), rtol=0, atol=0)
    nn.init.ones_(layer.adapter.up.weight)
    assert not torch.equal(layer(states), base(states))


def test_an_architecture_without_known_places_is_refused_by_name():
    body = small_classifier("fnet").classifier.base_model
    for call in (lambda: add_bottlenecks(body, 4), lambda: ia3_sites(body)):
        with pytest.raises(InputError, match=r"in the layers of 'fnet'. Choose one of: probe, bitfit, lora, full\.$"):
            call()


# What the papers adapt: LoRA query and value, IA3 key, value and the inner values of the feed-forward part
@pytest.mark.parametrize(("name", "lora", "ia3"), [
    ("bert", "attention.self.query attention.self.value", "attention.self.key attention.self.value output.dense"),
    ("distilbert", "attention.q_lin attention.v_lin", "attention.k_lin attention.v_lin ffn.lin2"),
    ("mpnet", "attention.attn.q attention.attn.v", "attention.attn.k attention.attn.v output.dense"),
    ("modernbert", "attn.Wqkv", "attn.Wqkv mlp.Wo"), ("gpt2", "attn.c_attn", "attn.c_attn mlp.c_proj"),
    ("llama", "self_attn.q_proj self_attn.v_proj", "self_attn.k_proj self_attn.v_proj mlp.down_proj"),
    ("deberta-v2", "attention.self.query_proj attention.self.value_proj",
     "attention.self.key_proj attention.self.value_proj output.dense"),
    ("roformer", "attention.self.query attention.self.value",
     "attention.self.key attention.self.value output.dense")])
def test_adapters_go_where_the_papers_have_them(name, lora, ia3):
    body = small_classifier(name).classifier.base_model
    for sites, expected in ((lora_sites(body), lora), (ia3_sites(body)[0], ia3)):
        assert {re.sub(r"^.*?\.\d+\.", "", site) for site in sites} == set(expected.split())
        assert len(sites) == 2 * len(expected.split())  # of two layers
