"""The key-value cache in 8 bits: how far its codes are off, and how many bytes they take."""

import pytest
import torch
from small_llama import tiny_llama
from tiny_gguf import tiny_llm
from transformers.cache_utils import DynamicCache

from helpers.lab import Cancelled
from helpers.lab.progress import Progress
from helpers.model_optimization import cache_in_8_bits
from helpers.model_optimization.language_model.kv_cache import int8_cache, to_codes


def test_codes_of_a_state_are_within_half_a_step():
    states = torch.randn(2, 3, 5, 16) * torch.tensor([0.01, 1, 100])[:, None, None]
    codes, scales = to_codes(states)
    assert codes.dtype == torch.int8
    step = states.abs().amax(-1, keepdim=True) / 127
    assert ((codes * scales.float() - states).abs() <= 0.5 * step * 1.001 + 0.001 * states.abs().amax(-1, keepdim=True)
            ).all()
    zeros, scale = to_codes(torch.zeros(1, 1, 1, 4))
    assert (zeros * scale == 0).all()


def test_token_by_token_the_8_bit_cache_answers_as_in_one_go():
    module, ids = tiny_llama(), torch.randint(300, (1, 12), generator=torch.Generator().manual_seed(0))
    whole = module(ids, past_key_values=int8_cache(), use_cache=True).logits
    cache = int8_cache()
    steps = [module(one, past_key_values=cache, use_cache=True).logits for one in ids.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)
    exact = module(ids, past_key_values=DynamicCache(), use_cache=True).logits
    assert 0 < (whole - exact).abs().max() < 0.1 * exact.std()


def test_an_8_bit_cache_takes_a_byte_a_number_and_two_a_scale():
    llm = tiny_llm()
    frame = cache_in_8_bits(llm, ["The cat sat on the mat.", "Water boils at a hundred degrees."]).set_index("cache")
    config = llm.module.config
    layers, heads, size = config.num_hidden_layers, config.num_key_value_heads, config.head_dim
    assert frame["bytes_per_token"]["float32"] == 2 * layers * heads * size * 4
    assert frame["bytes_per_token"]["int8"] == 2 * layers * heads * (size + 2)
    assert frame["ratio"]["int8"] == pytest.approx(1, abs=0.05)


def test_a_wish_to_end_is_heard():
    with pytest.raises(Cancelled):
        cache_in_8_bits(tiny_llm(), ["The cat sat on the mat."], progress=Progress(cancelled=lambda: True))
