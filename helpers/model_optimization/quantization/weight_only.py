"""Weights in 2 to 8 bits with a scale for each group: which layers bear it badly, and training that knows about it."""

import copy
import dataclasses
import time
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchao.quantization import IntxWeightOnlyConfig, PerGroup, quantize_
from torchao.quantization.qat import QATConfig
from transformers.pytorch_utils import Conv1D

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.modules.classifiers import linear_only
from helpers.lab.models.packing import PackedWeight
from helpers.lab.models.torch import TorchTextModel, linear_layers
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import fine_tune
from helpers.model_optimization.encoder.parts import layer_weights
from helpers.model_optimization.options import BITS

_LAYERS = (nn.Linear, nn.Embedding)


def quantize_weights(model: TorchTextModel, bits: int, group_size: int,
                     keep_float: Sequence[str] = ()) -> tuple[nn.Module, dict[str, PackedWeight]]:
    """A copy of the module whose linear and embedding weights went through `bits` bits, and those bits.

    torchao chooses the codes and scales: symmetric, one scale for `group_size` neighbours in a
    row, stored as float16. Biases and layer norms stay in float. A row, the weights of one output
    (which GPT-2 keeps as a column), whose length is no multiple of the group size is left in float.

    Raises:
        InputError: bits outside 2 to 8, or a group size that fits no layer.
    """
    require_numbers(model.module, bits, group_size)
    module = linear_only(copy.deepcopy(model.module))
    names = _quantizable(module, group_size, keep_float)
    quantize_(module, weight_config(bits, group_size), filter_fn=lambda layer, name: name in names)
    return _as_stored(model.module, module, _as_float(module, names, bits, group_size))


def quantization_aware(model: TorchTextModel, task: Task, *, bits: int, group_size: int = 32, epochs: float = 1.0,
                       learning_rate: float = 1e-4, seed: int = 0, progress: Progress = silent) -> TorchTextModel:
    """Fine-tune with the rounding in the loop, then quantize: wins back accuracy at few bits.

    Each forward pass uses the rounded linear weights, gradients pass straight through
    (Jacob et al., arXiv 1712.05877; torchao's fake quantization). Embeddings are rounded
    beforehand and train no further.

    Raises:
        InputError: bits outside 2 to 8, or a group size that fits no layer.
        Cancelled: `progress` cancelled the work.
    """
    require_numbers(model.module, bits, group_size)
    began = time.perf_counter()
    module = linear_only(copy.deepcopy(model.module)).requires_grad_(True)
    names = _quantizable(module, group_size, ())
    linear = {name for name in names if isinstance(module.get_submodule(name), nn.Linear)}
    embeddings = names - linear
    quantize_(module, weight_config(bits, group_size), filter_fn=lambda layer, name: name in embeddings)
    packed = _as_float(module, embeddings, bits, group_size)
    for name in embeddings:
        module.get_submodule(name).weight.requires_grad_(False)
    base = weight_config(bits, group_size)
    quantize_(module, QATConfig(base, step="prepare"), filter_fn=lambda layer, name: name in linear)
    rows = model.encoder.encode(task.train["text"][:])
    fine_tune(module, rows, task.train["label"][:], epochs=epochs, learning_rate=learning_rate, seed=seed,
              progress=progress, say=f"training at {bits} bits")
    quantize_(module, QATConfig(base, step="convert"), filter_fn=lambda layer, name: name in linear)
    packed |= _as_float(module, linear, bits, group_size)
    module, packed = _as_stored(model.module, module, packed)
    card = model.card.derive(f"int{bits} weights (groups of {group_size}), trained, PyTorch", "model optimization",
                             time.perf_counter() - began, scheme="quantization-aware", runtime="pytorch", bits=bits,
                             group_size=group_size, epochs=epochs)
    return TorchTextModel(card, model.encoder, module, packed)


def require_numbers(module: nn.Module, bits: int, group_size: int) -> None:
    """Refuse bits and group sizes that no layer can be stored in, and modules without linear layers."""
    layer_weights(module)
    if bits not in BITS:
        raise InputError(f"Weights can be stored in {BITS[0]} to {BITS[-1]} bits, not in {bits}.")
    if group_size < 1 or not _quantizable(module, group_size, ()):
        raise InputError(f"No layer's row length is a multiple of the group size {group_size}; try 32.")


