"""Texts become the tokenizer's own ids, cut and padded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.lab.data.tokenizer import TextEncoder, pad


def test_padding_is_zeros_on_the_right():
    ids, mask = pad([[5, 6, 7], [8]])
    np.testing.assert_array_equal(ids, [[5, 6, 7], [8, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0]])
    assert (ids.dtype, mask.dtype) == (np.int64, np.int64)


def test_the_encoder_speaks_bert(tiny_model):
    """101 and 102 open and close a text; 'hello' is 7592 and 'world' 2088 in BERT's vocabulary."""
    assert tiny_model.encoder.encode(["Hello world", ""]) == [[101, 7592, 2088, 102], [101, 102]]


def test_long_texts_are_cut_and_stay_closed(tiny_model, tmp_path):
    tiny_model.encoder.save(tmp_path / "tokenizer.json")
    short = TextEncoder.load(tmp_path / "tokenizer.json", max_tokens=5)
    assert short.encode(["hello " * 50]) == [[101, 7592, 7592, 7592, 102]]


@pytest.fixture(scope="module")
def minilm_tokenizer():
    from tokenizers import Tokenizer

    from helpers.lab.training.weights import find_weights

    return Tokenizer.from_file(str(find_weights() / "tokenizer.json"))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii")) | st.text() | st.sampled_from(
    ["[SEP] x", "it's 5_000.00$!", "caf\u00e9", "x" * 99 + " " + "x" * 101, "a" * 300, "a b " * 100, "\x7f", "a\tb"]),
    max_size=4))
def test_known_words_give_the_tokenizers_own_ids(minilm_tokenizer, texts):
    encoder = TextEncoder(minilm_tokenizer, max_tokens=24)
    for _ in range(2):  # the second time all words are known
        assert encoder.encode(texts) == [minilm_tokenizer.encode(text).ids for text in texts]
