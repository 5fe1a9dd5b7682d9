"""Distillation: a smaller encoder, copied from a teacher or fresh, learns from its logits. `distill` is the door."""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.distillation.training import (
    TransferSet,
    make_transfer_set,
    steps_in,
    teacher_logits,
    train_student,
)
from helpers.model_optimization.encoder.importance import Importance, best, calibration_rows, importance_of, magnitude
from helpers.model_optimization.encoder.parts import Anatomy, anatomy, card_of, configs_of, require_torch
from helpers.model_optimization.encoder.structured import (
    keep_heads,
    keep_layers,
    keep_neurons,
    keep_width,
    require_mean_pooling,
)

INITIALISATIONS = ("copied", "fresh")


def distill(teacher: TorchTextModel, task: Task, *, layers: int | Sequence[int] = 2, heads: int | None = None,
            neurons: int | None = None, width: int | None = None, initialisation: str = "copied",
            temperature: float = 2.0, alpha: float = 0.9, hidden: float = 0.0, relation: float = 0.0,
            transfer: Sequence[str] = (), augmented: int = 4, epochs: float = 6.0, learning_rate: float = 2e-4,
            seed: int = 0, progress: Progress = silent) -> TorchTextModel:
    """A smaller encoder trained on the teacher's logits, on training rows and more; the teacher stays as it is.

    Args:
        layers, heads, neurons, width, initialisation: the student, see `student_of`. A narrower copy
            keeps the teacher's most important parts (first order, on 256 training rows).
        temperature, alpha: softness of the teacher's logits and their share of the loss (mixed_loss).
        hidden, relation: weights of the losses on hidden states and token relations (0: logits only;
            else the teacher runs at every step, too).
        transfer: unlabelled texts for the teacher to answer, besides the training rows.
        augmented: altered copies of each training text to be added to them.
        epochs: over training rows, `transfer` and altered copies together.

    Raises:
        InputError: a size, share or weight that there is not; a teacher that is no PyTorch model, or of an architecture
            whose layers cannot be removed (distill_linear and distill_static take any).
        Cancelled: the caller of `progress` wants an end; asked at each step.

    >>> from helpers.lab import baseline, load_task
    >>> from helpers.model_optimization import distill
    >>> task = load_task("tickets")  # doctest: +SKIP
    >>> distill(baseline(task), task, layers=[0, 1]).card.name  # doctest: +SKIP
    'student of 2 layers, copied, distilled, PyTorch'
    """
    require_torch(teacher, "distilled")
    anatomy(teacher.module)  # refuses architectures whose layers cannot be removed
    if width:
        require_mean_pooling(teacher.module)
    began = time.perf_counter()
    transfer_set = make_transfer_set(task, transfer, augmented, seed, temperature=temperature, alpha=alpha,
                                     hidden=hidden, relation=relation)
    shape = {"layers": layers if isinstance(layers, int) else list(layers), "heads": heads, "neurons": neurons,
             "width": width, "initialisation": initialisation}
    module = _student(teacher, task, shape, seed, progress)
    logits = teacher_logits(teacher, transfer_set.texts, progress.part(0.0, 0.3))
    train_student(module, teacher.encoder.encode, transfer_set, logits, teacher=teacher, epochs=epochs,
                  learning_rate=learning_rate, seed=seed, progress=progress.part(0.3, 1.0), say="distilling")
    settings = {"temperature": temperature, "alpha": alpha, "hidden": hidden, "relation": relation,
                "transfer_rows": len(transfer_set.texts) - len(task.train)}
    return _finished(module, teacher, task, shape, "distilled", began, epochs=epochs, learning_rate=learning_rate,
                     seed=seed, **settings)


def distill_with_control(teacher: TorchTextModel, task: Task, *, epochs: float = 6.0, learning_rate: float = 2e-4,
                         seed: int = 0, transfer: Sequence[str] = (), augmented: int = 4,
                         progress: Progress = silent,
                         **options: Any) -> tuple[TorchTextModel, TorchTextModel]:
    """(student, its control): see `distill` and `control_of`.

    Args:
        options: all others of `distill`.
    """
    student = distill(teacher, task, epochs=epochs, learning_rate=learning_rate, seed=seed, transfer=transfer,
                      augmented=augmented, progress=progress.part(0.0, 0.5), **options)
    return student, control_of(student, teacher, task, progress=progress.part(0.5, 1.0))


def control_of(student: TorchTextModel, teacher: TorchTextModel, task: Task, *,
               progress: Progress = silent) -> TorchTextModel:
    """The same student trained on the labels alone, for as many steps, from the same first weights.

    Without it a student's accuracy says nothing about its teacher: a small model trained as long may do as well.

    Args:
        student: what `distill` made of this teacher and task.

    Raises:
        InputError: a model that was not distilled.
        Cancelled: the caller of `progress` wants an end; asked at each step.
    """
    made = student.card.settings
    if "student" not in made:
        raise InputError(f"'{student.card.name}' was not distilled: a control is trained like a student, so distill "
                         "one first.")
    began, shape = time.perf_counter(), made["student"]
    module = _student(teacher, task, shape, made["seed"], progress)
    steps = steps_in(len(task.train) + made["transfer_rows"], made["epochs"])
    same = steps / steps_in(len(task.train), 1)
    labelled = TransferSet(task.train["text"][:], task.train["label"][:])
    train_student(module, teacher.encoder.encode, labelled, None, epochs=same, learning_rate=made["learning_rate"],
                  seed=made["seed"], progress=progress, say="training the control")
    return _finished(module, teacher, task, shape, "labels only", began, epochs=same,
                     learning_rate=made["learning_rate"], seed=made["seed"])


