"""The causal language model: trained twice the same, saved, loaded, refused."""

import numpy as np
import pytest
import torch
from letter_models import SIZES, letter_model, letters
from torch.nn import functional
from transformers import BertConfig, BertModel

from helpers.lab import Cancelled, InputError
from helpers.lab.language.causal import LanguageModel, byte_pairs, load_language_model, train_language_model
from helpers.lab.language.perplexity import negative_log_likelihood
from helpers.lab.progress import Progress


@pytest.fixture(scope="module")
def model():
    return letter_model()


def test_training_is_the_same_again_and_learns_what_can_be_known():
    texts = ["one two three four five six seven eight"] * 600
    one, again = (train_language_model(texts, **SIZES, epochs=20, learning_rate=0.01, seed=3) for _ in range(2))
    assert negative_log_likelihood(one, texts[:1]).perplexity < 1.5  # the text is certain once it has begun
    np.testing.assert_array_equal(*(negative_log_likelihood(model, texts[:1]).nats for model in (one, again)))


def test_training_can_be_stopped():
    with pytest.raises(Cancelled):
        train_language_model(letters(40, 0), **SIZES, progress=Progress(cancelled=lambda: True))


def test_any_text_comes_back_from_its_tokens():
    tokenizer = byte_pairs(["hello world", "hello there"], 300)
    for text in ("hello", "Grüße \t 你好 🙂\n\n end", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_it_answers_the_same_after_a_reload(model, tmp_path):
    model.save(tmp_path)
    loaded, ids = LanguageModel.load(tmp_path), torch.tensor(model.encode(["abcd"]))
    torch.testing.assert_close(loaded.module(ids).logits, model.module(ids).logits, rtol=0, atol=0)
    assert loaded.encode(["abca"]) == model.encode(["abca"])
    assert loaded.module.lm_head.weight is loaded.module.model.embed_tokens.weight


def causal(query, key, value):
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


def test_the_usual_attention_given_as_a_function_trains_the_same_model():
    usual, given = (train_language_model(letters(40, 0), **SIZES, kv_heads=1, attention=attention)
                    for attention in (None, causal))
    np.testing.assert_allclose(negative_log_likelihood(given, letters(4, 1)).nats,
                               negative_log_likelihood(usual, letters(4, 1)).nats, rtol=1e-4)


def test_a_model_with_an_attention_function_is_not_saved(tmp_path):
    model = train_language_model(letters(40, 0), **SIZES, attention=causal, steps=1)
    with pytest.raises(InputError, match="attention function, which cannot be saved"):
        model.save(tmp_path)


def test_wrong_sizes_texts_and_models_are_said_plainly(model, tmp_path):
    for sizes in ({"vocabulary": 100}, {"width": 30, "heads": 4}, {"layers": 0}, {"epochs": 0},
                  {"kv_heads": 3}, {"steps": 0}):
        with pytest.raises(InputError, match="A language model needs"):
            train_language_model(letters(9, 0), **SIZES | sizes)
    with pytest.raises(InputError, match="at least 64 are needed"):
        train_language_model(["short"], **SIZES)
    with pytest.raises(InputError, match="at least one token"):
        negative_log_likelihood(model, ["abc", ""])
    with pytest.raises(InputError, match="no readable language model"):
        LanguageModel.load(tmp_path)
    BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
                         architectures=["BertModel"])).save_pretrained(tmp_path)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="does not continue texts"):
        load_language_model(tmp_path)
