"""Perplexity: what a model cannot know, and what its loss is elsewhere."""

import math

import numpy as np
import pytest
import torch
from letter_models import letter_model, letters, randomly_wide

from helpers.lab import InputError
from helpers.lab.language.causal import LanguageModel
from helpers.lab.language.perplexity import negative_log_likelihood


@pytest.fixture(scope="module")
def model():
    return letter_model()


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(model):
    module = type(model.module)(model.module.config)
    torch.nn.init.zeros_(module.lm_head.weight)
    blank = LanguageModel("blank", model.tokenizer, module, model.start, model.context)
    found = negative_log_likelihood(blank, letters(3, 1))
    assert found.perplexity == pytest.approx(model.tokenizer.get_vocab_size(), rel=1e-5)


def test_what_it_learns_of_random_letters_ends_at_two_bits_each(model):
    texts = letters(40, 7)
    found = negative_log_likelihood(model, texts)
    spread = 4 * 2 / math.sqrt(found.tokens.sum())  # of the mean of two bits a letter, generously
    bits_per_byte = found.nats.sum() / math.log(2) / sum(len(text.encode()) for text in texts)
    assert 2 - spread < bits_per_byte < 2.1
    assert found.perplexity == pytest.approx(4, rel=0.08)
    low, high = found.interval()
    assert low < found.perplexity < high


def test_the_negative_log_likelihood_is_the_loss_of_transformers_itself(model):
    other = randomly_wide(model)
    ids = torch.tensor(model.encode(["abcdabcd"]))
    expected = other.module(ids, labels=ids).loss.item()
    assert math.log(negative_log_likelihood(other, ["abcdabcd"]).perplexity) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_nothing(model):
    other, texts = randomly_wide(model), ["a", "abc" * 9, "dd", "cab" * 4]
    alone = [negative_log_likelihood(other, [text]).nats[0] for text in texts]
    np.testing.assert_allclose(negative_log_likelihood(other, texts, batch=4).nats, alone, rtol=1e-5)


def test_a_ratio_is_that_of_the_perplexities_and_of_itself_is_one(model):
    texts = letters(12, 3)
    own, other = negative_log_likelihood(model, texts), negative_log_likelihood(randomly_wide(model), texts)
    ratio, low, high = other.ratio(own)
    assert ratio == pytest.approx(other.perplexity / own.perplexity)
    assert low < ratio < high
    assert own.ratio(own) == (1, 1, 1)
    with pytest.raises(InputError, match="same tokens"):
        own.ratio(negative_log_likelihood(model, texts[:4]))
