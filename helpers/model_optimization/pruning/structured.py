"""Cutting parts out of an encoder for good: the matrices get smaller, so every runtime has less to do."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from helpers.lab.errors import InputError
from helpers.lab.models.torch import MeanPoolClassifier
from helpers.model_optimization.pruning.encoder_parts import anatomy, configs_of


def take_rows(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    """The layer with only these outputs."""
    return _linear(linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def take_columns(linear: nn.Linear, columns: Tensor) -> nn.Linear:
    """The layer with only these inputs."""
    return _linear(linear.weight[:, columns], linear.bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    made = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype,
                              device=weight.device)
    made.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made


def keep_heads(module: nn.Module, keep: Mapping[int, Sequence[int]]) -> nn.Module:
    """A copy in which layer i has only the attention heads keep[i]; other layers stay whole.

    A head is a block of rows in query, key and value, and the block of columns that reads it in the
    output projection (Michel et al., arXiv 1905.10650).

    Raises:
        InputError: a layer would keep no head, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    for index, heads in keep.items():
        kept = _chosen(heads, parts.heads[index], f"heads of layer {index}")
        own, output = parts.layers[index].attention.self, parts.layers[index].attention.output
        rows = (kept[:, None] * parts.head_size + torch.arange(parts.head_size)).flatten()
        own.query, own.key, own.value = (take_rows(linear, rows) for linear in (own.query, own.key, own.value))
        output.dense = take_columns(output.dense, rows)
        own.num_attention_heads, own.all_head_size = len(kept), len(rows)
    return pruned


def keep_columns(module: nn.Module, keep: Mapping[int, Sequence[int]]) -> nn.Module:
    """A copy in which layer i has only the feed-forward columns keep[i]; other layers stay whole.

    Rows of the first matrix, columns of the second.

    Raises:
        InputError: a layer would keep no column, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    for index, columns in keep.items():
        kept = _chosen(columns, parts.columns[index], f"columns of layer {index}")
        layer = parts.layers[index]
        layer.intermediate.dense = take_rows(layer.intermediate.dense, kept)
        layer.output.dense = take_columns(layer.output.dense, kept)
    return pruned


def keep_layers(module: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A copy with only these layers, in their order.

    Raises:
        InputError: no layer would stay, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    kept = _chosen(keep, len(parts.layers), "layers")
    parts.stack.layer = nn.ModuleList([parts.layers[index] for index in kept.tolist()])
    for config in configs_of(pruned):
        config.num_hidden_layers = len(kept)
    return pruned


def keep_width(module: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A copy whose residual stream has only these dimensions.

    All that reads or writes the stream is cut together: embeddings, layer norms, the inputs of
    query, key, value and the first feed-forward matrix, the outputs of the projections, and the
    head. Layer norms then average over fewer numbers, so this is no mere masking: train after it.

    Raises:
        InputError: a model without the mean-pooling head, or a width that is no multiple of the
            head size (a saved configuration could not name the head size otherwise).
    """
    if not isinstance(module, MeanPoolClassifier):
        raise InputError("The hidden width is cut only in models of baseline(), whose head reads the mean of the "
                         "token vectors.")
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    kept = _chosen(keep, parts.width, "hidden dimensions")
    if len(kept) % parts.head_size:
        raise InputError(f"The hidden width must be a multiple of the head size {parts.head_size}, not {len(kept)}.")
    for config in configs_of(pruned):
        config.hidden_size, config.num_attention_heads = len(kept), len(kept) // parts.head_size
    for norm in parts.norms:
        norm.weight, norm.bias = nn.Parameter(norm.weight[kept].detach()), nn.Parameter(norm.bias[kept].detach())
        norm.normalized_shape = (len(kept),)
    for table in (part for part in parts.embeddings.modules() if isinstance(part, nn.Embedding)):
        table.weight = nn.Parameter(table.weight[:, kept].detach().clone())
        table.embedding_dim = len(kept)
    for layer in parts.layers:
        own = layer.attention.self
        own.query, own.key, own.value = (take_columns(linear, kept) for linear in (own.query, own.key, own.value))
        layer.attention.output.dense = take_rows(layer.attention.output.dense, kept)
        layer.intermediate.dense = take_columns(layer.intermediate.dense, kept)
        layer.output.dense = take_rows(layer.output.dense, kept)
    pruned.classifier = take_columns(pruned.classifier, kept)
    if getattr(pruned.encoder, "pooler", None) is not None:
        pruned.encoder.pooler.dense = take_columns(pruned.encoder.pooler.dense, kept)
    return pruned


def _chosen(keep: Sequence[int], total: int, what: str) -> Tensor:
    kept = torch.as_tensor(sorted({int(index) for index in keep}), dtype=torch.int64)
    if not len(kept) or kept[0] < 0 or kept[-1] >= total:
        raise InputError(f"At least one of the {total} {what} must be kept, numbered 0 to {total - 1}.")
    return kept


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a module is made of, for its record."""

    layers: int
    heads: list[int]
    columns: list[int]
    width: int


def sizes_of(module: nn.Module) -> Sizes:
    """Layers, heads and feed-forward columns of each, and the hidden width."""
    parts = anatomy(module)
    return Sizes(len(parts.layers), parts.heads, parts.columns, parts.width)
