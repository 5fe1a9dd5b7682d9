"""Students without an encoder: what they compute, how near they come to their teacher, and that they load again."""

import dataclasses

import numpy as np
import pytest
import torch
from architectures import build
from scipy.special import log_softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from helpers.lab import Cancelled, InputError, Model, load, tfidf_baseline
from helpers.lab.data.augmentation import augment
from helpers.lab.models.model import Card
from helpers.lab.models.static import StaticModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress
from helpers.lab.training.heads import embed_rows, pretrained
from helpers.model_optimization.distillation.word_students import (
    distill_linear,
    distill_static,
    linear_classifier,
    principal_components,
    token_vectors,
)


def accuracy(model, task) -> float:
    return float((model.predict(task.test["text"][:]).argmax(axis=1) == task.test["label"][:]).mean())


@pytest.fixture(scope="module")
def linear(teacher, tiny_task):
    blind = dataclasses.replace(tiny_task, validation=None, test=None)
    return distill_linear(teacher, blind, augmented=2)


def test_a_linear_student_gives_the_teachers_answers_from_words_and_word_pairs(linear, teacher, tiny_task):
    assert accuracy(linear, tiny_task) >= accuracy(teacher, tiny_task) - 0.1
    words = linear.pipeline[0].get_feature_names_out()
    assert {len(word.split()) for word in words} == {1, 2}
    assert linear.card.parameters == 3 * len(words)


def test_a_linear_student_is_ridge_regression_on_the_centred_logits(linear, teacher, tiny_task):
    texts = tiny_task.train["text"][:]
    transfer_set = [*texts, *augment(texts, 2, 0)]
    logits = teacher.predict(transfer_set)
    features = linear.pipeline[0].transform(transfer_set).toarray()
    centred = features - features.mean(axis=0)
    targets = logits - logits.mean(axis=1, keepdims=True)
    weights = np.linalg.solve(centred.T @ centred + np.eye(centred.shape[1]), centred.T @ targets)
    expected = (linear.pipeline[0].transform(texts[:5]).toarray() - features.mean(axis=0)) @ weights
    expected += targets.mean(axis=0)
    np.testing.assert_allclose(linear.predict(texts[:5]), log_softmax(expected, axis=1), atol=1e-3)


def test_a_linear_student_of_two_classes_keeps_the_teachers_odds():
    answers = np.array([[2.0, 0.0], [0.0, 2.0]] * 3)
    fitted = Ridge(alpha=1e-6).fit(np.eye(2)[[0, 1] * 3], answers)
    odds = np.diff(linear_classifier(fitted).predict_log_proba(np.eye(2)), axis=1)[:, 0]
    np.testing.assert_allclose(odds, [-2, 2], atol=1e-4)


def test_a_linear_student_answers_the_same_after_a_reload(linear, tiny_task, tmp_path):
    texts = tiny_task.test["text"][:]
    linear.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), linear.predict(texts))
    assert load(tmp_path).card == linear.card


@pytest.fixture(scope="module")
def static(teacher, tiny_task):
    blind = dataclasses.replace(tiny_task, validation=None, test=None)
    return distill_static(teacher, blind, dimensions=16, hidden=32, augmented=2, epochs=40, learning_rate=5e-3)


def test_a_static_student_learns_the_words(static, teacher, tiny_task):
    """The tiny task is about words alone, so a mean of token vectors suffices; a third would be chance."""
    assert accuracy(static, tiny_task) >= accuracy(teacher, tiny_task) - 0.1
    assert accuracy(teacher, tiny_task) > 0.8
    assert isinstance(static, Model)
    assert static.card.macs == 32 * (16 + 3)


def test_a_static_model_is_a_mean_and_two_products(static, tiny_task):
    weights = static._layers
    for text in [*tiny_task.test["text"][:5], ""]:
        mean = static._table[static.encoder.encode([text])[0]].mean(axis=0)
        hidden = np.maximum(weights["hidden_weight"] @ mean + weights["hidden_bias"], 0)
        expected = weights["out_weight"] @ hidden + weights["out_bias"]
        np.testing.assert_allclose(static.predict([text])[0], expected, rtol=1e-4, atol=1e-4)


def test_a_static_model_answers_the_same_after_a_reload(static, tiny_task, tmp_path):
    texts = tiny_task.test["text"][:]
    static.save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), static.predict(texts))
    assert load(tmp_path).card == static.card
    assert static.predict([]).shape == (0, 3)
    stored = (tmp_path / "weights.npz").stat().st_size
    assert stored < 2.1 * 30522 * 16  # 16 bits a number


def test_rows_without_tokens_have_the_zero_mean(static):
    means = static.embed([[], [5], [], [7, 9], []])
    np.testing.assert_array_equal(means[[0, 2, 4]], 0)
    np.testing.assert_allclose(means[3], (static._table[7] + static._table[9]) / 2, rtol=1e-6)


def test_token_vectors_are_the_teachers_own_embedding_of_each_token(teacher):
    vectors = token_vectors(teacher, batch=4000)
    assert vectors.shape == (30522, 64)
    ids = torch.tensor([[101, 4937, 102]])  # [CLS] cat [SEP]
    with torch.inference_mode():
        expected = teacher.module.embed(ids, torch.ones_like(ids))[0].numpy()
    np.testing.assert_allclose(vectors[4937], expected, atol=1e-4)


def test_principal_components_are_scikit_learns():
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(200, 8)) * np.arange(1, 9)).astype(np.float32)
    expected = PCA(3).fit_transform(vectors)
    result = principal_components(vectors, 3)
    np.testing.assert_allclose(np.abs(result), np.abs(expected / expected.std()), atol=1e-3)


def test_more_dimensions_than_the_teacher_has_are_refused(teacher, tiny_task):
    with pytest.raises(InputError, match=r"1 to 64 dimensions here and at least one hidden unit, not 65 and 256\."):
        distill_static(teacher, tiny_task, dimensions=65)


def test_a_static_model_of_arrays_that_do_not_fit_is_refused(static):
    weights = {"vectors": static._table, **static._layers}
    with pytest.raises(InputError, match="needs the array 'out_bias'"):
        StaticModel(static.card, static.encoder, {name: a for name, a in weights.items() if name != "out_bias"})
    with pytest.raises(InputError, match=r"'out_weight' has shape \(2, 32\), not \(3, 32\)"):
        StaticModel(static.card, static.encoder, weights | {"out_weight": weights["out_weight"][:2]})


def test_word_students_can_be_cancelled(teacher, tiny_task):
    for experiment, options in ((distill_static, {"dimensions": 16}), (distill_linear, {})):
        with pytest.raises(Cancelled):
            experiment(teacher, tiny_task, **options, progress=Progress(cancelled=lambda: True))


def test_only_a_pytorch_model_gives_token_vectors(tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be distilled; .* scikit-learn"):
        distill_static(tfidf_baseline(tiny_task), tiny_task)


def test_token_vectors_of_a_decoder_have_no_mark_before_them(tiny_task, tmp_path):
    """An empty text is one padding token there, which stands in front of no other text."""
    build("gpt2", tmp_path, tiny_task.train["text"][:], tiny_task.labels)
    module, encoder = pretrained(tmp_path, 3)
    result = token_vectors(TorchTextModel(Card("decoder", 3), encoder, module))
    expected = embed_rows(module, encoder.encode(["cat", "hammer"]))
    rows = [row[0] for row in encoder.encode(["cat", "hammer"])]
    np.testing.assert_allclose(result[rows], expected, atol=1e-5)
