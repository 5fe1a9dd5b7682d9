"""Training with a teacher, for distillation and for recovery after pruning: the texts, the losses and the call."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.lab.cache import cached
from helpers.lab.data.augmentation import augment
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import MAX_BATCH, Model
from helpers.lab.models.torch import TorchTextModel, model_digest
from helpers.lab.paths import cache
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import BATCH, fine_tune
from helpers.model_optimization.encoder.parts import anatomy

MAX_RELATION_HEADS = 12


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


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(n,) T^2 * KL(teacher || student) of (n, classes) logits softened by T (Hinton et al., arXiv 1503.02531).

    T^2 keeps the gradients' size when T changes.
    """
    wanted, given = (functional.log_softmax(logits / temperature, dim=1) for logits in (teacher, student))
    return temperature**2 * functional.kl_div(given, wanted, log_target=True, reduction="none").sum(1)


def mixed_loss(teacher: Tensor, labels: Tensor, temperature: float,
               alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of (logits, row numbers): alpha times the teacher's part, 1 - alpha times cross-entropy.

    Args:
        teacher: (rows, classes) logits; labels: (rows,) class numbers, -1 where there is no label:
            there the teacher alone counts, in full.
    """
    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        labelled = labels[rows] >= 0
        share = torch.where(labelled, alpha, 1.0)
        hard = functional.cross_entropy(logits, labels[rows], reduction="none", ignore_index=-1)
        return (share * soft_target_loss(logits, teacher[rows], temperature) + (1 - share) * hard).mean()
    return loss


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor, projection: nn.Module) -> Tensor:
    """Mean squared difference of (n, length, width) hidden states over real tokens (FitNets, arXiv 1412.6550).

    Args:
        projection: from the student's width to the teacher's.
    """
    real = mask.bool()
    return functional.mse_loss(projection(student)[real], teacher[real])


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Mean KL(teacher || student) of the relations between tokens, over heads and real tokens.

    A relation is softmax(X X' / sqrt(d)) over the real tokens, X being queries, keys or values
    (n, length, features) cut into `heads` of d features: MiniLM's value relation (Wang et al.,
    arXiv 2002.10957), which with a separate number of relation heads lets widths and heads differ
    (arXiv 2012.15828).
    """
    wanted, given = (_log_relations(vectors, mask, heads) for vectors in (teacher, student))
    divergence = functional.kl_div(given, wanted, log_target=True, reduction="none")
    real = mask.bool()
    pairs = (real[:, None, :, None] & real[:, None, None, :]).expand_as(divergence)
    return divergence.masked_fill(~pairs, 0).sum() / (heads * real.sum())


def _log_relations(vectors: Tensor, mask: Tensor, heads: int) -> Tensor:
    split = vectors.unflatten(2, (heads, -1)).transpose(1, 2)
    scores = split @ split.transpose(2, 3) / split.shape[-1] ** 0.5
    return scores.masked_fill(~mask.bool()[:, None, None, :], torch.finfo(scores.dtype).min).log_softmax(dim=3)


def train_student(module: nn.Module, encode: Callable[[Sequence[str]], list[list[int]]], transfer_set: TransferSet,
                  logits: np.ndarray | None, *, teacher: Model | None = None, epochs: float, learning_rate: float,
                  seed: int = 0, progress: Progress = silent, say: str = "training") -> None:
    """Train the module in place on the transfer set.

    Args:
        logits: (texts, classes) the teacher's; None: by cross-entropy on the labels alone.
        teacher: looked into at every step where the transfer set weighs hidden states or relations.

    Raises:
        InputError: hidden states or relations are asked of a teacher that is no PyTorch encoder, or
            a text has neither a label nor a teacher.
        Cancelled: the caller of `progress` wants an end.
    """
    labels, rows = np.asarray(transfer_set.labels, np.int64), encode(transfer_set.texts)
    common = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed, "progress": progress, "say": say}
    if logits is None:
        if (labels < 0).any():
            raise InputError("Texts without a label need a teacher.")
        fine_tune(module, rows, labels, **common)
        return
    target = next(module.parameters()).device
    loss = mixed_loss(torch.from_numpy(logits).to(target), torch.from_numpy(labels).to(target),
                      transfer_set.temperature, transfer_set.alpha)
    numbers = range(len(rows))
    if not transfer_set.looks_inside:
        fine_tune(module, rows, numbers, loss=loss, **common)
        return
    with _Pair(module, teacher, transfer_set) as pair:
        fine_tune(pair, rows, numbers, loss=lambda output, which: loss(output[0], which) + output[1], **common)