def _quantizable(module: nn.Module, group_size: int, keep_float: Sequence[str]) -> set[str]:
    lengths = {name: layer.weight.shape[0 if isinstance(layer, Conv1D) else 1]
               for name, layer in module.named_modules() if isinstance(layer, (*_LAYERS, Conv1D))}
    return {name for name, length in lengths.items() if length % group_size == 0 and name not in keep_float}


def weight_config(bits: int, group_size: int) -> IntxWeightOnlyConfig:
    """torchao's settings for symmetric weights of `bits` bits, one scale a group (rounded to float16 when stored)."""
    return IntxWeightOnlyConfig(weight_dtype=getattr(torch, f"int{bits}"), granularity=PerGroup(group_size))


def _as_float(module: nn.Module, names: set[str], bits: int, group_size: int) -> dict[str, PackedWeight]:
    """Take torchao's codes and scales out, and put plain float weights of the same value in, in place."""
    packed = {}
    for name in names:
        layer = module.get_submodule(name)
        packed[name] = PackedWeight(bits, group_size, layer.weight.qdata.cpu().contiguous(),
                                    layer.weight.scale.to(torch.float16).cpu().contiguous())
        layer.weight = nn.Parameter(packed[name].dequantize().to(layer.weight.device), requires_grad=False)
    return packed


def _as_stored(source: nn.Module, module: nn.Module,
               packed: dict[str, PackedWeight]) -> tuple[nn.Module, dict[str, PackedWeight]]:
    """The module with its transposed layers where `source` has them, and their packed weights that say so."""
    for name in [name for name, layer in source.named_modules() if isinstance(layer, Conv1D)]:
        linear, layer = module.get_submodule(name), Conv1D(*module.get_submodule(name).weight.shape)
        layer.weight = nn.Parameter(linear.weight.detach().T.contiguous(), requires_grad=linear.weight.requires_grad)
        layer.bias = linear.bias
        module.set_submodule(name, layer)
        if name in packed:
            packed[name] = dataclasses.replace(packed[name], transposed=True)
    return module, packed


def sensitivity(model: TorchTextModel, task: Task, *, bits: int = 4, group_size: int = 32, rows: int = 64,
                progress: Progress = silent) -> pd.DataFrame:
    """How much the answers move when one linear layer alone is quantized.

    Args:
        rows: validation rows; test rows are never looked at.

    Returns:
        Columns layer, divergence (mean Kullback-Leibler divergence from the float model's
        probabilities, in nats), parameters; the worst layer first. Its first k names are what
        `quantize(..., keep_float=...)` takes for mixed precision.

    Raises:
        InputError: bits outside 2 to 8, or a group size that fits no layer.
        Cancelled: `progress` cancelled the work; asked between layers.
    """
    require_numbers(model.module, bits, group_size)
    texts = task.validation["text"][:rows]
    target = next(model.module.parameters()).device
    ids, mask = (torch.from_numpy(array).to(target) for array in model.encoder.pad(model.encoder.encode(texts)))
    before = _log_probabilities(model.module, ids, mask)
    layers = linear_layers(model.module)
    divergences = []
    for number, name in enumerate(layers):
        progress(number / len(layers), f"layer {number + 1} of {len(layers)}")
        module = linear_only(copy.deepcopy(model.module))
        quantize_(module, weight_config(bits, group_size), filter_fn=lambda layer, which, name=name: which == name)
        after = _log_probabilities(module, ids, mask)
        divergence = functional.kl_div(after, before, log_target=True, reduction="batchmean")
        divergences.append((name, float(divergence), model.module.get_submodule(name).weight.numel()))
    frame = pd.DataFrame(divergences, columns=["layer", "divergence", "parameters"])
    return frame.sort_values("divergence", ascending=False, ignore_index=True)


@torch.inference_mode()
def _log_probabilities(module: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    return functional.log_softmax(module(ids, mask).float(), dim=1)
