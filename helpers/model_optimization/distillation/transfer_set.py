"""What a student learns from: training texts, altered copies of them and others, and the teacher's logits for all."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.lab.cache import cached
from helpers.lab.data.augmentation import augment
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import MAX_BATCH, Model
from helpers.lab.models.torch import TorchTextModel, model_digest
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class TransferSet:
    """The texts that a student is trained on, and the weights of its losses.

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
        """Whether more than the teacher's logits is needed."""
        return self.hidden > 0 or self.relation > 0


def make_transfer_set(task: Task, transfer: Sequence[str], augmented: int, seed: int, **weights: float) -> TransferSet:
    """The training rows with their labels; `transfer` and altered copies of the training texts without."""
    if task.input != "text":
        raise InputError(f"Distillation reads text here; the task '{task.name}' has images.")
    texts = task.train["text"][:]
    extra = [*transfer, *augment(texts, augmented, seed)]
    return TransferSet([*texts, *extra], [*task.train["label"][:], *[-1] * len(extra)], **weights)


def teacher_logits(teacher: Model, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
    """(n, classes) float32 logits of the teacher, computed once for each text.

    Those of a PyTorch teacher are cached on disk: students of one teacher on one transfer set wait for
    them once, and they take longer than many a student's training.
    """
    def computed() -> np.ndarray:
        parts = []
        for start in range(0, len(texts), 4 * MAX_BATCH):
            progress(start / len(texts), f"{teacher.card.name} answers text {start + 1:,} of {len(texts):,}")
            parts.append(teacher.predict(texts[start:start + 4 * MAX_BATCH]))
        return np.concatenate(parts)

    if not isinstance(teacher, TorchTextModel):
        return computed()
    inputs = f"{model_digest(teacher)} {json.dumps(list(texts))}"
    file = cache("teacher_logits", f"{hashlib.sha256(inputs.encode()).hexdigest()[:24]}.npy")
    return cached(file, computed, read=np.load, write=_save)


def _save(logits: np.ndarray, path: Path) -> None:
    np.save(path, logits)
