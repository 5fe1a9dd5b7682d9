"""Distillation: the students' shapes, and that they learn from their teacher what their controls do not."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from helpers.lab import Cancelled, InputError, export, load, tfidf_baseline
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress
from helpers.model_optimization import anatomy, distill, distill_with_control
from helpers.model_optimization.distillation.distilling import spread, student_of

QUICK = {"augmented": 1, "epochs": 1.0}


def accuracy(model, task) -> float:
    return float((model.predict(task.test["text"][:]).argmax(axis=1) == task.test["label"][:]).mean())


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
    module = student_of(teacher, layers=[1], heads=2, neurons=40, width=32, initialisation=initialisation)
    assert anatomy(module).sizes() == {"layers": 1, "heads": [2], "neurons": [40], "width": 32}


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


@pytest.fixture(scope="module")
def pair(teacher, tiny_task):
    """A student of one layer and its control; validation and test labels are out of reach."""
    blind = dataclasses.replace(tiny_task, validation=None)
    state = copy.deepcopy(teacher.module.state_dict())
    result = distill_with_control(teacher, blind, layers=1, neurons=64, augmented=2, epochs=6, learning_rate=2e-3)
    assert all(torch.equal(tensor, state[name]) for name, tensor in teacher.module.state_dict().items())
    return result


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
    messages = {"distilling": [], "training the control": []}

    def report(_, message):
        for name, steps in messages.items():
            if message.startswith(f"{name}: step"):
                steps.append(message.removeprefix(f"{name}: "))

    student, control = distill_with_control(teacher, tiny_task, layers=[0], transfer=["a cat"] * 7, **QUICK,
                                            progress=Progress(report))
    assert messages["distilling"] == messages["training the control"]
    assert len(messages["distilling"]) == -(-(2 * len(tiny_task.train) + 7) // 32)
    assert student.card.settings["sizes"] == control.card.settings["sizes"]
    assert student.card.settings["transfer_rows"] == len(tiny_task.train) + 7
    assert student.card.name == "student of 1 layer, copied, distilled, PyTorch"
    assert control.card.name == "student of 1 layer, copied, labels only, PyTorch"


def test_a_student_answers_the_same_after_a_reload_and_in_onnx_runtime(pair, tiny_task, tmp_path):
    texts, expected = tiny_task.test["text"][:], pair[0].predict(tiny_task.test["text"][:])
    pair[0].save(tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(texts), expected)
    assert load(tmp_path).card == pair[0].card
    np.testing.assert_allclose(export(pair[0], "onnxruntime").predict(texts), expected, atol=1e-4)


def test_distilling_tells_its_progress_and_can_be_cancelled(teacher, tiny_task):
    reports = []
    distill(teacher, tiny_task, layers=1, **QUICK, progress=Progress(lambda fraction, _: reports.append(fraction)))
    assert reports == sorted(reports)
    assert reports[-1] == 1.0
    with pytest.raises(Cancelled):
        distill(teacher, tiny_task, progress=Progress(cancelled=lambda: True))


def test_the_same_seed_gives_the_same_student(teacher, tiny_task):
    texts = tiny_task.test["text"][:]
    first, again, other = (distill(teacher, tiny_task, layers=1, **QUICK, seed=seed).predict(texts)
                           for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("options", "sentence"), [
    ({"layers": 3}, r"A student has 1 to 2 layers here, not 3\."),
    ({"layers": [2]}, r"numbered 0 to 1; name at least one"),
    ({"heads": 5}, r"1 to 4 heads here, not 5\."),
    ({"neurons": 0}, r"1 to 128 neurons here, not 0\."),
    ({"width": 20}, r"multiple of the head size 16, not 20\."),
    ({"initialisation": "lucky"}, r"Unknown initialisation 'lucky'. Choose one of: copied, fresh\."),
    ({"temperature": 0}, r"temperature must be above 0, not 0\."),
    ({"alpha": 1.5}, r"lies between 0 and 1, not at 1\.5\."),
    ({"hidden": -1}, r"cannot be negative"),
    ({"augmented": -1}, r"augmented copies cannot be negative \(-1\)\."),
])
def test_what_cannot_be_distilled_is_refused_in_a_sentence(teacher, tiny_task, options, sentence):
    with pytest.raises(InputError, match=sentence):
        distill(teacher, tiny_task, **options)


def test_only_a_pytorch_model_teaches(tiny_task):
    with pytest.raises(InputError, match=r"Only a PyTorch model can be distilled; .* scikit-learn"):
        distill(tfidf_baseline(tiny_task), tiny_task)
