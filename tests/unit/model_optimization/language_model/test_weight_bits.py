"""A language model's weights in few bits: what is lost, what is saved, and what it takes to continue a text."""

import pytest
import torch
from letter_models import letter_model, letters, randomly_wide
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from helpers.lab import Cancelled, InputError
from helpers.lab.language.causal import LanguageModel, load_language_model
from helpers.lab.progress import Progress
from helpers.model_optimization import bits_against_perplexity
from helpers.model_optimization.language_model.weight_bits import coded, quantize_language_model, tokens_of


@pytest.fixture(scope="module")
def model():
    return letter_model()


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


def test_a_continuation_is_that_of_transformers(model):
    other = randomly_wide(model)
    prompt = model.encode(["abca"])[0]
    expected = other.module.generate(torch.tensor([prompt]), max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert tokens_of(other.module, prompt, 6) == expected[0, len(prompt):].tolist()
    with pytest.raises(InputError, match="at least one token"):
        tokens_of(other.module, [], 2)


def test_rounded_weights_answer_the_same_after_a_reload(model, tmp_path):
    saved = quantize_language_model(model, 3, group_size=16)
    saved.save(tmp_path)
    loaded, ids = LanguageModel.load(tmp_path), torch.tensor(model.encode(["abcd"]))
    torch.testing.assert_close(loaded.module(ids).logits, saved.module(ids).logits, rtol=0, atol=0)
    assert loaded.encode(["abca"]) == saved.encode(["abca"])
    assert loaded.module.lm_head.weight is loaded.module.model.embed_tokens.weight
