"""Zeros among the weights: by magnitude, one by one or N of every M. The matrices keep their size."""

import re
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from helpers.lab.errors import InputError
from helpers.lab.models.model import Model
from helpers.model_optimization.encoder.parts import layer_weights

SCOPES = ("global", "layer")
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 6),
    "zstd": lambda data: pyarrow.Codec("zstd", compression_level=9).compress(data, asbytes=True),
}


def magnitude_masks(weights: dict[str, Tensor], sparsity: float, scope: str = "global") -> dict[str, Tensor]:
    """Bool masks, false for the smallest share of the weights: of all together, or of each matrix.

    Exactly round(sparsity * n) of n weights are false.

    Raises:
        InputError: another scope.
    """
    if scope not in SCOPES:
        raise InputError(f"Unknown sparsity scope '{scope}'. Choose one of: {', '.join(SCOPES)}.")
    if scope == "layer":
        return {name: _largest(weight.flatten(), sparsity).reshape(weight.shape) for name, weight in weights.items()}
    flat = _largest(torch.cat([weight.flatten() for weight in weights.values()]), sparsity)
    parts = flat.split([weight.numel() for weight in weights.values()])
    return {name: part.reshape(weights[name].shape) for name, part in zip(weights, parts, strict=True)}


def _largest(values: Tensor, sparsity: float) -> Tensor:
    mask = torch.ones(len(values), dtype=torch.bool, device=values.device)
    mask[values.abs().argsort()[:round(sparsity * len(values))]] = False
    return mask


def pattern_of(method: str) -> tuple[int, int] | None:
    """(2, 4) of "2:4"; None where the method is no such pattern.

    Raises:
        InputError: a pattern that keeps nothing or everything.
    """
    match = re.fullmatch(r"(\d+):(\d+)", method)
    if not match:
        return None
    nonzero, group = map(int, match.groups())
    if not 0 < nonzero < group:
        raise InputError(f"The pattern {method} must keep at least one weight and fewer than all, such as 2:4.")
    return nonzero, group


def pattern_masks(weights: dict[str, Tensor], nonzero: int, group: int) -> dict[str, Tensor]:
    """Bool masks, true for the `nonzero` largest of `group` neighbours in a row (Mishra et al., arXiv 2104.08378).

    Raises:
        InputError: a row's length is no multiple of the group.
    """
    masks = {}
    for name, weight in weights.items():
        if weight.shape[1] % group:
            raise InputError(f"The rows of '{name}' have {weight.shape[1]} weights: no multiple of {group}.")
        groups = weight.abs().reshape(len(weight), -1, group)
        chosen = groups.topk(nonzero, dim=2).indices
        masks[name] = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, chosen, True).reshape(weight.shape)
    return masks


def cubic(final: float, step: int, steps: int) -> float:
    """The sparsity after `step` of `steps`: fast at first, slow at the end (Zhu and Gupta, arXiv 1710.01878)."""
    return final * (1 - (1 - step / steps) ** 3)


class _Mask(nn.Module):
    """weight -> weight * mask. What is masked keeps its value and can come back with the next mask."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with zeros."""
        return weight * self.mask


def prunable(module: nn.Module) -> dict[str, Tensor]:
    """(out, in) weights of all linear layers of the model's layers, unmasked. Embeddings and the head are left whole.

    Raises:
        InputError: an architecture without any.
    """
    return {name: _upright(layer, layer.parametrizations.weight.original if parametrize.is_parametrized(layer) else
                           layer.weight).detach() for name, layer in layer_weights(module).items()}


def _upright(layer: nn.Module, weight: Tensor) -> Tensor:
    """(out, in) from what the layer keeps, and back: GPT-2's keep (in, out)."""
    return weight.T if isinstance(layer, Conv1D) else weight


def mask_weights(module: nn.Module, masks: dict[str, Tensor]) -> None:
    """Put masks, (out, in), on, in place: zeros stay zero while the module trains."""
    for name, mask in masks.items():
        layer = module.get_submodule(name)
        mask = _upright(layer, mask)
        if parametrize.is_parametrized(layer):
            layer.parametrizations.weight[0].mask = mask
        else:
            parametrize.register_parametrization(layer, "weight", _Mask(mask))


def make_zeros_plain(module: nn.Module) -> None:
    """Write the zeros into the weights and take the masks off, in place."""
    for layer in layer_weights(module).values():
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def zeros_in(module: nn.Module) -> float:
    """Share of zeros among the weights of the model's layers."""
    weights = [layer.weight for layer in layer_weights(module).values()]
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def compressed_bytes(model: Model, codec: str = "zstd") -> int:
    """Bytes of the saved model after general compression, the tokenizer left out: where zeros do pay.

    Args:
        codec: "zstd" (level 9) or "zlib" (level 6).

    Raises:
        InputError: another codec.
    """
    if codec not in CODECS:
        raise InputError(f"Unknown codec '{codec}'. Choose one of: {', '.join(CODECS)}.")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        files = [file for file in Path(folder).rglob("*") if file.is_file() and file.name != "tokenizer.json"]
        return sum(len(CODECS[codec](file.read_bytes())) for file in files)
