"""The language model: what it cannot know, what its numbers are elsewhere, and what fewer bits take away."""

import math
import random

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel
from transformers.cache_utils import DynamicCache

from helpers.lab import Cancelled, InputError
from helpers.lab.progress import Progress
from helpers.model_optimization import (
    LanguageModel,
    bits_against_perplexity,
    cache_in_8_bits,
    load_language_model,
    quantize_language_model,
    surprise,
    train_language_model,
)
from helpers.model_optimization.language_model.causal import byte_pairs
from helpers.model_optimization.language_model.kv_cache import int8_cache, to_codes
from helpers.model_optimization.language_model.weight_bits import coded, tokens_of

SIZES = {"vocabulary": 300, "layers": 2, "width": 32, "heads": 2, "context": 64}


def letters(texts: int, seed: int) -> list[str]:
    """Texts of 60 independent letters, a to d alike: 2 bits a letter, whatever is tried."""
    rng = random.Random(seed)
    return ["".join(rng.choices("abcd", k=60)) for _ in range(texts)]


@pytest.fixture(scope="module")
def model():
    """A model of letters. Tests leave it as it is."""
    return train_language_model(letters(600, 0), **SIZES | {"vocabulary": 257}, epochs=6)


def randomly_wide(model: LanguageModel, seed: int = 0) -> LanguageModel:
    """The same sizes with random weights, wide apart: each token before changes the answer."""
    torch.manual_seed(seed)
    module = type(model.module)(model.module.config)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return LanguageModel("random", model.tokenizer, module, model.start, model.context)


# Perplexity

def test_a_model_that_knows_nothing_is_as_surprised_as_its_vocabulary_is_large(model):
    module = type(model.module)(model.module.config)
    torch.nn.init.zeros_(module.lm_head.weight)
    blank = LanguageModel("blank", model.tokenizer, module, model.start, model.context)
    assert surprise(blank, letters(3, 1)).perplexity == pytest.approx(model.tokenizer.get_vocab_size(), rel=1e-5)


def test_what_it_learns_of_random_letters_ends_at_two_bits_each(model):
    texts = letters(40, 7)
    found = surprise(model, texts)
    spread = 4 * 2 / math.sqrt(found.tokens.sum())  # of the mean of two bits a letter, generously
    assert 2 - spread < found.bits_per_byte(texts) < 2.1
    assert found.perplexity == pytest.approx(4, rel=0.08)
    low, high = found.interval()
    assert low < found.perplexity < high


def test_surprise_is_the_loss_of_transformers_itself(model):
    other = randomly_wide(model)
    ids = torch.tensor(model.encode(["abcdabcd"]))
    expected = other.module(ids, labels=ids).loss.item()
    assert math.log(surprise(other, ["abcdabcd"]).perplexity) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_nothing(model):
    other, texts = randomly_wide(model), ["a", "abc" * 9, "dd", "cab" * 4]
    alone = [surprise(other, [text]).nats[0] for text in texts]
    np.testing.assert_allclose(surprise(other, texts, batch=4).nats, alone, rtol=1e-5)


def test_a_ratio_is_that_of_the_perplexities_and_of_itself_is_one(model):
    texts = letters(12, 3)
    own, other = surprise(model, texts), surprise(randomly_wide(model), texts)
    ratio, low, high = other.ratio(own)
    assert ratio == pytest.approx(other.perplexity / own.perplexity)
    assert low < ratio < high
    assert own.ratio(own) == (1, 1, 1)
    with pytest.raises(InputError, match="same tokens"):
        own.ratio(surprise(model, texts[:4]))


# Training, saving, loading

def test_training_is_the_same_again_and_learns_what_can_be_known():
    texts = ["one two three four five six seven eight"] * 600
    one, again = (train_language_model(texts, **SIZES, epochs=20, learning_rate=0.01, seed=3) for _ in range(2))
    assert surprise(one, texts[:1]).perplexity < 1.5  # the text is certain once it has begun
    np.testing.assert_array_equal(surprise(one, texts[:1]).nats, surprise(again, texts[:1]).nats)


def test_training_can_be_stopped():
    with pytest.raises(Cancelled):
        train_language_model(letters(40, 0), **SIZES, progress=Progress(cancelled=lambda: True))