def _student(teacher: TorchTextModel, task: Task, shape: dict[str, Any], seed: int,
             progress: Progress) -> nn.Module:
    importance = None
    if any(shape[name] for name in ("heads", "neurons", "width")) and shape["initialisation"] == "copied":
        importance = importance_of(teacher.module, "taylor", *calibration_rows(teacher.encoder, task, seed), progress)
    return student_of(teacher, **shape, importance=importance, seed=seed)


def _finished(module: nn.Module, teacher: TorchTextModel, task: Task, shape: dict[str, Any], how: str, began: float,
              **settings: Any) -> TorchTextModel:
    return TorchTextModel(card_of(module, teacher, task, _name(shape, module, how), began, **settings, student=shape),
                          teacher.encoder, module)


def _name(shape: dict[str, Any], module: nn.Module, how: str) -> str:
    layers = len(anatomy(module).layers)
    parts = [f"{layers} layers" if layers > 1 else "1 layer"]
    parts += [f"{shape[name]} {name}" for name in ("heads", "neurons") if shape[name]]
    parts += [f"width {shape['width']}"] if shape["width"] else []
    return f"student of {', '.join(parts)}, {shape['initialisation']}, {how}, PyTorch"


def student_of(teacher: TorchTextModel, *, layers: int | Sequence[int] = 2, heads: int | None = None,
               neurons: int | None = None, width: int | None = None, initialisation: str = "copied",
               importance: Importance | None = None, seed: int = 0) -> nn.Module:
    """A smaller module of the teacher's kind, without dropout (a teacher's soft answers regularise enough).

    Args:
        layers: how many, spread over the teacher's as DistilBERT's are (0, 2, 4 of 6), or which ones.
        heads, neurons, width: of each layer, and of the residual stream; the teacher's by default.
        initialisation: "copied" takes over the teacher's weights, the most important parts where it
            is narrower; "fresh" draws all weights at random, token vectors included.
        importance: of the teacher's parts; by default the size of the weights.

    Raises:
        InputError: a size that the teacher does not have, or another initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise InputError(f"Unknown initialisation '{initialisation}'. Choose one of: {', '.join(INITIALISATIONS)}.")
    importance = importance or magnitude(teacher.module)
    parts = anatomy(teacher.module)
    chosen = spread(len(parts.layers), layers) if isinstance(layers, int) else [int(index) for index in layers]
    _require_sizes(parts, chosen, heads, neurons, width)
    module = copy.deepcopy(teacher.module).requires_grad_(True)
    if heads:
        module = keep_heads(module, {index: best(importance.heads[index], heads) for index in chosen})
    if neurons:
        module = keep_neurons(module, {index: best(importance.neurons[index], neurons) for index in chosen})
    module = keep_layers(module, chosen)
    if width:
        module = keep_width(module, best(importance.width, width))
    if initialisation == "fresh":
        _draw_at_random(module, seed)
    _without_dropout(module)
    return module


def spread(available: int, layers: int) -> list[int]:
    """Evenly spread layer numbers, the first included.

    Raises:
        InputError: none, or more than there are.
    """
    if not 1 <= layers <= available:
        raise InputError(f"A student has 1 to {available} layers here, not {layers}.")
    return [index * available // layers for index in range(layers)]


def _require_sizes(parts: Anatomy, chosen: Sequence[int], heads: int | None, neurons: int | None,
                   width: int | None) -> None:
    if not chosen or not all(0 <= index < len(parts.layers) for index in chosen):
        raise InputError(f"The teacher's layers are numbered 0 to {len(parts.layers) - 1}; name at least one of them.")
    limits = {"heads": (heads, min(parts.heads[index] for index in chosen)),
            "neurons": (neurons, min(parts.neurons[index] for index in chosen)), "width": (width, parts.width)}
    for name, (wanted, available) in limits.items():
        if wanted is not None and not 1 <= wanted <= available:
            raise InputError(f"A student can have 1 to {available} {name} here, not {wanted}.")


def _draw_at_random(module: nn.Module, seed: int) -> None:
    """As BERT's weights are drawn: normal with 0.02, biases zero, layer norms one."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            part.reset_parameters()
        elif isinstance(part, (nn.Linear, nn.Embedding)):
            drawn = torch.randn(part.weight.shape, generator=generator) * 0.02
            part.weight = nn.Parameter(drawn.to(part.weight))
            if getattr(part, "bias", None) is not None:
                nn.init.zeros_(part.bias)


def _without_dropout(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(getattr(part, "attention_dropout", None), float):  # ModernBERT's hands it on as a number
            part.attention_dropout = 0.0
    for config in configs_of(module):
        for name, value in config.to_dict().items():
            if name.endswith(("dropout", "dropout_prob")) and isinstance(value, int | float):
                setattr(config, name, 0.0)
