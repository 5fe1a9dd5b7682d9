"""Right-sizing: each step of the ladder, few labels, prices by the token, and the cheapest that is good enough."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from transformers import BertConfig, BertModel

from helpers.efficient_architectures import (
    cheapest_within,
    few_labels,
    few_shot,
    hosted_llm,
    ladder,
    linear_probe,
    most_frequent,
    quality_by_labels,
    static_embeddings,
    with_floor,
    zero_shot,
)
from helpers.efficient_architectures.right_sizing.contrastive import draw_pairs
from helpers.lab import InputError, load
from helpers.lab.training.heads import embed_rows, fit_head
from helpers.lab.training.weights import find_weights


@pytest.fixture(scope="session")
def small_encoder(tmp_path_factory):
    """A folder with MiniLM's tokenizer and a BERT of two narrow layers with random weights."""
    folder = tmp_path_factory.mktemp("small") / "small-encoder"
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                         intermediate_size=64, max_position_embeddings=128, initializer_range=0.15)
              ).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((find_weights() / "tokenizer.json").read_bytes())
    return folder


def test_the_most_frequent_label_is_told_for_every_text(tiny_task):
    uneven = few_labels(tiny_task, 10)
    kept = [row for row, label in enumerate(uneven.train["label"][:]) if label != 0 or row % 3]
    uneven = dataclasses.replace(uneven, train=uneven.train.select(kept))
    counts = np.bincount(uneven.train["label"][:], minlength=3)
    logits = most_frequent(uneven).predict(["cat", "", "hammer hammer"])
    np.testing.assert_allclose(np.exp(logits), np.tile(counts / counts.sum(), (3, 1)), atol=1e-3)


def test_two_classes_have_a_most_frequent_label_too(tmp_path):
    from helpers.lab import load_task

    (tmp_path / "two.csv").write_text("text,label\n" + "".join(f"word {n},{'yes' if n % 3 else 'no'}\n"
                                                               for n in range(60)))
    task = load_task(tmp_path / "two.csv")
    assert (most_frequent(task).predict(task.test["text"][:]).argmax(1) == 1).all()


def test_a_fitted_head_gives_the_logistic_regressions_probabilities():
    rng = np.random.default_rng(0)
    for classes in (2, 4):
        means = rng.normal(size=(200, 6)).astype(np.float32)
        labels = (means @ rng.normal(size=(6, classes))).argmax(1)
        weight, bias = fit_head(means, labels, classes)
        logits = means @ weight.T + bias
        odds = np.exp(logits - logits.max(1, keepdims=True))
        expected = LogisticRegression(C=10, max_iter=500).fit(means, labels).predict_proba(means)
        np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), expected, atol=1e-4)


def test_a_class_without_a_row_never_wins():
    weight, bias = fit_head(np.eye(4, dtype=np.float32), [0, 0, 2, 2], 4)
    assert set((np.eye(4) @ weight.T + bias).argmax(1)) == {0, 2}


def test_zero_shot_tells_the_label_nearest_by_cosine(tiny_task, small_encoder):
    model = zero_shot(tiny_task, small_encoder)
    texts = tiny_task.test["text"][:]
    means, names = (embed_rows(model.module, model.encoder.encode(list(these))) for these in (texts, tiny_task.labels))
    cosines = torch.nn.functional.cosine_similarity(torch.tensor(means)[:, None], torch.tensor(names)[None], dim=2)
    np.testing.assert_array_equal(model.predict(texts).argmax(1), cosines.argmax(1))


def test_static_embeddings_are_the_head_on_the_mean_of_token_vectors(tiny_task, small_encoder, tmp_path):
    model = static_embeddings(tiny_task, small_encoder)
    texts = tiny_task.test["text"][:20]
    module = BertModel.from_pretrained(small_encoder).eval()
    rows, train = (model.encoder.encode(these) for these in (texts, tiny_task.train["text"][:]))
    vectors = module.embeddings.word_embeddings.weight.detach().numpy()
    counts = np.bincount(np.concatenate(train), minlength=len(vectors))
    weighed = (vectors - vectors.mean(0)) * (1e-3 / (1e-3 + counts / counts.sum()))[:, None]
    means = [np.stack([weighed[row].mean(0) for row in part]) for part in (train, rows)]
    scale = 1 / np.linalg.norm(means[0], axis=1).mean()
    probe = LogisticRegression(C=10, max_iter=500).fit(means[0] * scale, tiny_task.train["label"][:])
    np.testing.assert_allclose(model.predict(texts), probe.decision_function(means[1] * scale), atol=0.05)
    model.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), model.predict(texts))


