"""Texts become the tokenizer's own ids, cut and padded."""

import numpy as np
import pytest
from architectures import ARCHITECTURES, build
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.lab import load, load_pretrained
from helpers.lab.data.tokenizer import Coverage, TextEncoder, pad


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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii")) | st.text() | st.sampled_from(["caf\u00e9 x", "a b " * 100]),
                max_size=4))
def test_ids_with_spans_are_those_without(minilm_tokenizer, texts):
    encoder = TextEncoder(minilm_tokenizer, max_tokens=24)
    result = encoder.encode_with_spans(texts)
    assert [ids for ids, _ in result] == encoder.encode(texts)
    assert all(len(ids) == len(spans) for ids, spans in result)


def test_a_span_is_where_the_token_stands_in_the_text(tiny_model):
    text = "Caf\u00e9, HELLO thermostats!"
    [(_, spans)] = tiny_model.encoder.encode_with_spans([text])
    pieces = ["Caf\u00e9", ",", "HELLO", "the", "rm", "osta", "ts", "!"]
    assert [text[start:end] for start, end in spans] == ["", *pieces, ""]


# Classifiers of twelve architectures, which must answer as transformers does, whichever texts share a batch

@pytest.fixture(scope="module", params=ARCHITECTURES)
def checkpoint(request, tiny_task, tmp_path_factory):
    """(folder, what transformers answers) of a small classifier with random weights."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, build(request.param, folder, tiny_task.train["text"][:], tiny_task.labels)


def test_logits_are_those_of_transformers_alone_and_in_a_batch(checkpoint, tiny_task, tmp_path):
    folder, answer = checkpoint
    model, texts = load_pretrained(folder, tiny_task), tiny_task.test["text"][:30]
    alone = np.concatenate([answer([text]) for text in texts])
    np.testing.assert_allclose(model.predict(texts), alone, atol=1e-4)
    np.testing.assert_allclose(np.concatenate([model.predict([text]) for text in texts]), alone, atol=1e-4)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), model.predict(texts))


def test_an_empty_text_is_answered_and_changes_no_other_answer(checkpoint, tiny_task):
    model = load_pretrained(checkpoint[0], tiny_task)
    texts = ["", *tiny_task.test["text"][:3]]
    logits = model.predict(texts)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[1:], model.predict(texts[1:]), atol=1e-4)


def test_a_tokenizer_without_a_padding_token_is_given_the_end_of_text(checkpoint, tmp_path):
    folder = checkpoint[0]
    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text((folder / name).read_text().replace('"pad_token', '"no_token'))
    encoder = TextEncoder.of_checkpoint(tmp_path)
    assert encoder.pad_id == encoder._tokenizer.token_to_id("</s>")


# What an encoder does not read, against transformers' own tokenizer, which cuts nothing unless asked

@pytest.fixture(scope="module")
def minilm_of_transformers():
    from transformers import AutoTokenizer

    from helpers.lab.training.weights import find_weights

    return AutoTokenizer.from_pretrained(find_weights())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii")) | st.text() | st.sampled_from(
    ["a b " * 100, "x" * 120 + " y", "\u58f9 \u8cb3 one", "it's 5_000.00$!", ("x" * 101 + " ") * 60,
     " " * 2_000 + "end"]), max_size=5), st.integers(3, 24))
@example(texts=["0" * 8, "\u0b45"], max_tokens=3)  # one word of more tokens than are read
def test_coverage_counts_what_transformers_tokenizer_gives_uncut(minilm_tokenizer, minilm_of_transformers, texts,
                                                                 max_tokens):
    encoder = TextEncoder(minilm_tokenizer, max_tokens)
    read = encoder.encode(texts)
    coverage = encoder.coverage(texts)
    whole = [minilm_of_transformers(text, add_special_tokens=False)["input_ids"] for text in texts]
    tokens = sum(map(len, whole))
    kept = [len(row) - 2 for row in read]
    assert coverage.unknown == pytest.approx(sum(row.count(100) for row in whole) / max(1, tokens))
    assert coverage.tokens_cut == pytest.approx((tokens - sum(kept)) / max(1, tokens))
    assert coverage.rows_cut == pytest.approx(
        sum(len(row) > length for row, length in zip(whole, kept, strict=True)) / max(1, len(texts)))


def test_coverage_of_unknown_words_and_of_a_vocabulary_of_bytes(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"<unk>": 0, "cat": 1, "dog": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    assert TextEncoder(words, 4).coverage(["cat dog cat", "cat whale", ""]).unknown == pytest.approx(1 / 5)
    pieces = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -2.0)], unk_id=0))
    assert TextEncoder(pieces, 4).coverage(["abz", "ab"]) == Coverage(1 / 5, 0, 0)
    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    in_bytes = Tokenizer(models.BPE(alphabet, []))
    in_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert TextEncoder(in_bytes, 4).coverage(["\u58f9\u8cb3", "ab"]) == Coverage(0, 1 / 2, 2 / 8)
    assert TextEncoder(words, 4).coverage([]) == Coverage(0, 0, 0)
