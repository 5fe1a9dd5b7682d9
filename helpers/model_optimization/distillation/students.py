"""Smaller encoders to be taught: by depth, width, heads and columns, copied from the teacher or fresh."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from helpers.lab.errors import InputError
from helpers.lab.models.torch import TorchTextModel
from helpers.model_optimization.pruning.budget import best
from helpers.model_optimization.pruning.encoder_parts import Anatomy, anatomy, configs_of
from helpers.model_optimization.pruning.importance import Importance, magnitude
from helpers.model_optimization.pruning.structured import keep_columns, keep_heads, keep_layers, keep_width

INITIALISATIONS = ("copied", "fresh")


def student_of(teacher: TorchTextModel, *, layers: int | Sequence[int] = 2, heads: int | None = None,
               columns: int | None = None, width: int | None = None, initialisation: str = "copied",
               importance: Importance | None = None, seed: int = 0) -> nn.Module:
    """A smaller module of the teacher's kind, without dropout (a teacher's soft answers regularise enough).

    Args:
        layers: how many, spread over the teacher's as DistilBERT's are (0, 2, 4 of 6), or which ones.
        heads, columns, width: of each layer, and of the residual stream; the teacher's by default.
        initialisation: "copied" takes over the teacher's weights, the most important parts where it
            is narrower; "fresh" draws all weights anew, token vectors included.
        importance: what ranks the teacher's parts; by default the size of the weights.

    Raises:
        InputError: a size that the teacher has not, or another initialisation.
    """
    if initialisation not in INITIALISATIONS:
        raise InputError(f"There is no initialisation '{initialisation}'. Known: {', '.join(INITIALISATIONS)}.")
    importance = importance or magnitude(teacher.module)
    parts = anatomy(teacher.module)
    chosen = spread(len(parts.layers), layers) if isinstance(layers, int) else [int(index) for index in layers]
    _require_sizes(parts, chosen, heads, columns, width)
    module = copy.deepcopy(teacher.module).requires_grad_(True)
    if heads:
        module = keep_heads(module, {index: best(importance.heads[index], heads) for index in chosen})
    if columns:
        module = keep_columns(module, {index: best(importance.columns[index], columns) for index in chosen})
    module = keep_layers(module, chosen)
    if width:
        module = keep_width(module, best(importance.width, width))
    if initialisation == "fresh":
        _draw_anew(module, seed)
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


def _require_sizes(parts: Anatomy, chosen: Sequence[int], heads: int | None, columns: int | None,
                   width: int | None) -> None:
    if not chosen or not all(0 <= index < len(parts.layers) for index in chosen):
        raise InputError(f"The teacher's layers are numbered 0 to {len(parts.layers) - 1}; name at least one of them.")
    most = {"heads": (heads, min(parts.heads[index] for index in chosen)),
            "columns": (columns, min(parts.columns[index] for index in chosen)), "width": (width, parts.width)}
    for name, (wanted, available) in most.items():
        if wanted is not None and not 1 <= wanted <= available:
            raise InputError(f"A student can have 1 to {available} {name} here, not {wanted}.")


def _draw_anew(module: nn.Module, seed: int) -> None:
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
    for config in configs_of(module):
        config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
