"""Perplexity: what a model cannot know, and what its loss is elsewhere."""

import math
import random

import numpy as np
import pytest
import torch
from scipy import stats
from small_llama import tiny_llama

from helpers.lab import InputError
from helpers.lab.language.perplexity import (
    NegativeLogLikelihood,
    bigram_likelihood,
    negative_log_likelihood,
    uniform_likelihood,
)


def ids(rows: int, length: int, seed: int, tokens: int = 300) -> list[list[int]]:
    rng = random.Random(seed)
    return [rng.choices(range(tokens), k=length) for _ in range(rows)]


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    module = tiny_llama()
    torch.nn.init.zeros_(module.lm_head.weight)
    rows = ids(3, 20, 1)
    assert negative_log_likelihood(module, rows).perplexity == pytest.approx(300, rel=1e-5)
    assert uniform_likelihood(300, rows).perplexity == pytest.approx(300)


def test_the_negative_log_likelihood_is_the_loss_of_transformers_itself():
    module, rows = tiny_llama(), ids(1, 30, 2)
    expected = module(torch.tensor(rows), labels=torch.tensor(rows)).loss.item()
    assert math.log(negative_log_likelihood(module, rows).perplexity) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_nothing():
    module = tiny_llama()
    rows = [row[:length] for row, length in zip(ids(4, 30, 3), (2, 30, 7, 19), strict=True)]
    alone = [negative_log_likelihood(module, [row]).nats[0] for row in rows]
    np.testing.assert_allclose(negative_log_likelihood(module, rows).nats, alone, rtol=1e-5)


def test_a_ratio_is_that_of_the_perplexities_and_of_itself_is_one():
    rows = ids(12, 30, 4)
    own, other = (negative_log_likelihood(tiny_llama(seed=seed), rows) for seed in (0, 1))
    ratio, low, high = other.ratio(own)
    assert ratio == pytest.approx(other.perplexity / own.perplexity)
    assert low < ratio < high
    assert own.ratio(own) == (1, 1, 1)
    low, high = own.interval()
    assert low < own.perplexity < high
    with pytest.raises(InputError, match="same tokens"):
        own.ratio(negative_log_likelihood(tiny_llama(), rows[:4]))


def test_chance_is_told_from_difference_as_by_a_paired_test_where_texts_are_equally_long():
    rows = ids(12, 30, 4)
    own, other = (negative_log_likelihood(tiny_llama(seed=seed), rows) for seed in (0, 1))
    assert other.p_value(own) == pytest.approx(stats.ttest_1samp(other.nats - own.nats, 0).pvalue)
    assert own.p_value(own) == 1
    assert math.isnan(NegativeLogLikelihood(own.nats[:1], own.tokens[:1]).p_value(
        NegativeLogLikelihood(other.nats[:1], other.tokens[:1])))


def test_of_texts_of_unequal_length_one_in_twenty_differs_by_chance():
    rng, results = np.random.default_rng(0), []
    for _ in range(800):
        tokens = rng.integers(5, 200, 24)
        nats = 3.0 * tokens
        results.append(NegativeLogLikelihood(nats + rng.normal(0, np.sqrt(tokens)), tokens).p_value(
            NegativeLogLikelihood(nats, tokens)))
    assert np.mean(np.array(results) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_the_table_of_pairs_gives_each_token_a_probability_and_all_of_them_one():
    train = ids(30, 12, 5, tokens=7)  # of a vocabulary of 9: two tokens were never seen
    for first in range(9):
        each = [math.exp(-bigram_likelihood(train, 9, [[first, token]]).nats[0]) for token in range(9)]
        assert sum(each) == pytest.approx(1)
        assert min(each) > 0


def test_the_table_of_pairs_learns_a_chain_up_to_its_entropy():
    """Each token is followed by one of two, at 3 to 1: 0.562 nats, which no counting can beat."""
    rng, rows = random.Random(0), []
    for _ in range(400):
        row = [rng.randrange(8)]
        while len(row) < 60:
            row.append((row[-1] + rng.choices((1, 3), (3, 1))[0]) % 8)
        rows.append(row)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    result = bigram_likelihood(rows[:300], 8, rows[300:])
    assert math.log(result.perplexity) == pytest.approx(entropy, abs=0.02)


def test_texts_without_a_second_token_are_refused():
    for rows in ([], [[3, 4], [5]]):
        with pytest.raises(InputError, match="at least two tokens"):
            negative_log_likelihood(tiny_llama(), rows)
        with pytest.raises(InputError, match="at least two tokens"):
            bigram_likelihood([[1, 2]], 9, rows)
