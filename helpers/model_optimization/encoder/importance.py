"""How much each part of an encoder matters: by the size of its weights, or by what the loss would lose.

First-order (Taylor): a part's output times the loss's gradient there is, to first order, what the
loss changes by when the part is taken away (Michel et al., arXiv 1905.10650, for heads). The score is
its square, averaged over rows (Molchanov et al., arXiv 1906.10771): the Fisher information of a gate
on the part, which adds up over parts. So heads and neurons compare; with absolute values the sum over
a block of neurons exceeds a head's, whose 32 numbers partly cancel, and all heads would go first.
"""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder, pad_for
from helpers.lab.errors import InputError
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.encoder.parts import Anatomy, anatomy

IMPORTANCES = ("taylor", "magnitude")
CALIBRATION_ROWS = 256  # training rows that first-order importance is measured on


@dataclasses.dataclass(frozen=True)
class Importance:
    """Non-negative scores; those of one kind, and by `taylor` those of heads and neurons, compare across layers.

    heads: for each layer (heads,) float64; neurons: for each layer (neurons,); layers: (layers,);
    width: (width,), the dimensions of the residual stream.
    """

    heads: list[np.ndarray]
    neurons: list[np.ndarray]
    layers: np.ndarray
    width: np.ndarray


def importance_of(module: nn.Module, kind: str, rows: Sequence[Sequence[int]], labels: Sequence[int],
                  progress: Progress = silent) -> Importance:
    """Scores by "taylor" or "magnitude".

    Raises:
        InputError: another kind.
        Cancelled: the caller of `progress` wants an end; asked between batches.
    """
    if kind not in IMPORTANCES:
        raise InputError(f"Unknown importance '{kind}'. Choose one of: {', '.join(IMPORTANCES)}.")
    return taylor(module, rows, labels, progress) if kind == "taylor" else magnitude(module)


@torch.no_grad()
def magnitude(module: nn.Module) -> Importance:
    """Sums of squares of the weights that go when the part goes (no data needed)."""
    parts = anatomy(module)
    heads, neurons, layers = [], [], []
    start = parts.start
    width = start.weight.square().sum(1) if isinstance(start, nn.Linear) else (
        parts.body.get_input_embeddings().weight.square().sum(0))
    for layer in parts.layers:
        reads, out = parts.reads(layer), parts.attention_out(layer)
        into, outof = parts.ffn_in(layer), parts.ffn_out(layer)
        heads.append(_numpy((_inner(reads, out) + out.weight.square().sum(0)).reshape(-1, parts.head_size).sum(1)))
        neurons.append(_numpy(_inner([into], outof) + outof.weight.square().sum(0)))
        layers.append(heads[-1].sum() + neurons[-1].sum())
        width = width + sum(linear.weight.square().sum(0) for linear in (*reads, into))
        width = width + out.weight.square().sum(1) + outof.weight.square().sum(1)
    return Importance(heads, neurons, np.array(layers), _numpy(width))


def _inner(into: Sequence[nn.Linear], out: nn.Linear) -> Tensor:
    """(columns of `out`,) the squares of all rows that fill each: one a matrix, or one a block that it stacks."""
    return sum(linear.weight.square().sum(1).reshape(-1, out.in_features).sum(0) for linear in into)


def taylor(module: nn.Module, rows: Sequence[Sequence[int]], labels: Sequence[int],
           progress: Progress = silent, batch: int = 32) -> Importance:
    """First-order scores of cross-entropy on the given rows, the module in evaluation mode and left as it is.

    Args:
        rows: token ids of each calibration text; labels: (n,) its class numbers.
    """
    module = copy.deepcopy(module).eval().requires_grad_(True)
    parts = anatomy(module)
    watched = _watch(parts)
    sums: dict[str, Tensor] = {}
    target = next(module.parameters()).device
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(rows), batch):
        progress.check()
        part = order[start:start + batch]
        ids, mask = (torch.from_numpy(array).to(target) for array in pad_for(module, [rows[row] for row in part]))
        wanted = torch.from_numpy(np.asarray(labels)[part]).to(target)
        functional.cross_entropy(module(ids, mask).float(), wanted, reduction="sum").backward()
        for name, score in _scores(parts, watched).items():
            sums[name] = sums.get(name, 0) + score.double().cpu()
        module.zero_grad()
    mean = {name: total.numpy() / len(rows) for name, total in sums.items()}
    count = range(len(parts.layers))
    return Importance([mean[f"heads.{index}"] for index in count], [mean[f"neurons.{index}"] for index in count],
                      np.array([float(mean[f"layers.{index}"]) for index in count]), mean["width"])


def _watch(parts: Anatomy) -> dict[str, Tensor]:
    """Hooks that record the activations of each pass, with their gradients."""
    watched: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        value.retain_grad()
        watched[name] = value

    for index, layer in enumerate(parts.layers):
        for kind, part in (("heads", parts.attention_out(layer)), ("neurons", parts.ffn_out(layer))):
            part.register_forward_pre_hook(lambda _, inputs, name=f"{kind}.{index}": keep(name, inputs[0]))
    for index, part in enumerate(parts.stream):
        part.register_forward_hook(lambda _, __, output, name=f"stream.{index}": keep(name, output))
    return watched


def _scores(parts: Anatomy, watched: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each part's score, summed over the batch. Padding has no gradient."""
    scores, step = {}, len(parts.layout.writes)
    for index in range(len(parts.layers)):
        heads = watched[f"heads.{index}"]
        share = (heads * heads.grad).sum(1).reshape(len(heads), -1, parts.head_size).sum(2)
        scores[f"heads.{index}"] = share.square().sum(0)
        neurons = watched[f"neurons.{index}"]
        scores[f"neurons.{index}"] = (neurons * neurons.grad).sum(1).square().sum(0)
        before, after = watched[f"stream.{step * index}"], watched[f"stream.{step * (index + 1)}"]
        scores[f"layers.{index}"] = ((before - after) * after.grad).sum((1, 2)).square().sum()
    streams = [watched[f"stream.{index}"] for index in range(len(parts.stream))]
    scores["width"] = sum((stream * stream.grad).sum(1).square().sum(0) for stream in streams)
    return {name: score.detach() for name, score in scores.items()}


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()


def calibration_rows(encoder: TextEncoder, task: Task, seed: int) -> tuple[list[list[int]], list[int]]:
    """Token ids and labels of CALIBRATION_ROWS training rows. Test rows are never looked at."""
    part = task.train.shuffle(seed=seed).select(range(min(CALIBRATION_ROWS, len(task.train))))
    return encoder.encode(part["text"][:]), part["label"][:]


def best(scores: np.ndarray, count: int) -> list[int]:
    """The `count` highest scores' indices, ascending; of equal ones the first."""
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())