def test_a_frozen_encoder_stays_what_was_published(tiny_task, small_encoder):
    model = linear_probe(tiny_task, small_encoder)
    published = BertModel.from_pretrained(small_encoder).state_dict()
    assert all(torch.equal(weight, published[name]) for name, weight in model.module.encoder.state_dict().items())
    right = (model.predict(tiny_task.train["text"][:]).argmax(1) == np.array(tiny_task.train["label"][:])).mean()
    assert right > 0.6  # one in three by chance


def test_pairs_are_half_of_one_label_and_never_a_row_with_itself():
    labels = [0, 0, 0, 1, 1, 1, 2, 2]
    pairs = draw_pairs(labels, 5)
    assert len(pairs) == 8 * 5 * 2
    for one, other, same in pairs:
        assert one != other
        assert (labels[one] == labels[other]) == bool(same)


def test_contrast_draws_texts_of_one_label_together(tiny_task, small_encoder):
    few = few_labels(tiny_task, 6)
    model = few_shot(few, small_encoder, pairs_a_row=8, most_steps=25)
    before = linear_probe(few, small_encoder)
    labels = np.array(few.train["label"][:])

    def gap(one) -> float:
        means = embed_rows(one.module, one.encoder.encode(few.train["text"][:]))
        cosines = means @ means.T / np.outer(*[np.linalg.norm(means, axis=1)] * 2)
        same = labels[:, None] == labels[None]
        return cosines[same].mean() - cosines[~same].mean()

    assert gap(model) > gap(before)


def test_the_ladder_gives_its_steps_in_order_and_few_labels_are_few(tiny_task, small_encoder):
    found = quality_by_labels(tiny_task, (2, None), ("majority", "tfidf", "frozen"), encoder=small_encoder)
    assert list(found["step"]) == ["majority", "tfidf", "frozen"] * 2
    assert set(found["rows"]) == {6, len(tiny_task.train)}
    assert (found["low"] <= found["accuracy"]).all()
    assert few_labels(tiny_task, 5).test is tiny_task.test
    names = [model.card.name for model in ladder(tiny_task, ("zero-shot", "majority"), encoder=small_encoder)]
    assert names == ["small-encoder, zero-shot from label names", "most frequent label"]


def test_a_hosted_model_costs_its_price_times_the_tokens(tiny_task):
    prompt = "one two {text}"
    found = hosted_llm(tiny_task, ["OpenAI gpt-4o-mini"], prompt=prompt).iloc[0]
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(find_weights() / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    asked = np.mean([len(tokenizer.encode(f"one two {text}", add_special_tokens=False).ids)
                     for text in tiny_task.test["text"][:]])
    assert found["input_tokens"] == pytest.approx(asked)
    assert found["output_tokens"] == 1  # animals, tools and weather are a token each
    assert found["usd_per_million"] == pytest.approx(asked * 0.15 + 1 * 0.6)
    assert np.isnan(found["accuracy"])


def test_answers_that_the_user_brings_are_scored(tiny_task):
    truth = [tiny_task.labels[label] for label in tiny_task.test["label"][:]]
    answers = ["animals", *truth[1:]] if truth[0] != "animals" else ["tools", *truth[1:]]
    found = hosted_llm(tiny_task, ["OpenAI gpt-4o-mini"], answers=answers).iloc[0]
    assert found["accuracy"] == pytest.approx(1 - 1 / len(truth))


def test_the_cheapest_that_is_good_enough(new_measurement):
    records = [new_measurement(model=name, accuracy=accuracy, usd_per_million=usd)
               for name, accuracy, usd in (("large", 0.95, 9.0), ("small", 0.935, 1.0), ("tiny", 0.9, 0.1))]
    assert cheapest_within(records, points=2).model == "small"
    assert cheapest_within(records, points=5).model == "tiny"
    assert with_floor(records, 0.94).model == "large"
    assert with_floor(records, 0.99) is None


@pytest.mark.parametrize("wrong", [
    lambda task: ladder(task, ("rung",)),
    lambda task: ladder(task, ("tfidf", "tfidf")),
    lambda task: few_labels(task, 0),
    lambda task: cheapest_within([]),
    lambda task: draw_pairs([1, 1], 2),
    lambda task: hosted_llm(task, ["nobody's model"]),
    lambda task: hosted_llm(task, prompt="no place"),
    lambda task: hosted_llm(task, answers=["animals"]),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong, tiny_task):
    with pytest.raises(InputError, match=r"\.$"):
        wrong(tiny_task)
