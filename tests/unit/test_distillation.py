"""Distillation: the losses' closed forms, the students' shapes, and that students learn from their teacher."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import nn
from torch.nn import functional

from helpers.lab import Cancelled, InputError, Model, export, load, tfidf_baseline
from helpers.lab.data.augmentation import augment
from helpers.lab.models.static import StaticModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress
from helpers.lab.training.fine_tuning import fine_tune
from helpers.lab.training.tokenizer import pad
from helpers.model_optimization import distill, distill_linear, distill_static, distill_with_control
from helpers.model_optimization.distillation.linear_student import linear_classifier
from helpers.model_optimization.distillation.losses import hidden_loss, mixed_loss, relation_loss, soft_target_loss
from helpers.model_optimization.distillation.static_student import principal_components, token_vectors
from helpers.model_optimization.distillation.students import spread, student_of
from helpers.model_optimization.distillation.teaching import Lesson, answers_of, teach
from helpers.model_optimization.pruning.structured import sizes_of

QUICK = {"augmented": 1, "epochs": 1.0}


@pytest.fixture(scope="module")
def teacher(tiny_model, tiny_task):
    """The tiny model after it has learned the tiny task."""
    module = copy.deepcopy(tiny_model.module)
    rows = tiny_model.encoder.encode(tiny_task.train["text"][:])
    fine_tune(module, rows, tiny_task.train["label"][:], epochs=8, learning_rate=3e-3)
    return TorchTextModel(dataclasses.replace(tiny_model.card, name="teacher"), tiny_model.encoder, module)


def accuracy(model, task) -> float:
    return float((model.predict(task.test["text"][:]).argmax(axis=1) == task.test["label"][:]).mean())


# Losses

def test_the_soft_loss_of_two_classes_is_worked_out_by_hand():
    """Logits (2T, 0) against (0, 0): probabilities s(2) and 1 - s(2) against one half."""
    temperature, p = 3.0, 1 / (1 + math.exp(-2))
    expected = temperature**2 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    found = soft_target_loss(torch.zeros(1, 2), torch.tensor([[2 * temperature, 0.0]]), temperature)
    assert found.tolist() == [pytest.approx(expected, rel=1e-6)]


def test_equal_answers_cost_nothing_at_any_temperature():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    for temperature in (0.5, 1.0, 8.0):
        shifted = logits + 3.0  # adding a number to all logits changes no answer
        assert soft_target_loss(shifted, logits, temperature).abs().max() < 1e-5


def test_a_hot_soft_loss_matches_logits():
    """As T grows, T^2 KL tends to the mean squared difference of centred logits, halved (Hinton et al., 2.1)."""
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1)).double()
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    expected = difference.square().sum(1) / (2 * 5)
    torch.testing.assert_close(soft_target_loss(student, teacher, 1e4), expected, rtol=1e-3, atol=0)


def test_the_mix_is_cross_entropy_at_0_and_the_teacher_at_1():
    student, teacher = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2))
    labels, rows = torch.tensor([0, 2, 1, 1]), torch.tensor([2, 0])
    hard = functional.cross_entropy(student[:2], labels[rows])
    soft = soft_target_loss(student[:2], teacher[rows], 2.0).mean()
    for alpha, expected in ((0.0, hard), (1.0, soft), (0.3, 0.3 * soft + 0.7 * hard)):
        torch.testing.assert_close(mixed_loss(teacher, labels, 2.0, alpha)(student[:2], rows), expected)


def test_without_a_label_the_teacher_alone_counts():
    student, teacher = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(3))
    loss = mixed_loss(teacher, torch.tensor([-1, -1]), 2.0, 0.1)(student, torch.tensor([0, 1]))
    torch.testing.assert_close(loss, soft_target_loss(student, teacher, 2.0).mean())


def test_hidden_states_are_compared_over_real_tokens_only():
    student, teacher = torch.zeros(2, 3, 4), torch.full((2, 3, 4), 2.0)
    teacher[0, 2], teacher[1, 1:] = 99.0, 99.0
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert hidden_loss(student, teacher, mask, nn.Identity()) == 4.0


def test_relations_are_worked_out_by_hand():
    """Two tokens, one head of one feature: x = (a, b) relates token i to j by softmax over j of x_i x_j."""
    student, teacher = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[0.5], [3.0]]])

    def relation(a, b):
        rows = [(a * a, a * b), (b * a, b * b)]
        return [[math.exp(x) / (math.exp(one) + math.exp(two)) for x in (one, two)] for one, two in rows]

    expected = sum(t * math.log(t / s) for rows in zip(relation(0.5, 3.0), relation(1.0, 2.0), strict=True)
                   for t, s in zip(*rows, strict=True)) / 2
    found = relation_loss(student, teacher, torch.ones(1, 2, dtype=torch.int64), 1)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_no_relation():
    student, teacher = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    whole = relation_loss(student[:, :3], teacher[:, :3], mask[:, :3], 2)
    student[:, 3], teacher[:, 3] = 50.0, -50.0
    torch.testing.assert_close(relation_loss(student, teacher, mask, 2), whole)
    assert relation_loss(student, student, mask, 4) == 0


# Students

@pytest.mark.parametrize(("available", "layers", "expected"), [
    (6, 3, [0, 2, 4]), (6, 2, [0, 3]), (6, 6, [0, 1, 2, 3, 4, 5]), (12, 4, [0, 3, 6, 9]), (6, 1, [0])])
def test_layers_are_spread_evenly(available, layers, expected):
    assert spread(available, layers) == expected


def test_a_copied_student_of_full_size_answers_as_its_teacher(teacher, tiny_task):
    module = student_of(teacher, layers=2)
    model = TorchTextModel(teacher.card, teacher.encoder, module)
    texts = tiny_task.test["text"][:]
    np.testing.assert_array_equal(model.predict(texts), teacher.predict(texts))
    assert not any(part.p for part in module.modules() if isinstance(part, nn.Dropout))
    assert any(part.p for part in teacher.module.modules() if isinstance(part, nn.Dropout))


@pytest.mark.parametrize("initialisation", ["copied", "fresh"])
def test_a_student_has_the_sizes_asked_for(teacher, initialisation):
    module = student_of(teacher, layers=[1], heads=2, columns=40, width=32, initialisation=initialisation)
    assert dataclasses.astuple(sizes_of(module)) == (1, [2], [40], 32)


def test_a_copied_layer_is_the_named_one_and_a_fresh_one_is_not(teacher):
    copied, fresh = (student_of(teacher, layers=[1], initialisation=how) for how in ("copied", "fresh"))
    weight = teacher.module.encoder.encoder.layer[1].output.dense.weight
    assert torch.equal(copied.encoder.encoder.layer[0].output.dense.weight, weight)
    drawn = fresh.encoder.encoder.layer[0].output.dense.weight
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.05)
    again = student_of(teacher, layers=[1], initialisation="fresh").encoder.encoder.layer[0].output.dense.weight
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, student_of(teacher, layers=[1], initialisation="fresh", seed=1)
                           .encoder.encoder.layer[0].output.dense.weight)


# distill

@pytest.fixture(scope="module")
def pair(teacher, tiny_task):
    """A student of one layer and its control; validation and test labels are out of reach."""
    blind = dataclasses.replace(tiny_task, validation=None)
    state = copy.deepcopy(teacher.module.state_dict())
    found = distill_with_control(teacher, blind, layers=1, columns=64, augmented=2, epochs=6, learning_rate=2e-3)
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.module.state_dict().items())
    return found


def test_a_student_comes_near_its_teacher_with_half_of_the_layers(teacher, pair, tiny_task):
    assert accuracy(pair[0], tiny_task) >= accuracy(teacher, tiny_task) - 0.07
    assert pair[0].card.parameters < teacher.card.parameters
    assert pair[0].card.macs < 0.5 * teacher.card.macs


def test_a_student_answers_more_like_its_teacher_than_its_control_does(teacher, pair, tiny_task):
    texts = tiny_task.test["text"][:]
    wanted = functional.log_softmax(torch.from_numpy(teacher.predict(texts)), 1)
    apart = [float(functional.kl_div(functional.log_softmax(torch.from_numpy(model.predict(texts)), 1), wanted,
                                     log_target=True, reduction="batchmean")) for model in pair]
    assert apart[0] < apart[1]


def test_the_control_is_the_same_student_trained_for_as_many_steps(teacher, tiny_task):
    told = {"distilling": [], "training the control": []}

    def progress(_, message):
        for name, steps in told.items():
            if message.startswith(f"{name}: step"):
                steps.append(message.removeprefix(f"{name}: "))

    student, control = distill_with_control(teacher, tiny_task, layers=[0], transfer=["a cat"] * 7, **QUICK,
                                            progress=progress)
    assert told["distilling"] == told["training the control"]
    assert len(told["distilling"]) == -(-(2 * len(tiny_task.train) + 7) // 32)
    assert student.card.settings["sizes"] == control.card.settings["sizes"]
    assert student.card.settings["transfer_rows"] == len(tiny_task.train) + 7
    assert student.card.name == "student of 1 layer, copied, taught, PyTorch"
    assert control.card.name == "student of 1 layer, copied, not taught, PyTorch"


@pytest.mark.parametrize("weights", [{"hidden": 1.0}, {"relation": 1.0}])
def test_a_student_taught_from_inside_comes_nearer_there(teacher, tiny_task, weights):
    """What the extra loss asks for gets smaller than without it."""
    options = {"layers": 1, "heads": 2, "augmented": 0, "epochs": 4, "learning_rate": 2e-3}
    plain, inside = (distill(teacher, tiny_task, **options, **extra) for extra in ({}, weights))
    lesson = Lesson(tiny_task.train["text"][:32], tiny_task.train["label"][:32], **weights)
    found = []
    for model in (plain, inside):
        from helpers.model_optimization.distillation.teaching import _Pair

        ids, mask = (torch.from_numpy(array) for array in pad(teacher.encoder.encode(lesson.texts)))
        pair = _Pair(model.module, teacher, lesson).eval()
        with pair, torch.inference_mode():
            found.append(float(pair(ids, mask)[1]))
    assert found[1] < found[0]


def test_a_narrow_student_learns_hidden_states_through_a_projection(teacher, tiny_task):
    model = distill(teacher, tiny_task, layers=1, width=32, hidden=0.5, relation=0.5, augmented=0, epochs=0.5)
    assert np.isfinite(model.predict(tiny_task.test["text"][:4])).all()


def test_a_student_answers_the_same_after_a_reload_and_in_onnx_runtime(pair, tiny_task, tmp_path):
    texts, expected = tiny_task.test["text"][:], pair[0].predict(tiny_task.test["text"][:])
    pair[0].save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), expected)
    assert load(tmp_path).card == pair[0].card
    np.testing.assert_allclose(export(pair[0], "onnxruntime").predict(texts), expected, atol=1e-4)


def test_distilling_tells_its_progress_and_can_be_cancelled(teacher, tiny_task):
    told = []
    distill(teacher, tiny_task, layers=1, **QUICK, progress=Progress(lambda fraction, _: told.append(fraction)))
    assert told == sorted(told)
    assert told[-1] == 1.0
    for experiment, options in ((distill, {}), (distill_static, {"dimensions": 16}), (distill_linear, {})):
        with pytest.raises(Cancelled):
            experiment(teacher, tiny_task, **options, progress=Progress(cancelled=lambda: True))


def test_the_same_seed_gives_the_same_student(teacher, tiny_task):
    texts = tiny_task.test["text"][:]
    first, again, other = (distill(teacher, tiny_task, layers=1, **QUICK, seed=seed).predict(texts)
                           for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# The teacher's answers

@pytest.fixture
def asked(monkeypatch):
    """Numbers of texts that PyTorch models were asked for."""
    counts, predict = [], TorchTextModel.predict

    def counted(self, texts):
        counts.append(len(texts))
        return predict(self, texts)

    monkeypatch.setattr(TorchTextModel, "predict", counted)
    return counts


def test_a_teacher_is_asked_once_for_the_same_texts(teacher, tiny_task, fresh_home, asked):
    texts = tiny_task.test["text"][:]
    first, again = answers_of(teacher, texts), answers_of(teacher, texts)
    np.testing.assert_array_equal(first, again)
    assert sum(asked) == len(texts)
    answers_of(teacher, texts[1:])
    assert sum(asked) == 2 * len(texts) - 1


def test_another_teacher_is_asked_anew(teacher, tiny_task, fresh_home, asked):
    texts = tiny_task.test["text"][:4]
    other = TorchTextModel(teacher.card, teacher.encoder, copy.deepcopy(teacher.module))
    with torch.no_grad():
        other.module.classifier.bias[0] += 1
    first, others = answers_of(teacher, texts), answers_of(other, texts)
    assert sum(asked) == 8
    np.testing.assert_allclose(others - first, [[1, 0, 0]] * 4, atol=1e-5)


def test_damaged_answers_are_set_aside_and_asked_for_again(teacher, tiny_task, fresh_home, asked):
    texts = tiny_task.test["text"][:4]
    first = answers_of(teacher, texts)
    [file] = (fresh_home / "cache" / "answers").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.warns(UserWarning, match=r"cached answers could not be read and were set aside as .*damaged-1"):
        np.testing.assert_array_equal(answers_of(teacher, texts), first)
    assert sum(asked) == 8
    assert file.exists()


# The linear student

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
    lesson = [*texts, *augment(texts, 2, 0)]
    logits = teacher.predict(lesson)
    features = linear.pipeline[0].transform(lesson).toarray()
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


def test_a_linear_student_of_no_words_is_refused(teacher, tiny_task):
    with pytest.raises(InputError, match="at least one, not 0"):
        distill_linear(teacher, tiny_task, words=0)


# The static student

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
    found = principal_components(vectors, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(expected / expected.std()), atol=1e-3)


# What there is not

@pytest.mark.parametrize(("options", "sentence"), [
    ({"layers": 3}, r"A student has 1 to 2 layers here, not 3\."),
    ({"layers": [2]}, r"numbered 0 to 1; name at least one"),
    ({"heads": 5}, r"1 to 4 heads here, not 5\."),
    ({"columns": 0}, r"1 to 128 columns here, not 0\."),
    ({"width": 20}, r"multiple of the head size 16, not 20\."),
    ({"initialisation": "lucky"}, r"no initialisation 'lucky'. Known: copied, fresh\."),
    ({"temperature": 0}, r"temperature must be above 0, not 0\."),
    ({"alpha": 1.5}, r"lies between 0 and 1, not at 1\.5\."),
    ({"hidden": -1}, r"cannot be negative"),
    ({"augmented": -1}, r"augmented copies cannot be negative \(-1\)\."),
])
def test_what_cannot_be_distilled_is_refused_in_a_sentence(teacher, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        distill(teacher, tiny_task, **options)


def test_only_a_pytorch_model_teaches(tiny_task):
    for experiment in (distill, distill_static):
        with pytest.raises(InputError, match=r"Only a PyTorch model can be distilled; .* scikit-learn"):
            experiment(tfidf_baseline(tiny_task), tiny_task)


def test_unlabelled_texts_need_a_teacher(teacher):
    with pytest.raises(InputError, match="Texts without a label need a teacher"):
        teach(teacher.module, teacher.encoder.encode, Lesson(["a cat"], [-1]), None, epochs=1, learning_rate=1e-3)


def test_more_dimensions_than_the_teacher_has_are_refused(teacher, tiny_task):
    with pytest.raises(InputError, match=r"1 to 64 dimensions here and at least one hidden unit, not 65 and 256\."):
        distill_static(teacher, tiny_task, dimensions=65)


def test_a_static_model_of_arrays_that_do_not_fit_is_refused(static):
    weights = {"vectors": static._table, **static._layers}
    with pytest.raises(InputError, match="needs the array 'out_bias'"):
        StaticModel(static.card, static.encoder, {name: a for name, a in weights.items() if name != "out_bias"})
    with pytest.raises(InputError, match=r"'out_weight' has shape \(2, 32\), not \(3, 32\)"):
        StaticModel(static.card, static.encoder, weights | {"out_weight": weights["out_weight"][:2]})
