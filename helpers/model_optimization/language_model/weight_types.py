"""A language model's weights in fewer bits: what is lost in perplexity, and how many bytes are left."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchao.quantization import quantize_

from helpers.lab.errors import InputError
from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.generation import measure_generation
from helpers.lab.language.gguf import FILE_TYPES, in_weight_type
from helpers.lab.language.loading import SMOLLM2, find_language_model, load_language_model
from helpers.lab.language.perplexity import (
    NegativeLogLikelihood,
    bigram_likelihood,
    negative_log_likelihood,
    uniform_likelihood,
)
from helpers.lab.measuring.intervals import significant_of_many
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.options import BITS
from helpers.model_optimization.quantization.weight_only import weight_config

MAX_TOKENS = 512  # of a text that is read for its perplexity
GROUP = 32  # weights that share a scale, in GGUF's types and in torchao's here
WEIGHTS = ("F16", "Q8_0", "Q4_0", 3, 2)  # GGUF's types, and bits of torchao's codes


def round_group(weights: np.ndarray, bits: int, zero_point: bool = False) -> tuple[np.ndarray, float, int]:
    """One group of weights through `bits` bits: (what is left of them, scale, zero point).

    Args:
        weights: (group,) that share one scale.
        zero_point: codes from the least to the greatest weight, instead of the same range on both sides of zero.

    No weight moves by more than half a scale. One outlier widens the scale for all.

    Raises:
        InputError: bits outside 2 to 8, or no weights.

    >>> import numpy as np
    >>> from helpers.model_optimization import round_group
    >>> left, scale, zero = round_group(np.array([-1.0, 0.2, 0.5, 1.1]), bits=2, zero_point=True)
    >>> left.round(2).tolist(), round(scale, 2), zero
    ([-0.7, 0.0, 0.7, 1.4], 0.7, 1)
    """
    if bits not in BITS or not len(weights):
        raise InputError(f"A group of at least one weight goes into {BITS[0]} to {BITS[-1]} bits, not {bits}.")
    weights = np.asarray(weights, np.float64)
    low, high = min(0.0, float(weights.min())), max(0.0, float(weights.max()))  # zero keeps its own code
    if zero_point:
        scale = (high - low) / (2**bits - 1) or 1.0
        zero, lowest, highest = round(-low / scale), 0, 2**bits - 1
    else:
        highest = 2 ** (bits - 1) - 1
        scale, zero, lowest = max(-low, high) / highest or 1.0, 0, -highest
    # The zero point is rounded, too: the end of the range might else get one code more than there are.
    codes = np.clip(np.round(weights / scale) + zero, lowest, highest)
    return (codes - zero) * scale, scale, zero


def weights_in(module: nn.Module, kind: str | int) -> tuple[nn.Module, int]:
    """A copy whose matrices went through a weight type, back in floats, and the bytes of the weights in it.

    Args:
        kind: a GGUF type of `FILE_TYPES`, rounded by `gguf.quants`, or 2 to 8, the bits of torchao's symmetric codes
            with a float16 scale for each 32 weights.

    Raises:
        InputError: an unknown type, or a matrix whose rows are no multiple of 32 long.
    """
    if kind not in FILE_TYPES and kind not in BITS:
        raise InputError(f"Unknown weight type '{kind}'. Choose one of: {', '.join(FILE_TYPES)}, or {BITS[0]} to "
                         f"{BITS[-1]} bits.")
    through, bits = (_gguf(kind) if isinstance(kind, str) else (_torchao(kind), kind + 16 / GROUP))
    few, size = copy.deepcopy(module), 0.0
    with torch.no_grad():
        for name, weight in few.named_parameters():  # a matrix that two layers share comes once
            if weight.ndim != 2:
                size += 4 * weight.numel()
                continue
            if weight.shape[1] % GROUP:
                raise InputError(f"The rows of '{name}' have {weight.shape[1]} weights, no multiple of {GROUP}: they "
                                 "cannot be stored in groups.")
            weight.copy_(through(weight))
            size += weight.numel() * bits / 8
    return few, round(size)


def storage(kind: str | int, module: nn.Module, size: int) -> dict[str, Any]:
    """The columns name, bits (of a weight of a matrix, its share of the scale with it) and megabytes of a weight type.

    Args:
        size: bytes of the module's weights in it, see `weights_in`.
    """
    matrices, vectors = (sum(weight.numel() for weight in module.parameters() if (weight.ndim == 2) == is_matrix)
                         for is_matrix in (True, False))
    return {"name": kind if isinstance(kind, str) else f"{kind} bits", "bits": 8 * (size - 4 * vectors) / matrices,
            "megabytes": size / 1e6}


def _gguf(kind: str) -> tuple[Callable[[Tensor], Tensor], float]:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    type_ = GGMLQuantizationType[kind]
    block, size = GGML_QUANT_SIZES[type_]

    def through(weight: Tensor) -> Tensor:
        return torch.from_numpy(dequantize(quantize(weight.detach().cpu().numpy(), type_), type_).astype(np.float32))

    return through, 8 * size / block


def _torchao(bits: int) -> Callable[[Tensor], Tensor]:
    def through(weight: Tensor) -> Tensor:
        layer = nn.Linear(1, 1, bias=False)
        layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        held = nn.Sequential(layer)
        quantize_(held, weight_config(bits, GROUP))
        scale = held[0].weight.scale.to(torch.float16).float()                     # (out, in / 32), as it is stored
        return held[0].weight.qdata.float() * scale.repeat_interleave(GROUP, 1)

    return through


def bits_against_perplexity(llm: TransformersModel, texts: Sequence[str], *, kinds: Sequence[str | int] = WEIGHTS,
                            progress: Progress = silent) -> pd.DataFrame:
    """The same texts, read with weights in fewer and fewer bits.

    Where the model's own weights were stored in few bits, as SmolLM2's are (4.5 to 5), more bits bring nothing back:
    ratios then tell what a further rounding loses, not what the first one lost.

    Returns:
        A row for each kind, the first being the reference: columns name, bits (of a weight of a matrix, its share of
        the scale with it), megabytes (of all weights), perplexity, low, high, texts, tokens, ratio (over the first
        row's), ratio_low, ratio_high, significant (the ratio, all rows read together).

    Raises:
        InputError: a model of an engine that shows no weights, an unknown type, or no text of two tokens.
        Cancelled: the caller of `progress` wants an end.
    """
    module, rows = module_of(llm), rows_of(llm, texts)
    records: list[dict[str, Any]] = []
    reference: NegativeLogLikelihood | None = None
    for index, kind in enumerate(kinds):
        part = progress.part(index / len(kinds), (index + 1) / len(kinds))
        part(0.0, f"rounding to {kind}")
        few, size = weights_in(module, kind)
        likelihood = negative_log_likelihood(few, rows, progress=part)
        reference = reference or likelihood
        records.append(storage(kind, few, size) | _perplexity_row(likelihood) | dict(zip(
            ("ratio", "ratio_low", "ratio_high"), likelihood.ratio(reference), strict=True))
            | {"p": math.nan if likelihood is reference else likelihood.p_value(reference)})
    progress(1.0, "done")
    frame = pd.DataFrame(records)
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def beside_tables(llm: TransformersModel, texts: Sequence[str], train: Sequence[str], *,
                  progress: Progress = silent) -> pd.DataFrame:
    """Does the model know more than a table of pairs? Both on the same tokens, beside one who knows nothing.

    Args:
        train: texts that the table counts pairs of tokens in; the model has not been trained on them here.

    Returns:
        Three rows, of the uniform, of the pairs and of the model: columns name, perplexity, low, high, texts, tokens.

    Raises:
        InputError: a model of an engine that shows no weights, or no text of two tokens.
        Cancelled: the caller of `progress` wants an end.
    """
    module, rows = module_of(llm), rows_of(llm, texts)
    size = module.config.vocab_size
    each = {f"any of {size:,} tokens": uniform_likelihood(size, rows),
            "pairs of tokens, counted": bigram_likelihood(rows_of(llm, train), size, rows),
            llm.name: negative_log_likelihood(module, rows, progress=progress)}
    return pd.DataFrame([{"name": name, **_perplexity_row(likelihood)} for name, likelihood in each.items()])


def bits_against_speed(prompts: Sequence[str], *, name: str | Path = SMOLLM2,
                       kinds: Sequence[str] = ("F16", "Q8_0", "Q4_0"), tokens: int = 32, rounds: int = 5,
                       meters: bool = True, progress: Progress = silent) -> pd.DataFrame:
    """How fast a language model answers from files in these weight types, in OpenVINO, and what a million tokens cost.

    Args:
        name: of the model, see `load_language_model`; a GGUF file.
        tokens: of an answer, at most.
        meters: read energy and peak memory too, some ten seconds a type.

    Returns:
        A row a type, the first being the reference, with the columns of `measure_generation` and `name`, the type.

    Raises:
        InputError: an unknown type, no prompt, or a model in no GGUF file.
        Cancelled: the caller of `progress` wants an end.
    """
    llms, source = [], find_language_model(name)
    for index, kind in enumerate(kinds):
        part = progress.part(0.3 * index / len(kinds), 0.3 * (index + 1) / len(kinds))
        llms.append(load_language_model(in_weight_type(source, kind, part)))
    frame = measure_generation(llms, prompts, max_tokens=tokens, rounds=rounds, energy=meters, memory=meters,
                               progress=progress.part(0.3, 1.0))
    frame.insert(0, "name", list(kinds))
    return frame


def rows_of(llm: TransformersModel, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of the texts that have two or more, at most MAX_TOKENS each."""
    return [row[:MAX_TOKENS] for row in llm.encode(texts) if len(row) > 1]


def module_of(llm: TransformersModel) -> nn.Module:
    """The module with the model's weights.

    Raises:
        InputError: its engine shows none.
    """
    if not isinstance(llm, TransformersModel):
        raise InputError(f"{llm.engine} does not show its weights: load the model with engine='transformers'.")
    return llm.module


def _perplexity_row(likelihood: NegativeLogLikelihood) -> dict[str, float]:
    low, high = likelihood.interval()
    return {"perplexity": likelihood.perplexity, "low": low, "high": high, "texts": len(likelihood.tokens),
            "tokens": int(likelihood.tokens.sum())}
