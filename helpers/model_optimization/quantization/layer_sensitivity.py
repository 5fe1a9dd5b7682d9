"""Which layers bear quantization badly: measured, one layer at a time."""

import copy

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional
from torchao.quantization import quantize_

from helpers.lab.data.task import Task
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.lab.training.tokenizer import pad
from helpers.model_optimization.quantization.schemes import linear_layers
from helpers.model_optimization.quantization.weight_only import require_numbers, weight_config


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
        Cancelled: `progress` was told to end; asked between layers.
    """
    require_numbers(model.module, bits, group_size)
    texts = task.validation["text"][:rows]
    target = next(model.module.parameters()).device
    ids, mask = (torch.from_numpy(array).to(target) for array in pad(model.encoder.encode(texts)))
    before = _log_probabilities(model.module, ids, mask)
    layers = linear_layers(model)
    found = []
    for number, name in enumerate(layers):
        progress(number / len(layers), f"layer {number + 1} of {len(layers)}")
        module = copy.deepcopy(model.module)
        quantize_(module, weight_config(bits, group_size), filter_fn=lambda layer, which, name=name: which == name)
        after = _log_probabilities(module, ids, mask)
        divergence = functional.kl_div(after, before, log_target=True, reduction="batchmean")
        found.append((name, float(divergence), model.module.get_submodule(name).weight.numel()))
    frame = pd.DataFrame(found, columns=["layer", "divergence", "parameters"])
    return frame.sort_values("divergence", ascending=False, ignore_index=True)


@torch.inference_mode()
def _log_probabilities(module: torch.nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    return functional.log_softmax(module(ids, mask).float(), dim=1)
