"""The teacher's logits: computed once, and again where they are damaged."""

import copy

import numpy as np
import pytest
import torch

from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization.distillation.transfer_set import teacher_logits


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