def steps_in(rows: int, epochs: float) -> int:
    """Optimizer steps that `fine_tune` takes."""
    return max(1, round(epochs * -(-rows // BATCH)))


class _Pair(nn.Module):
    """The student with its frozen teacher beside it: (ids, mask) -> (logits, loss on the inner states).

    A student's layer learns from the teacher's at the same share of the depth; relations are those of
    the last layers.
    """

    def __init__(self, student: nn.Module, teacher: Model, transfer_set: TransferSet) -> None:
        super().__init__()
        if not isinstance(teacher, TorchTextModel):
            raise InputError(f"Hidden states and relations are learned from a PyTorch teacher only; "
                             f"'{teacher.card.name}' shows its logits alone.")
        self.student, self.transfer_set = student, transfer_set
        self._teacher = (teacher.module,)  # in a tuple, so that its weights are none of this module's
        small, large = anatomy(student), anatomy(teacher.module)
        self.project = nn.Linear(small.width, large.width, device=next(student.parameters()).device)
        if small.width == large.width:
            nn.init.eye_(self.project.weight)
            nn.init.zeros_(self.project.bias)
        depth = len(small.layers)
        self._pairs = [(layer, (layer + 1) * len(large.layers) // depth - 1) for layer in range(depth)]
        self._relation_heads = _shared_heads([parts.attention_out(parts.layers[-1]).in_features
                                              for parts in (small, large)])

    def __enter__(self) -> "_Pair":
        self._student_states, hooks = _tap(self.student)
        self._teacher_states, more = _tap(self._teacher[0])
        self._hooks = hooks + more
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
        if self.transfer_set.hidden:
            losses = [hidden_loss(self._student_states[layer], self._teacher_states[other], mask, self.project)
                      for layer, other in self._pairs]
            inner = inner + self.transfer_set.hidden * sum(losses) / len(losses)
        if self.transfer_set.relation:
            losses = [relation_loss(self._student_states[name], self._teacher_states[name], mask, self._relation_heads)
                      for name in ("query", "key", "value")]
            inner = inner + self.transfer_set.relation * sum(losses) / len(losses)
        return logits, inner


def _shared_heads(features: list[int]) -> int:
    """The most relation heads, up to MAX_RELATION_HEADS, that divide both widths."""
    return max(heads for heads in range(1, MAX_RELATION_HEADS + 1) if all(width % heads == 0 for width in features))


def _tap(module: nn.Module) -> tuple[dict, list]:
    """Hooks that keep each layer's output under its number, and the last layer's query, key and value."""
    states: dict = {}
    parts = anatomy(module)

    def keep(*names: int | str) -> Callable:
        def hook(_: nn.Module, __: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
            whole = output[0] if isinstance(output, tuple) else output
            states.update(zip(names, whole.chunk(len(names), dim=-1), strict=True))
        return hook

    hooks = [layer.register_forward_hook(keep(index)) for index, layer in enumerate(parts.layers)]
    reads, names = parts.reads(parts.layers[-1]), ("query", "key", "value")
    if parts.layout.fused:
        return states, [*hooks, reads[0].register_forward_hook(keep(*names))]
    return states, hooks + [part.register_forward_hook(keep(name)) for part, name in zip(reads, names, strict=True)]
