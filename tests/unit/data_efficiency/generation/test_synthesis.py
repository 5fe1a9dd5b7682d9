"""New texts have the label of the rows that they were learned from."""

import math
import random

import numpy as np
import pytest

from helpers.data_efficiency import extraction_test
from helpers.data_efficiency.generation.synthesis import (
    SHORTER,
    WordModel,
    filtered,
    nearest_real,
    recombined,
    synthesize,
)
from helpers.data_efficiency.linear import Linear
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]

LABELS = [0, 0, 1, 1]


def test_probabilities_of_the_word_model_are_those_worked_out_by_hand():
    model = WordModel(["a b", "a c"], [0, 0])
    never = SHORTER / (5 + 1)  # of a, b, c and the two marks, and one for words never seen

    def mixed_with(long: float, short: float, alone: float) -> float:
        return (1 - SHORTER) * long + SHORTER * ((1 - SHORTER) * short + SHORTER * ((1 - SHORTER) * alone + never))

    # The first word is 'a' in both rows, whatever the context; 'b' follows in one of two.
    first, second, end = mixed_with(1, 1, 2 / 6), mixed_with(1 / 2, 1 / 2, 1 / 6), mixed_with(1, 1, 2 / 6)
    assert model.log_probability("a b", 0) == pytest.approx(math.log(first) + math.log(second) + math.log(end))


def test_the_word_model_writes_rows_of_the_class_that_was_asked_for():
    model = WordModel(TEXTS, LABELS)
    rng = random.Random(0)
    written = {model.write(1, rng) for _ in range(50)}
    assert set(" ".join(written).split()) <= set(" ".join(TEXTS[2:]).split())
    assert written - set(TEXTS), "something new among them"
    with pytest.raises(InputError, match="no row of class 7"):
        model.write(7, rng)


def test_recombined_rows_begin_like_one_and_end_like_the_other():
    assert recombined("one two three four", "five six seven eight") == "one two seven eight"
    assert recombined("Hello there. Where is it?", "Hi. I am lost.") == "Hello there. I am lost."


@pytest.mark.parametrize("method", ["words", "recombine"])
def test_as_many_texts_as_asked_for_each_with_a_label_of_the_rows(method):
    made, labels = synthesize(TEXTS, LABELS, 40, method, seed=2)
    assert len(made) == len(labels) == 40
    assert set(labels.tolist()) == {0, 1}
    assert all(set(text.split()) <= set(" ".join(TEXTS[2 * label:2 * label + 2]).split())
               for text, label in zip(made, labels, strict=True))


def test_a_causal_model_of_a_folder_writes_rows_too(tmp_path):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<end>", "?", "-", *sorted(set(" ".join(TEXTS).split()))])}
    plain = Tokenizer(models.WordLevel(words, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", unk_token="?").save_pretrained(tmp_path)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_positions=640, n_embd=16, n_layer=1, n_head=2,
                               bos_token_id=0, eos_token_id=0)).save_pretrained(tmp_path)
    made, labels = synthesize(TEXTS, LABELS, 3, str(tmp_path))
    assert len(made) == len(labels) == 3
    assert set(" ".join(made).split()) <= set(words)


def test_filters_keep_confident_rows_that_are_no_copies():
    judge = Linear(np.array([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0]]))
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    keep, shares = filtered(vectors, np.array([0, 0, 0]), judge, np.array([[1, 0]], np.float32))
    assert keep.tolist() == [False, False, True]  # a copy, another class, neither
    assert shares["confident"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(nearest_real(vectors, np.array([[1, 0]], np.float32)), [1, 0, 0.8], rtol=1e-6)


@pytest.mark.parametrize("make", [
    lambda: synthesize(TEXTS, LABELS, 0), lambda: synthesize(TEXTS, LABELS, 3, "magic"),
    lambda: synthesize(TEXTS, LABELS, 3, "nobody/such-a-model"), lambda: WordModel([], []),
    lambda: nearest_real(np.eye(2), np.empty((0, 2))),
])
def test_what_cannot_be_generated_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\."):
        make()


def test_planted_secrets_come_out_of_copies_and_not_of_thin_air():
    texts, labels = TEXTS * 5, LABELS * 5
    found = extraction_test(texts, labels, "words", copies=(1, 8), secrets=4, samples=400).set_index("copies")
    assert found.loc[8, "extracted"] == 1
    assert found.loc[8, "exposure"] == pytest.approx(math.log2(1001), abs=0.01)
    assert np.isnan(extraction_test(texts, labels, "recombine", copies=(1,), secrets=2, samples=20)["exposure"][0])


def test_a_test_without_samples_is_refused():
    with pytest.raises(InputError, match="at least one secret"):
        extraction_test(TEXTS, LABELS, samples=0)
