"""A language model's weights in fewer bits: the codes of a group, of a type, and what is lost on texts."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from small_llama import smollm2, tiny_llama
from tiny_gguf import tiny_llm

from helpers.lab import Cancelled, InputError, endpoint
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import find_language_model, load_language_model
from helpers.lab.language.tuning import tuned_on
from helpers.lab.progress import Progress
from helpers.model_optimization import beside_tables, bits_against_perplexity, round_group
from helpers.model_optimization.language_model.weight_types import weights_in

TEXTS = ["The cat sat on the mat and looked out of the window.", "Water boils at a hundred degrees at sea level.",
         "She opened the letter, read it twice and put it back into its envelope."]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(some.lists(some.floats(-100, 100, width=16), min_size=1, max_size=40), some.integers(2, 8), some.booleans())
def test_a_weight_moves_by_half_a_step_at_most_and_keeps_to_its_codes(weights, bits, zero_point):
    left, scale, zero = round_group(np.array(weights), bits, zero_point)
    codes = np.round(left / scale) + zero
    assert np.abs(left - weights).max() <= scale / 2 * (1 + 1e-9)
    lowest, highest = (0, 2**bits - 1) if zero_point else (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1)
    assert lowest <= codes.min()
    assert codes.max() <= highest


def test_a_range_that_lies_between_two_zero_points_takes_no_code_too_many():
    """-1.5 to 13.5 in 4 bits: 15 steps of 1; the zero point 1.5 is rounded to 2, so 13.5 would be code 16."""
    left, scale, zero = round_group(np.array([-1.5, 13.5]), 4, zero_point=True)
    assert (left.tolist(), scale, zero) == ([-2, 13], 1, 2)


def test_an_outlier_costs_all_others_their_resolution():
    weights = np.linspace(-1, 1, 31)
    errors = [np.abs(round_group(np.append(weights, outlier), 4)[0][:-1] - weights).mean() for outlier in (1, 10)]
    assert errors[1] > 5 * errors[0]


@pytest.mark.parametrize(("kind", "bits"), [("F16", 16), ("Q8_0", 8.5), ("Q4_1", 5), ("Q4_0", 4.5), (3, 3.5), (2, 2.5)])
def test_a_type_takes_its_bits_and_moves_a_weight_by_at_most_a_step(kind, bits):
    module = tiny_llama()
    few, size = weights_in(module, kind)
    matrices = sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)
    vectors = sum(weight.numel() for weight in module.parameters() if weight.ndim != 2)
    assert size == round(matrices * bits / 8 + 4 * vectors)
    assert few.lm_head.weight is few.model.embed_tokens.weight
    for before, after in zip(module.parameters(), few.parameters(), strict=True):
        share = 2**-11 if kind == "F16" else 2.0 ** (2 - int(bits))  # half of a float16's last digit; a step
        step = before.abs().max() * share if before.ndim == 2 else 0
        assert ((after - before).abs() <= step * 1.001).all()


@pytest.mark.slow
def test_rounding_in_memory_is_what_the_written_file_holds():
    """transformers reads Q4_0 back from a file of the same weights; its logits are those of the rounded module."""
    llm, ids = smollm2("transformers"), torch.tensor([[504, 3575, 282, 4649, 314]])
    few, size = weights_in(llm.module, "Q4_0")
    file = in_weight_type(find_language_model("smollm2"), "Q4_0")
    read = load_language_model(file, "transformers").module
    torch.testing.assert_close(few(ids).logits, read(ids).logits, rtol=1e-3, atol=1e-3)
    assert size < file.stat().st_size < size + 5e6  # the tokenizer is in the file, too


@pytest.mark.slow
def test_fewer_bits_lose_more_and_the_model_knows_more_than_a_table_of_pairs():
    llm = smollm2("transformers")
    frame = bits_against_perplexity(llm, TEXTS, kinds=("F16", "Q4_0", 2)).set_index("name")
    assert frame["ratio"]["F16"] == 1
    assert 1 < frame["ratio"]["Q4_0"] < 2 < frame["ratio"]["2 bits"]
    assert frame["significant"]["2 bits"]
    assert not frame["significant"]["F16"]
    assert frame["bits"].round(2).tolist() == [16, 4.5, 2.5]
    table = beside_tables(llm, TEXTS, TEXTS[:1]).set_index("name")["perplexity"]
    assert table.iloc[0] == pytest.approx(llm.module.config.vocab_size)
    assert table.iloc[0] > table.iloc[1] > table.iloc[2]


def test_of_weights_that_were_trained_here_two_bits_lose_more_than_four():
    """They were never rounded before, and know these texts well."""
    llm = copy.copy(tiny_llm())
    llm.module = tuned_on(llm, llm.encode(TEXTS), epochs=200)
    frame = bits_against_perplexity(llm, TEXTS, kinds=("F16", "Q8_0", "Q4_0", 2)).set_index("name")
    assert frame["ratio"]["Q8_0"] == pytest.approx(1, abs=0.05)
    assert 1 < frame["ratio"]["Q4_0"] < frame["ratio"]["2 bits"]
    assert frame["ratio_high"]["Q4_0"] < frame["ratio_low"]["2 bits"]


def test_what_cannot_be_rounded_is_refused():
    with pytest.raises(InputError, match="Unknown weight type 'Q9'"):
        weights_in(tiny_llama(), "Q9")
    with pytest.raises(InputError, match="no multiple of 32"):
        weights_in(tiny_llama(width=40), 4)
    with pytest.raises(InputError, match="not 9"):
        round_group(np.ones(3), 9)
    with pytest.raises(InputError, match="engine='transformers'"):
        bits_against_perplexity(endpoint("http://127.0.0.1:1/v1", model="far"), TEXTS)
    with pytest.raises(Cancelled):
        bits_against_perplexity(tiny_llm(), TEXTS, progress=Progress(cancelled=lambda: True))
