"""Distillation: a small student learns from a large teacher's answers. `distill` is the door."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from torch import nn

from helpers.lab.data.augmentation import augment
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization.distillation.students import student_of
from helpers.model_optimization.distillation.teaching import Lesson, answers_of, steps_in, teach
from helpers.model_optimization.pruning.encoder_parts import require_torch
from helpers.model_optimization.pruning.importance import importance_of
from helpers.model_optimization.pruning.structured import sizes_of

STRATEGY = "model optimization"


def distill(teacher: TorchTextModel, task: Task, *, layers: int | Sequence[int] = 2, heads: int | None = None,
            columns: int | None = None, width: int | None = None, initialisation: str = "copied",
            temperature: float = 2.0, alpha: float = 0.9, hidden: float = 0.0, relation: float = 0.0,
            transfer: Sequence[str] = (), augmented: int = 4, epochs: float = 6.0, learning_rate: float = 2e-4,
            seed: int = 0, progress: Progress = silent) -> TorchTextModel:
    """A smaller encoder taught by the teacher on the training rows and a transfer set; the teacher stays as it is.

    Args:
        layers, heads, columns, width, initialisation: the student, see `student_of`. A narrower copy
            keeps the teacher's most important parts (first order, on 256 training rows).
        temperature, alpha: softness of the teacher's answers and their share of the loss (mixed_loss).
        hidden, relation: weights of the losses on hidden states and token relations (0: answers only;
            else the teacher runs at every step, too).
        transfer: unlabelled texts for the teacher to answer, besides the training rows.
        augmented: altered copies of each training text to be added to them.
        epochs: passes over training rows and transfer set together.

    Raises:
        InputError: a size, share or weight that there is not; a teacher that is no PyTorch model.
        Cancelled: `progress` was told to end; asked at each step.
    """
    began = time.perf_counter()
    lesson = lesson_of(task, transfer, augmented, seed, temperature=temperature, alpha=alpha, hidden=hidden,
                     relation=relation)
    shape = {"layers": layers if isinstance(layers, int) else list(layers), "heads": heads, "columns": columns,
             "width": width, "initialisation": initialisation}
    module = _student(teacher, task, shape, seed, progress)
    answers = answers_of(teacher, lesson.texts, progress.part(0.0, 0.3))
    teach(module, teacher.encoder.encode, lesson, answers, teacher=teacher, epochs=epochs,
          learning_rate=learning_rate, seed=seed, progress=progress.part(0.3, 1.0),
          say="distilling")
    settings = {"temperature": temperature, "alpha": alpha, "hidden": hidden, "relation": relation,
                "transfer_rows": len(lesson.texts) - len(task.train)}
    return _finished(module, teacher, task, shape, "taught", began, epochs=epochs, learning_rate=learning_rate,
                     seed=seed, **settings)


def distill_with_control(teacher: TorchTextModel, task: Task, *, epochs: float = 6.0, learning_rate: float = 2e-4,
                         seed: int = 0, transfer: Sequence[str] = (), augmented: int = 4,
                         progress: Progress = silent,
                         **options: Any) -> tuple[TorchTextModel, TorchTextModel]:
    """(student, control): the control is the same student trained on the labels alone, for as many steps.

    Without it a student's accuracy says nothing about its teacher: a small model trained as long
    may do as well.

    Args:
        options: all others of `distill`.
    """
    student = distill(teacher, task, epochs=epochs, learning_rate=learning_rate, seed=seed, transfer=transfer,
                      augmented=augmented, progress=progress.part(0.0, 0.5), **options)
    began = time.perf_counter()
    shape = student.card.settings["student"]
    module = _student(teacher, task, shape, seed, progress)
    steps = steps_in(len(task.train) + student.card.settings["transfer_rows"], epochs)
    same = steps / steps_in(len(task.train), 1)
    labelled = Lesson(task.train["text"][:], task.train["label"][:])
    teach(module, teacher.encoder.encode, labelled, None, epochs=same, learning_rate=learning_rate, seed=seed,
          progress=progress.part(0.5, 1.0), say="training the control")
    control = _finished(module, teacher, task, shape, "not taught", began, epochs=same, learning_rate=learning_rate,
                        seed=seed)
    return student, control


def lesson_of(task: Task, transfer: Sequence[str], augmented: int, seed: int, **weights: float) -> Lesson:
    """The training rows with their labels, and the transfer set without."""
    if task.input != "text":
        raise InputError(f"Distillation reads text here; the task '{task.name}' has images.")
    texts = task.train["text"][:]
    extra = [*transfer, *augment(texts, augmented, seed)]
    return Lesson([*texts, *extra], [*task.train["label"][:], *[-1] * len(extra)], **weights)


def _student(teacher: TorchTextModel, task: Task, shape: dict[str, Any], seed: int,
             progress: Progress) -> nn.Module:
    require_torch(teacher, "distilled")
    importance = None
    if any(shape[name] for name in ("heads", "columns", "width")) and shape["initialisation"] == "copied":
        importance = importance_of(teacher.module, "taylor", *calibration(teacher, task, 256, seed), progress)
    return student_of(teacher, **shape, importance=importance, seed=seed)


def calibration(model: TorchTextModel, task: Task, rows: int, seed: int) -> tuple[list[list[int]], list[int]]:
    """Token ids and labels of some training rows. Test rows are never looked at."""
    if rows < 1:
        raise InputError(f"Calibration needs at least one row, not {rows}.")
    part = task.train.shuffle(seed=seed).select(range(min(rows, len(task.train))))
    return model.encoder.encode(part["text"][:]), part["label"][:]


def _finished(module: nn.Module, teacher: TorchTextModel, task: Task, shape: dict[str, Any], how: str, began: float,
              **settings: Any) -> TorchTextModel:
    return TorchTextModel(card_of(module, teacher, task, _name(shape, module, how), began, **settings, student=shape),
                          teacher.encoder, module)


def _name(shape: dict[str, Any], module: nn.Module, how: str) -> str:
    sizes = sizes_of(module)
    parts = [f"{sizes.layers} layers" if sizes.layers > 1 else "1 layer"]
    parts += [f"{shape[name]} {name}" for name in ("heads", "columns") if shape[name]]
    parts += [f"width {shape['width']}"] if shape["width"] else []
    return f"student of {', '.join(parts)}, {shape['initialisation']}, {how}, PyTorch"


def card_of(module: nn.Module, source: TorchTextModel, task: Task, name: str, began: float, **settings: Any) -> Card:
    """The card of a module made from `source`: its own sizes, parameters and multiply-accumulates."""
    sizes = dataclasses.asdict(sizes_of(module))
    card = source.card.derive(name, STRATEGY, time.perf_counter() - began, runtime="pytorch", sizes=sizes, **settings)
    return dataclasses.replace(card, parameters=count_parameters(module),
                               macs=count_macs(module, mean_tokens(task, source.encoder)))
