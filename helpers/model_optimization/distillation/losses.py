"""What a student is told by its teacher: answers, hidden states, relations between tokens."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


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
    arXiv 2002.10957), which with relation heads of its own lets widths and heads differ
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
