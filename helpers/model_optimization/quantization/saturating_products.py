"""Will the int8 file score the same on another CPU? Saturating 8-bit products, emulated.

CPUs with AVX2 or AVX-512 but no VNNI multiply 8-bit numbers by VPMADDUBSW, which adds two
products into 16 bits and clips the sum at 32,767. Two products of 255 x 127 make 64,770. With
7-bit weights (`reduce_range`) two make at most 32,640 and nothing clips.
"""

import copy

import numba
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.lab.data.task import Task
from helpers.lab.measuring.intervals import mcnemar_p, paired_difference, significant_of_many
from helpers.lab.models.modules.classifiers import linear_only
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent

KERNELS = {  # name -> (largest weight code, clips at 16 bits)
    "8-bit weights, VNNI": (127, False),
    "8-bit weights, no VNNI": (127, True),
    "7-bit weights, no VNNI": (63, True),
}


@numba.njit(parallel=True, cache=True)
def pairwise_product(activations: np.ndarray, weights: np.ndarray, clip: bool) -> tuple[np.ndarray, int]:
    """(rows, out) int32 products of (rows, k) uint8 and (out, k) int8, k even, and how many pairs clipped.

    Args:
        clip: add pairs of products into 16 bits with saturation, as VPMADDUBSW does.
    """
    rows, out, half = activations.shape[0], weights.shape[0], activations.shape[1] // 2
    product = np.empty((rows, out), np.int32)
    clipped = np.zeros(rows, np.int64)
    for row in numba.prange(rows):
        hits = 0
        for column in range(out):
            total = np.int32(0)
            for k in range(half):
                pair = (np.int32(activations[row, 2 * k]) * np.int32(weights[column, 2 * k])
                        + np.int32(activations[row, 2 * k + 1]) * np.int32(weights[column, 2 * k + 1]))
                if clip:
                    saturated = min(max(pair, np.int32(-32768)), np.int32(32767))
                    hits += saturated != pair
                    pair = saturated
                total += pair
            product[row, column] = total
        clipped[row] = hits
    return product, clipped.sum()


class _Int8Linear(nn.Module):
    """A linear layer as ONNX Runtime's dynamic int8 computes it: uint8 activations a call, int8 weights."""

    def __init__(self, linear: nn.Linear, max_code: int, clip: bool) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        self.scale = float(weight.abs().max()) / max_code
        self.codes = (weight / self.scale).round().clamp(-max_code, max_code).to(torch.int8).cpu().numpy()
        self.bias = 0.0 if linear.bias is None else linear.bias.detach().float().cpu()
        self.clip, self.pairs, self.clipped = clip, 0, 0

    def forward(self, values: Tensor) -> Tensor:
        """(..., in) float32 to (..., out) float32, by 8-bit products."""
        flat = values.reshape(-1, values.shape[-1])
        low, high = min(0.0, float(flat.min())), max(0.0, float(flat.max()))
        scale = (high - low) / 255 or 1.0
        zero = round(-low / scale)
        codes = (flat / scale).round().add(zero).clamp(0, 255).to(torch.uint8).numpy()
        product, clipped = pairwise_product(codes, self.codes, self.clip)
        self.pairs += product.size * codes.shape[1] // 2
        self.clipped += int(clipped)
        exact = product - zero * self.codes.sum(axis=1, dtype=np.int32)
        result = torch.from_numpy(exact.astype(np.float32)) * (scale * self.scale) + self.bias
        return result.reshape(*values.shape[:-1], -1)


def saturation(model: TorchTextModel, task: Task, *, rows: int = 192, progress: Progress = silent) -> pd.DataFrame:
    """Accuracy of dynamic int8 on CPUs with and without VNNI, emulated on the same test rows.

    Linear layers are emulated; products between activations (attention) stay in float.

    Returns:
        A row for each of KERNELS: kernel, accuracy, accuracy_delta with _low and _high (paired,
        against fp32), agreement (share of rows answered as fp32 does), clipped_pairs (share), significant (the
        difference, all kernels read together).

    Raises:
        Cancelled: `progress` cancelled the work; asked between batches.
    """
    part = task.take(test=rows).test
    texts, labels = part["text"][:], np.asarray(part["label"][:])
    reference = model.predict(texts).argmax(axis=1)
    measured = []
    for number, (kernel, (max_code, clip)) in enumerate(KERNELS.items()):
        emulated, layers = _emulated(model.module, max_code, clip)
        classes = []
        for start in range(0, len(texts), 16):
            progress((number + start / len(texts)) / len(KERNELS), f"emulating {kernel}")
            rows = model.encoder.encode(texts[start:start + 16])
            ids, mask = (torch.from_numpy(array) for array in model.encoder.pad(rows))
            with torch.inference_mode():
                classes.append(emulated(ids, mask).numpy().argmax(axis=1))
        predicted = np.concatenate(classes)
        delta, low, high = paired_difference(reference == labels, predicted == labels)
        clipped = sum(layer.clipped for layer in layers) / sum(layer.pairs for layer in layers)
        measured.append((kernel, float((predicted == labels).mean()), delta, low, high,
                         float((predicted == reference).mean()), clipped,
                         mcnemar_p(reference == labels, predicted == labels)))
    frame = pd.DataFrame(measured, columns=["kernel", "accuracy", "accuracy_delta", "accuracy_delta_low",
                                            "accuracy_delta_high", "agreement", "clipped_pairs", "p"])
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def _emulated(module: nn.Module, max_code: int, clip: bool) -> tuple[nn.Module, list[_Int8Linear]]:
    emulated = linear_only(copy.deepcopy(module).cpu().float())
    layers = []
    for name, linear in list(emulated.named_modules()):
        if isinstance(linear, nn.Linear) and linear.in_features % 2 == 0:
            layers.append(_Int8Linear(linear, max_code, clip))
            emulated.set_submodule(name, layers[-1])
    return emulated, layers
