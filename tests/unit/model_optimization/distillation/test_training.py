"""Training with a teacher: its logits, the losses' closed forms, and that what a loss asks for gets smaller."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.lab import InputError
from helpers.lab.data.tokenizer import pad
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization import distill
from helpers.model_optimization.distillation.training import (
    TransferSet,
    _Pair,
    hidden_loss,
    mixed_loss,
    relation_loss,
    soft_target_loss,
    teacher_logits,
    train_student,
)


def test_the_soft_loss_of_two_classes_is_worked_out_by_hand():
    """Logits (2T, 0) against (0, 0): probabilities s(2) and 1 - s(2) against one half."""
    temperature, p = 3.0, 1 / (1 + math.exp(-2))
    expected = temperature**2 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    result = soft_target_loss(torch.zeros(1, 2), torch.tensor([[2 * temperature, 0.0]]), temperature)
    assert result.tolist() == [pytest.approx(expected, rel=1e-6)]


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
    result = relation_loss(student, teacher, torch.ones(1, 2, dtype=torch.int64), 1)
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_padding_changes_no_relation():
    student, teacher = torch.randn(2, 2, 4, 8, generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0]])
    whole = relation_loss(student[:, :3], teacher[:, :3], mask[:, :3], 2)
    student[:, 3], teacher[:, 3] = 50.0, -50.0
    torch.testing.assert_close(relation_loss(student, teacher, mask, 2), whole)
    assert relation_loss(student, student, mask, 4) == 0


@pytest.mark.parametrize("weights", [{"hidden": 1.0}, {"relation": 1.0}])
def test_a_student_of_inner_states_comes_nearer_to_them(teacher, tiny_task, weights):
    """What the extra loss asks for gets smaller than without it."""
    options = {"layers": 1, "heads": 2, "augmented": 0, "epochs": 4, "learning_rate": 2e-3}
    plain, inside = (distill(teacher, tiny_task, **options, **extra) for extra in ({}, weights))
    transfer_set = TransferSet(tiny_task.train["text"][:32], tiny_task.train["label"][:32], **weights)
    results = []
    for model in (plain, inside):
        ids, mask = (torch.from_numpy(array) for array in pad(teacher.encoder.encode(transfer_set.texts)))
        pair = _Pair(model.module, teacher, transfer_set).eval()
        with pair, torch.inference_mode():
            results.append(float(pair(ids, mask)[1]))
    assert results[1] < results[0]


def test_a_narrow_student_learns_hidden_states_through_a_projection(teacher, tiny_task):
    model = distill(teacher, tiny_task, layers=1, width=32, hidden=0.5, relation=0.5, augmented=0, epochs=0.5)
    assert np.isfinite(model.predict(tiny_task.test["text"][:4])).all()


def test_unlabelled_texts_need_a_teacher(teacher):
    with pytest.raises(InputError, match="Texts without a label need a teacher"):
        train_student(teacher.module, teacher.encoder.encode, TransferSet(["a cat"], [-1]), None, epochs=1,
                      learning_rate=1e-3)


# The teacher's logits

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
    first, again = teacher_logits(teacher, texts), teacher_logits(teacher, texts)
    np.testing.assert_array_equal(first, again)
    assert sum(asked) == len(texts)
    teacher_logits(teacher, texts[1:])
    assert sum(asked) == 2 * len(texts) - 1


def test_another_teacher_is_asked_itself(teacher, tiny_task, fresh_home, asked):
    texts = tiny_task.test["text"][:4]
    other = TorchTextModel(teacher.card, teacher.encoder, copy.deepcopy(teacher.module))
    with torch.no_grad():
        other.module.classifier.bias[0] += 1
    first, others = teacher_logits(teacher, texts), teacher_logits(other, texts)
    assert sum(asked) == 8
    np.testing.assert_allclose(others - first, [[1, 0, 0]] * 4, atol=1e-5)


def test_damaged_logits_are_quarantined_and_computed_again(teacher, tiny_task, fresh_home, asked):
    texts = tiny_task.test["text"][:4]
    first = teacher_logits(teacher, texts)
    [file] = (fresh_home / "cache" / "teacher_logits").glob("*.npy")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.warns(UserWarning, match=r"could not be read and was quarantined as .*damaged-1"):
        np.testing.assert_array_equal(teacher_logits(teacher, texts), first)
    assert sum(asked) == 8
    assert file.exists()
