"""Quantized weights of 1 to 8 bits stored in just so many bits."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

_MARK = ".packed"


@dataclasses.dataclass(frozen=True)
class PackedWeight:
    """weight[r, c] = codes[r, c] * scale[r, c // group_size].

    codes: (rows, columns) int8 in [-2^(bits-1), 2^(bits-1) - 1]; scale: (rows, groups) float16;
    transposed: the layer keeps its weight as (columns, rows), as GPT-2's do.
    """

    bits: int
    group_size: int
    codes: Tensor
    scale: Tensor
    transposed: bool = False

    def dequantize(self) -> Tensor:
        """(rows, columns) float32; the other way round where the layer keeps it so."""
        weight = self.codes.float() * self.scale.float().repeat_interleave(self.group_size, dim=1)
        return weight.T.contiguous() if self.transposed else weight


def pack(name: str, weight: PackedWeight) -> dict[str, Tensor]:
    """Tensors to store: a bit string of all codes, the scales, and (bits, group size, rows, columns).

    Behind these four stands a 1 if the layer keeps its weight transposed.
    """
    codes = (weight.codes.cpu().numpy().astype(np.int16) + 2 ** (weight.bits - 1)).astype(np.uint8)
    bits = np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - weight.bits:]
    shape = torch.tensor([weight.bits, weight.group_size, *weight.codes.shape, *[1] * weight.transposed])
    return {f"{name}{_MARK}.codes": torch.from_numpy(np.packbits(bits)),
            f"{name}{_MARK}.scale": weight.scale.cpu().contiguous(), f"{name}{_MARK}.shape": shape}


def unpack(stored: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, PackedWeight]]:
    """The state dict with packed weights made float again, and the packed weights themselves."""
    weights = {name: tensor for name, tensor in stored.items() if f"{_MARK}." not in name}
    packed = {}
    for key in (key for key in stored if key.endswith(f"{_MARK}.shape")):
        name = key.removesuffix(f"{_MARK}.shape")
        bits, group_size, rows, columns, *transposed = stored[key].tolist()
        flat = np.unpackbits(stored[f"{name}{_MARK}.codes"].numpy())[:rows * columns * bits].reshape(-1, bits)
        padded = np.zeros((len(flat), 8), np.uint8)
        padded[:, 8 - bits:] = flat
        codes = np.packbits(padded, axis=1).astype(np.int16).reshape(rows, columns) - 2 ** (bits - 1)
        packed[name] = PackedWeight(bits, group_size, torch.from_numpy(codes.astype(np.int8)),
                                    stored[f"{name}{_MARK}.scale"], bool(transposed))
        weights[f"{name}.weight"] = packed[name].dequantize()
    return weights, packed
