"""Weights in files: in few bits, and no more of them than there are stored."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

_MARK = ".packed"
_MAX_NUMBER = 2**27  # larger than any size of a published model; the bases of rotary positions are exempt
_MAX_PLACES = 2**16  # of a table of positions that is computed when the model is built


@dataclasses.dataclass(frozen=True)
class PackedWeight:
    """weight[r, c] = codes[r, c] * scale[r, c // group_size].

    codes: (rows, columns) int8 in [-2^(bits-1), 2^(bits-1) - 1]; scale: (rows, groups) float16.
    """

    bits: int
    group_size: int
    codes: Tensor
    scale: Tensor

    def dequantize(self) -> Tensor:
        """(rows, columns) float32."""
        return self.codes.float() * self.scale.float().repeat_interleave(self.group_size, dim=1)


def pack(name: str, weight: PackedWeight) -> dict[str, Tensor]:
    """Tensors to store: a bit string of all codes, the scales, and (bits, group size, rows, columns)."""
    codes = (weight.codes.cpu().numpy().astype(np.int16) + 2 ** (weight.bits - 1)).astype(np.uint8)
    bits = np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - weight.bits:]
    shape = torch.tensor([weight.bits, weight.group_size, *weight.codes.shape], dtype=torch.int64)
    return {f"{name}{_MARK}.codes": torch.from_numpy(np.packbits(bits)),
            f"{name}{_MARK}.scale": weight.scale.cpu().contiguous(), f"{name}{_MARK}.shape": shape}


def unpack(stored: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, PackedWeight]]:
    """The state dict with packed weights made float again, and the packed weights themselves."""
    weights = {name: tensor for name, tensor in stored.items() if f"{_MARK}." not in name}
    packed = {}
    for key in (key for key in stored if key.endswith(f"{_MARK}.shape")):
        name = key.removesuffix(f"{_MARK}.shape")
        bits, group_size, rows, columns = stored[key].tolist()
        flat = np.unpackbits(stored[f"{name}{_MARK}.codes"].numpy())[:rows * columns * bits].reshape(-1, bits)
        padded = np.zeros((len(flat), 8), np.uint8)
        padded[:, 8 - bits:] = flat
        codes = np.packbits(padded, axis=1).astype(np.int16).reshape(rows, columns) - 2 ** (bits - 1)
        packed[name] = PackedWeight(bits, group_size, torch.from_numpy(codes.astype(np.int8)),
                                    stored[f"{name}{_MARK}.scale"])
        weights[f"{name}.weight"] = packed[name].dequantize()
    return weights, packed


def require_sizes(config: PretrainedConfig, build: Callable[[], nn.Module], stored: Mapping[str, tuple[int, ...]],
                  at_most: int) -> None:
    """Refuse a configuration that asks for far more than its weights fill: building it would take all memory.

    Args:
        build: the module of the configuration; called where numbers have shapes only.
        stored: the shapes of the weights by name.
        at_most: how many times as many numbers as are stored the module may have.

    Raises:
        ValueError: what does not fit.
    """
    rotary = any("rope" in key or "rotary" in key for key in config.to_dict())
    rows = max((shape[0] for shape in stored.values() if len(shape)), default=0)
    for key, number in _numbers(config.to_dict()):
        layers = re.search(r"layers?$|blocks?$|depth$", key) and number > max(len(stored), 64)
        places = "position" in key and not rotary and number > max(_MAX_PLACES, rows)
        if layers or places or (abs(number) > _MAX_NUMBER and not re.search("theta|base", key)):
            raise ValueError(f"{key} is {number:,}, which does not fit the weights")
    with torch.device("meta"):
        needed = sum(weight.numel() for weight in build().parameters())
    given = sum(math.prod(shape) for shape in stored.values())
    if needed > at_most * given + 2**20:
        raise ValueError(f"config.json asks for {needed:,} numbers, and the weights hold {given:,}")


def _numbers(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, int]]:
    """(name, number) of all whole numbers in a configuration, however deep."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{key}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{path}{key}", value