def test_any_text_comes_back_from_its_tokens():
    tokenizer = byte_pairs(["hello world", "hello there"], 300)
    for text in ("hello", "Grüße \t 你好 🙂\n\n end", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("bits", [None, 3])
def test_it_answers_the_same_after_a_reload(model, tmp_path, bits):
    saved = model if bits is None else quantize_language_model(model, bits, group_size=16)
    saved.save(tmp_path)
    loaded, ids = LanguageModel.load(tmp_path), torch.tensor(model.encode(["abcd"]))
    torch.testing.assert_close(loaded.module(ids).logits, saved.module(ids).logits, rtol=0, atol=0)
    assert loaded.encode(["abca"]) == saved.encode(["abca"])
    assert loaded.module.lm_head.weight is loaded.module.model.embed_tokens.weight


def test_a_hub_style_gpt2_is_loaded_and_rounded(model, tmp_path):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0)
    plain = GPT2LMHeadModel(config).eval()
    plain.save_pretrained(tmp_path)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded, ids = load_language_model(tmp_path), torch.tensor(model.encode(["abcdab"]))
    torch.testing.assert_close(loaded.module(ids).logits, plain(ids).logits)
    few = quantize_language_model(loaded, 8, group_size=32)
    assert {"transformer.h.0.attn.c_attn", "transformer.h.1.mlp.c_proj"} <= set(few.packed)
    few.save(tmp_path / "few")
    torch.testing.assert_close(LanguageModel.load(tmp_path / "few").module(ids).logits, few.module(ids).logits)


def test_wrong_sizes_texts_and_models_are_said_plainly(model, tmp_path):
    for sizes in ({"vocabulary": 100}, {"width": 30, "heads": 4}, {"layers": 0}, {"epochs": 0}):
        with pytest.raises(InputError, match="A language model needs"):
            train_language_model(letters(9, 0), **SIZES | sizes)
    with pytest.raises(InputError, match="at least 64 are needed"):
        train_language_model(["short"], **SIZES)
    with pytest.raises(InputError, match="at least one token"):
        surprise(model, ["abc", ""])
    with pytest.raises(InputError, match="no readable language model"):
        LanguageModel.load(tmp_path)
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
                         architectures=["BertModel"])).save_pretrained(tmp_path)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="does not continue texts"):
        load_language_model(tmp_path)


# Weights in few bits

@pytest.mark.parametrize("bits", [8, 4, 2])
def test_a_weight_moves_by_half_a_step_at_most(model, bits):
    few = quantize_language_model(model, bits, group_size=16)
    for name, packed in few.packed.items():
        before, after = model.module.get_submodule(name).weight, few.module.get_submodule(name).weight
        grouped = before.detach().reshape(len(before), -1, 16)
        largest = grouped.abs().amax(-1)
        # 2^bits codes from -largest to +largest; and the scale is rounded to float16.
        most = largest / (2**bits - 1) + largest * 2**-10
        assert ((after - before).abs() <= most.repeat_interleave(16, 1) + 1e-7).all(), name
        assert -(2 ** (bits - 1)) <= int(packed.codes.min())
        assert int(packed.codes.max()) < 2 ** (bits - 1)


def test_codes_held_in_memory_answer_as_those_that_are_saved(model):
    ids = torch.tensor(model.encode(["abcdabcd"]))
    held, saved = coded(model, 4, group_size=16), quantize_language_model(model, 4, group_size=16)
    torch.testing.assert_close(held(ids).logits, saved.module(ids).logits, rtol=0.01, atol=0.01)  # scales: float16


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_the_search_finds_better_scales_and_hardly_worse_than_trying_all(model, bits):
    weight = model.module.model.layers[0].mlp.up_proj.weight.detach()
    name = "model.layers.0.mlp.up_proj"

    def lost(search: bool) -> torch.Tensor:
        few = quantize_language_model(model, bits, group_size=16, scale_search=search)
        return ((few.module.get_submodule(name).weight - weight) ** 2).reshape(-1, 16).sum(1)

    groups = weight.reshape(-1, 16)
    tried = torch.linspace(0.05, 1.5, 400)[:, None, None] * groups.abs().amax(1)[None, :, None]
    codes = (groups / tried).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    best = ((codes * tried - groups) ** 2).sum(-1).amin(0)  # brute force, all positive scales
    assert best.sum() < lost(True).sum() * 1.01
    assert lost(True).sum() < lost(False).sum()
    assert lost(True).sum() < 1.3 * best.sum()


