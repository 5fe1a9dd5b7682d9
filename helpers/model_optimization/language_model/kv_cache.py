"""The key-value cache of a language model in 8 bits: what it loses, and what a token then takes."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from helpers.lab.language.engines.transformers import TransformersModel
from helpers.lab.language.perplexity import negative_log_likelihood
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.language_model.weight_types import module_of, rows_of

_MAX_CODE = 127  # of an int8 code, the same on both sides


class Int8Layer(DynamicLayer):
    """Keys and values of one layer as int8 codes, with one float16 scale for each token and head.

    `keys`, `values`: (rows, heads, tokens, head size) int8; their scales end in 1 instead.
    """

    is_croppable = False

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin empty, for states of this kind."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.key_scales = to_codes(key_states[..., :0, :])
        self.values, self.value_scales = to_codes(value_states[..., :0, :])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_args, **_kwargs) -> tuple[Tensor, Tensor]:
        """Append states; all keys and values so far, dequantized."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        codes, scales = to_codes(key_states)
        self.keys, self.key_scales = torch.cat([self.keys, codes], -2), torch.cat([self.key_scales, scales], -2)
        codes, scales = to_codes(value_states)
        self.values, self.value_scales = torch.cat([self.values, codes], -2), torch.cat([self.value_scales, scales], -2)
        return (self.keys.to(self.dtype) * self.key_scales.to(self.dtype),
                self.values.to(self.dtype) * self.value_scales.to(self.dtype))


def to_codes(states: Tensor) -> tuple[Tensor, Tensor]:
    """(int8 codes of the same shape, float16 scales whose last dimension is 1) of (..., head size) states.

    Symmetric: a row's largest magnitude becomes 127. The scale is rounded first, then the codes.
    """
    largest = states.abs().amax(-1, keepdim=True) if states.numel() else states[..., :1]
    scale = (largest.float() / _MAX_CODE).clamp(min=torch.finfo(torch.float16).tiny).to(torch.float16)
    return (states / scale.to(states.dtype)).round().clamp(-_MAX_CODE, _MAX_CODE).to(torch.int8), scale


def int8_cache() -> Cache:
    """A cache for one call or one continuation of any model that caches plain keys and values."""
    return Cache(layer_class_to_replicate=Int8Layer)


def cache_bytes(cache: Cache) -> int:
    """Bytes of the tensors that a cache holds."""
    names = ("keys", "values", "key_scales", "value_scales")
    return sum(getattr(layer, name).nbytes for layer in cache.layers for name in names if hasattr(layer, name))


def cache_in_8_bits(llm: TransformersModel, texts: Sequence[str], *, progress: Progress = silent) -> pd.DataFrame:
    """The same texts with a float and with an 8-bit cache.

    Returns:
        Two rows, float first: columns cache, perplexity, low, high, ratio (over the float cache's),
        ratio_low, ratio_high, bytes_per_token (keys, values and scales of all layers).

    Raises:
        InputError: a model of an engine that shows no weights, or no text of two tokens.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.model_optimization import cache_in_8_bits
    >>> cache_in_8_bits(llm, texts)[["cache", "ratio", "bytes_per_token"]]  # doctest: +SKIP
    """
    module, rows = module_of(llm), rows_of(llm, texts)
    records, reference = [], None
    for number, (name, kind) in enumerate((("float32", DynamicCache), ("int8", int8_cache))):
        likelihood = negative_log_likelihood(module, rows, cache=kind,
                                             progress=progress.part(number / 2, (number + 1) / 2))
        reference = reference or likelihood
        low, high = likelihood.interval()
        ratio = likelihood.ratio(reference)
        records.append({"cache": name, "perplexity": likelihood.perplexity, "low": low, "high": high, "ratio": ratio[0],
                      "ratio_low": ratio[1], "ratio_high": ratio[2],
                      "bytes_per_token": _bytes_per_token(module, kind())})
    progress(1.0, "done")
    return pd.DataFrame(records)


@torch.inference_mode()
def _bytes_per_token(module: nn.Module, cache: Cache) -> float:
    ids = torch.zeros((1, 8), dtype=torch.long, device=next(module.parameters()).device)
    module(ids, past_key_values=cache, use_cache=True)
    return cache_bytes(cache) / ids.numel()
