"""A language model's weights in 2 to 8 bits: perplexity against bytes and tokens a second."""

import copy
import dataclasses
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.quantize_.workflows.intx.intx_choose_qparams_algorithm import IntxChooseQParamsAlgorithm

from helpers.lab.errors import InputError
from helpers.lab.language.causal import LanguageModel
from helpers.lab.language.perplexity import NegativeLogLikelihood, negative_log_likelihood
from helpers.lab.measuring.intervals import ratio_of_medians
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import folder_bytes
from helpers.lab.models.packing import PackedWeight
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.quantization.weight_only import require_numbers, weight_config

FEW_BITS = (8, 6, 4, 3, 2)
_LAYERS = (nn.Linear, nn.Embedding)


def quantize_language_model(model: LanguageModel, bits: int, *, group_size: int = 32,
                            scale_search: bool = False) -> LanguageModel:
    """A copy whose linear and embedding weights went through `bits` bits, one float16 scale a group.

    Args:
        scale_search: look for the scale of least squared error in each group (torchao's half-quadratic
            search, scales only), instead of taking the one that fits the largest weight.

    Raises:
        InputError: bits outside 2 to 8, or a group size that fits no layer.
    """
    module = coded(model, bits, group_size=group_size, scale_search=scale_search)
    packed, done = {}, {}
    for name in _names(model.module, group_size):
        layer = module.get_submodule(name)
        if id(layer.weight) not in done:
            packed[name] = PackedWeight(bits, group_size, layer.weight.qdata.cpu().contiguous(),
                                        layer.weight.scale.to(torch.float16).cpu().contiguous())
            plain = nn.Parameter(packed[name].dequantize().to(layer.weight.device), requires_grad=False)
            done[id(layer.weight)] = layer.weight, plain  # held, so that no other weight gets its id
        layer.weight = done[id(layer.weight)][1]
    name = f"{bits} bits, groups of {group_size}{', scales searched' if scale_search else ''}"
    return LanguageModel(name, model.tokenizer, module, model.start, model.context, packed)


def coded(model: LanguageModel, bits: int, *, group_size: int = 32, scale_search: bool = False) -> nn.Module:
    """The module with its weights held as torchao's codes, which each product unpacks again.

    Raises:
        InputError: bits outside 2 to 8, or a group size that fits no layer.
    """
    require_numbers(model.module, bits, group_size)
    config = weight_config(bits, group_size)
    if scale_search:
        config = dataclasses.replace(config, intx_choose_qparams_algorithm=IntxChooseQParamsAlgorithm.HQQ_SCALE_ONLY)
    module, names, first = copy.deepcopy(model.module), _names(model.module, group_size), {}
    for name in names:  # matrices that two layers share are quantized once, and stay shared
        first.setdefault(id(module.get_submodule(name).weight), name)
    shared = {name: first[id(module.get_submodule(name).weight)] for name in names}
    quantize_(module, config, filter_fn=lambda layer, name: name in first.values())
    for name, source in shared.items():
        module.get_submodule(name).weight = module.get_submodule(source).weight
    return module


def bits_against_perplexity(model: LanguageModel, texts: Sequence[str], *, bits: Sequence[int] = FEW_BITS,
                            group_size: int = 32, scale_search: Sequence[bool] = (False, True), tokens: int = 32,
                            rounds: int = 5, progress: Progress = silent) -> pd.DataFrame:
    """Fewer bits on the same texts, beside the float model, which is the first row.

    Args:
        texts: rows that the model was not trained on.
        tokens, rounds: continued at batch 1 from the first text's beginning, models in turns.

    Returns:
        Columns name, bits, group_size, scale_search, megabytes (of the saved folder, tokenizer left
        out), perplexity, low, high, ratio (over the float model's), ratio_low, ratio_high,
        tokens_per_s (weights held as codes), speedup, speedup_low, speedup_high.

    Raises:
        InputError: bits outside 2 to 8, a group size that fits no layer, or no texts.
        Cancelled: the caller of `progress` wants an end; asked before each setting and each timing.
    """
    grid = [(number, search) for number in bits for search in scale_search]
    reference = negative_log_likelihood(model, texts)
    rows = [_row(model, reference, reference, 32, group_size, False)]
    modules = [model.module]
    for index, (number, search) in enumerate(grid):
        progress(0.7 * index / len(grid), f"{number} bits")
        few = quantize_language_model(model, number, group_size=group_size, scale_search=search)
        rows.append(_row(few, negative_log_likelihood(few, texts), reference, number, group_size, search))
        modules.append(coded(model, number, group_size=group_size, scale_search=search))
    prompt = model.encode(texts[:1])[0][:8]
    works = {index: functools.partial(tokens_of, module, prompt, tokens) for index, module in enumerate(modules)}
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, progress=progress.part(0.7, 1.0))
    for index, row in enumerate(rows):
        ratio = ratio_of_medians(seconds[0], seconds[index])
        row |= {"tokens_per_s": tokens / float(np.median(seconds[index])), "speedup": ratio[0], "speedup_low": ratio[1],
                "speedup_high": ratio[2]}
    progress(1.0, "done")
    return pd.DataFrame(rows)


def tokens_of(module: nn.Module, prompt: Sequence[int], tokens: int) -> list[int]:
    """The `tokens` likeliest next tokens one after another, with a key-value cache."""
    if not len(prompt):
        raise InputError("A continuation needs at least one token to start from.")
    target = next(module.parameters()).device
    ids, past, answer = torch.tensor([list(prompt)], device=target), None, []
    with torch.inference_mode():
        for _ in range(tokens):
            out = module(ids, past_key_values=past, use_cache=True)
            past, ids = out.past_key_values, out.logits[:, -1:].argmax(-1)
            answer.append(int(ids))
    return answer


def _names(module: nn.Module, group_size: int) -> list[str]:
    return [name for name, layer in module.named_modules()
            if isinstance(layer, _LAYERS) and layer.weight.shape[1] % group_size == 0]


def _row(model: LanguageModel, likelihood: NegativeLogLikelihood, reference: NegativeLogLikelihood, bits: int,
         group_size: int, search: bool) -> dict[str, Any]:
    """What is known of one setting before it is timed."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        (Path(folder) / "tokenizer.json").unlink()
        size = folder_bytes(Path(folder))
    low, high = likelihood.interval()
    ratio = likelihood.ratio(reference)
    return {"name": "float" if bits == 32 else model.name, "bits": bits, "group_size": group_size,
            "scale_search": search, "megabytes": size / 1e6, "perplexity": likelihood.perplexity, "low": low,
            "high": high, "ratio": ratio[0], "ratio_low": ratio[1], "ratio_high": ratio[2]}