def test_fewer_bits_are_just_so_many_fewer_bytes(model, tmp_path):
    few = quantize_language_model(model, 4, group_size=16)
    few.save(tmp_path)
    stored = load_file(tmp_path / "weights.safetensors")
    size = sum(tensor.nbytes for name, tensor in stored.items() if name.endswith((".codes", ".scale")))
    numbers = sum({id(p): p.numel() for p in model.module.parameters() if p.ndim > 1}.values())
    assert size == numbers * 4 / 8 + numbers / 16 * 2  # codes, and a float16 scale for each 16


def test_the_table_says_what_bits_cost(model):
    frame = bits_against_perplexity(model, letters(12, 5), bits=(8, 2), group_size=16, tokens=4, rounds=2)
    assert frame["bits"].tolist() == [32, 8, 8, 2, 2]
    float_row, eight, two = frame.iloc[0], frame.iloc[1], frame.iloc[3]
    assert (float_row["ratio"], float_row["speedup"]) == (1, 1)
    assert eight["ratio"] == pytest.approx(1, abs=0.02)
    assert two["ratio"] > eight["ratio"]
    assert float_row["megabytes"] > eight["megabytes"] > two["megabytes"]
    assert (frame["tokens_per_s"] > 0).all()
    with pytest.raises(InputError, match="not in 9"):
        bits_against_perplexity(model, letters(2, 0), bits=(9,), group_size=16)
    with pytest.raises(InputError, match="group size 7"):
        quantize_language_model(model, 4, group_size=7)
    with pytest.raises(Cancelled):
        bits_against_perplexity(model, letters(2, 0), bits=(8,), group_size=16,
                                progress=Progress(cancelled=lambda: True))


# Continuing, with a cache

def test_a_continuation_is_that_of_transformers(model):
    other = randomly_wide(model)
    prompt = model.encode(["abca"])[0]
    expected = other.module.generate(torch.tensor([prompt]), max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert tokens_of(other.module, prompt, 6) == expected[0, len(prompt):].tolist()
    with pytest.raises(InputError, match="at least one token"):
        tokens_of(other.module, [], 2)


def test_codes_of_a_state_are_within_half_a_step():
    states = torch.randn(2, 3, 5, 16) * torch.tensor([0.01, 1, 100])[:, None, None]
    codes, scales = to_codes(states)
    assert codes.dtype == torch.int8
    step = states.abs().amax(-1, keepdim=True) / 127
    assert ((codes * scales.float() - states).abs() <= 0.5 * step * 1.001 + 0.001 * states.abs().amax(-1, keepdim=True)
            ).all()
    zeros, scale = to_codes(torch.zeros(1, 1, 1, 4))
    assert (zeros * scale == 0).all()


def test_token_by_token_the_8_bit_cache_answers_as_in_one_go(model):
    other = randomly_wide(model)
    ids = torch.tensor(model.encode(["abcdacbd"]))
    whole = other.module(ids, past_key_values=int8_cache(), use_cache=True).logits
    cache = int8_cache()
    steps = [other.module(one, past_key_values=cache, use_cache=True).logits for one in ids.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)
    exact = other.module(ids, past_key_values=DynamicCache(), use_cache=True).logits
    assert 0 < (whole - exact).abs().max() < 0.1 * exact.std()


def test_an_8_bit_cache_takes_a_byte_a_number_and_two_a_scale(model):
    frame = cache_in_8_bits(model, letters(8, 2)).set_index("cache")
    layers, heads, size = SIZES["layers"], SIZES["heads"], SIZES["width"] // SIZES["heads"]
    assert frame["bytes_per_token"]["float32"] == 2 * layers * heads * size * 4
    assert frame["bytes_per_token"]["int8"] == 2 * layers * heads * (size + 2)
    assert frame["perplexity"]["float32"] == pytest.approx(surprise(model, letters(8, 2)).perplexity, rel=1e-5)
    assert frame["ratio"]["int8"] == pytest.approx(1, abs=0.01)
