"""Training with a teacher: the loop that distillation and recovery after pruning share."""

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from helpers.lab.errors import InputError
from helpers.lab.models.model import MAX_BATCH, Model
from helpers.lab.models.torch import TorchTextModel, weights_digest
from helpers.lab.paths import cache, quarantine
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import BATCH, fine_tune
from helpers.model_optimization.distillation.losses import hidden_loss, mixed_loss, relation_loss
from helpers.model_optimization.pruning.encoder_parts import anatomy

RELATION_HEADS = 12


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is trained on, and what the teacher's words weigh.

    texts with their class numbers (-1: unlabelled); temperature and alpha, see mixed_loss; hidden
    and relation, the weights of the losses on hidden states and on token relations (0: not used).
    """

    texts: Sequence[str]
    labels: Sequence[int]
    temperature: float = 2.0
    alpha: float = 0.9
    hidden: float = 0.0
    relation: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise InputError(f"The temperature must be above 0, not {self.temperature}.")
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha, the teacher's share of the loss, lies between 0 and 1, not at {self.alpha}.")
        if self.hidden < 0 or self.relation < 0:
            raise InputError("The weights of the hidden-state and relation losses cannot be negative.")

    @property
    def looks_inside(self) -> bool:
        """Whether more than the teacher's answers is needed."""
        return self.hidden > 0 or self.relation > 0


def teach(module: nn.Module, encode: Callable[[Sequence[str]], list[list[int]]], lesson: Lesson,
          answers: np.ndarray | None, *, teacher: Model | None = None, epochs: float, learning_rate: float,
          seed: int = 0, progress: Progress = silent,
          say: str = "training") -> None:
    """Train the module in place.

    Args:
        answers: (texts, classes) the teacher's logits; None: by cross-entropy on the labels alone.
        teacher: looked into at every step where the lesson asks for hidden states or relations.

    Raises:
        InputError: hidden states or relations are asked of a teacher that is no PyTorch encoder, or
            a text has neither a label nor a teacher.
        Cancelled: `progress` was told to end.
    """
    labels, rows = np.asarray(lesson.labels, np.int64), encode(lesson.texts)
    common = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "progress": progress,
              "say": say}
    if answers is None:
        if (labels < 0).any():
            raise InputError("Texts without a label need a teacher.")
        fine_tune(module, rows, labels, **common)
        return
    target = next(module.parameters()).device
    loss = mixed_loss(torch.from_numpy(answers).to(target), torch.from_numpy(labels).to(target), lesson.temperature,
                      lesson.alpha)
    numbers = range(len(rows))
    if not lesson.looks_inside:
        fine_tune(module, rows, numbers, loss=loss, **common)
        return
    with _Pair(module, teacher, lesson) as pair:
        fine_tune(pair, rows, numbers, loss=lambda output, which: loss(output[0], which) + output[1], **common)


def steps_in(rows: int, epochs: float) -> int:
    """Optimizer steps that `fine_tune` takes."""
    return max(1, round(epochs * -(-rows // BATCH)))


def answers_of(teacher: Model, texts: Sequence[str],
               progress: Progress = silent) -> np.ndarray:
    """(n, classes) float32 logits of the teacher, each text answered once.

    A PyTorch teacher's answers are kept on disk: students of one teacher on one transfer set wait for
    them once, and they take longer than many a student's training.
    """
    if not isinstance(teacher, TorchTextModel):
        return _ask(teacher, texts, progress)
    told = hashlib.sha256(f"{weights_digest(teacher.module)} {json.dumps(list(texts))}".encode())
    file = cache("answers", f"{told.hexdigest()[:24]}.npy")
    answers = _read(file)
    if answers is None:
        answers = _ask(teacher, texts, progress)
        unfinished = file.with_name(f"{file.stem}.{os.getpid()}")
        with unfinished.open("wb") as target:
            np.save(target, answers)
        unfinished.replace(file)
    return answers


def _read(file: Path) -> np.ndarray | None:
    if not file.exists():
        return None
    try:
        return np.load(file)
    except (OSError, ValueError, EOFError):
        aside = quarantine(file)
        warnings.warn(f"A teacher's cached answers could not be read and were set aside as {aside.name}; the teacher "
                      "is asked again.", stacklevel=4)
        return None


def _ask(teacher: Model, texts: Sequence[str], progress: Progress) -> np.ndarray:
    answers = []
    for start in range(0, len(texts), 4 * MAX_BATCH):
        progress(start / len(texts), f"{teacher.card.name} answers text {start + 1:,} of {len(texts):,}")
        answers.append(teacher.predict(texts[start:start + 4 * MAX_BATCH]))
    return np.concatenate(answers)


class _Pair(nn.Module):
    """The student with its frozen teacher beside it: (ids, mask) -> (logits, loss on the inner states).

    A student's layer learns from the teacher's at the same share of the depth; relations are those of
    the last layers.
    """

    def __init__(self, student: nn.Module, teacher: Model, lesson: Lesson) -> None:
        super().__init__()
        if not isinstance(teacher, TorchTextModel):
            raise InputError(f"Hidden states and relations are learned from a PyTorch teacher only; "
                             f"'{teacher.card.name}' shows its answers alone.")
        self.student, self.lesson = student, lesson
        self._teacher = (teacher.module,)  # in a tuple, so that its weights are none of this module's
        own, other = anatomy(student), anatomy(teacher.module)
        self.project = nn.Linear(own.width, other.width, device=next(student.parameters()).device)
        if own.width == other.width:
            nn.init.eye_(self.project.weight)
            nn.init.zeros_(self.project.bias)
        depth = len(own.layers)
        self._pairs = [(layer, (layer + 1) * len(other.layers) // depth - 1) for layer in range(depth)]
        self._relation_heads = _shared_heads([layer.attention.self.query.out_features
                                              for layer in (own.layers[-1], other.layers[-1])])

    def __enter__(self) -> "_Pair":
        self._mine, mine = _tap(self.student)
        self._its, its = _tap(self._teacher[0])
        self._hooks = mine + its
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits and the weighted loss on its inner states."""
        logits = self.student(ids, mask)
        with torch.no_grad():
            self._teacher[0](ids, mask)
        inner = logits.new_zeros(())
        if self.lesson.hidden:
            losses = [hidden_loss(self._mine[mine], self._its[its], mask, self.project) for mine, its in self._pairs]
            inner = inner + self.lesson.hidden * sum(losses) / len(losses)
        if self.lesson.relation:
            losses = [relation_loss(self._mine[name], self._its[name], mask, self._relation_heads)
                      for name in ("query", "key", "value")]
            inner = inner + self.lesson.relation * sum(losses) / len(losses)
        return logits, inner


def _shared_heads(features: list[int]) -> int:
    """The most relation heads, up to RELATION_HEADS, that divide both widths."""
    return max(heads for heads in range(1, RELATION_HEADS + 1) if all(width % heads == 0 for width in features))


def _tap(module: nn.Module) -> tuple[dict, list]:
    """Hooks that keep each layer's output under its number, and the last layer's query, key and value."""
    kept: dict = {}
    layers = anatomy(module).layers

    def keep(name: int | str) -> Callable:
        return lambda _, __, output: kept.__setitem__(name, output)

    hooks = [layer.output.register_forward_hook(keep(index)) for index, layer in enumerate(layers)]
    own = layers[-1].attention.self
    return kept, hooks + [getattr(own, name).register_forward_hook(keep(name)) for name in ("query", "key", "value")]
