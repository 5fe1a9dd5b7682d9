"""Parts removed for good: which ones go under one budget over all layers, and cutting them out.

The matrices get smaller, so every runtime has less to do.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from helpers.lab.errors import InputError
from helpers.lab.models.torch import MeanPoolClassifier
from helpers.model_optimization.encoder.importance import Importance
from helpers.model_optimization.encoder.parts import Anatomy, anatomy, configs_of

BLOCK = 8  # neurons that go together: a multiple that vector instructions and int8 kernels like


@dataclasses.dataclass(frozen=True)
class Part:
    """What can go as a whole: `members` of one layer's heads or neurons."""

    kind: str
    layer: int
    members: tuple[int, ...]
    importance: float
    macs: int

    @property
    def price(self) -> float:
        """Importance lost for each multiply-accumulate saved."""
        return self.importance / self.macs


def parts_of(structure: Anatomy, importance: Importance, tokens: int, kinds: Sequence[str]) -> list[Part]:
    """All heads and all blocks of like-important neurons, with what each costs over a text of `tokens`."""
    parts = []
    for layer in range(len(structure.layers)):
        if "heads" in kinds:
            parts += [Part("heads", layer, (head,), float(score), structure.head_macs(tokens))
                      for head, score in enumerate(importance.heads[layer])]
        if "neurons" in kinds:
            scores = importance.neurons[layer]
            order = np.argsort(-scores, kind="stable")  # the best first: only the last block may be short
            blocks = [order[start:start + BLOCK] for start in range(0, len(order), BLOCK)]
            parts += [Part("neurons", layer, tuple(members.tolist()), float(scores[members].sum()),
                           len(members) * structure.neuron_macs(tokens)) for members in blocks]
    return parts


def keep_within(parts: Sequence[Part], macs: float) -> dict[str, dict[int, list[int]]]:
    """What stays: kind -> layer -> members, with at most `macs` multiply-accumulates in all.

    The part with the least importance for each multiply-accumulate goes first, whatever its layer;
    the last head and the last block of a layer never go. Greedy by price is what the relaxed
    knapsack problem has for its best answer.

    Raises:
        InputError: even with one of each per layer the budget is exceeded.
    """
    groups: dict[tuple[str, int], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.kind, part.layer), []).append(part)
    last = [max(group, key=lambda part: part.price) for group in groups.values()]
    total, least = sum(part.macs for part in parts), sum(part.macs for part in last)
    if least > macs:
        raise InputError(f"At most {1 - least / total:.0%} can be cut: one head and {BLOCK} neurons per layer stay. "
                         "Ask for less, or cut whole layers.")
    staying = set(parts)
    for part in sorted(parts, key=lambda part: part.price):
        if total <= macs:
            break
        if part not in last:
            staying.discard(part)
            total -= part.macs
    members: dict[str, dict[int, list[int]]] = {kind: {} for kind, _ in groups}
    for kind, layer in groups:
        members[kind][layer] = sorted(member for part in staying if (part.kind, part.layer) == (kind, layer)
                                      for member in part.members)
    return members


def take_rows(linear: nn.Linear, rows: Tensor) -> nn.Linear:
    """The layer with only these outputs."""
    return _linear(linear.weight[rows], None if linear.bias is None else linear.bias[rows])


def take_columns(linear: nn.Linear, columns: Tensor) -> nn.Linear:
    """The layer with only these inputs."""
    return _linear(linear.weight[:, columns], linear.bias)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype,
                                device=weight.device)
    linear.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear


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
        chosen = _chosen(heads, parts.heads[index], f"heads of layer {index}")
        own, output = parts.layers[index].attention.self, parts.layers[index].attention.output
        rows = (chosen[:, None] * parts.head_size + torch.arange(parts.head_size)).flatten()
        own.query, own.key, own.value = (take_rows(linear, rows) for linear in (own.query, own.key, own.value))
        output.dense = take_columns(output.dense, rows)
        own.num_attention_heads, own.all_head_size = len(chosen), len(rows)
    return pruned


def keep_neurons(module: nn.Module, keep: Mapping[int, Sequence[int]]) -> nn.Module:
    """A copy in which layer i has only the intermediate neurons keep[i]; other layers stay whole.

    A neuron is a row of the first feed-forward matrix and a column of the second.

    Raises:
        InputError: a layer would keep no neuron, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    for index, neurons in keep.items():
        chosen = _chosen(neurons, parts.neurons[index], f"intermediate neurons of layer {index}")
        layer = parts.layers[index]
        layer.intermediate.dense = take_rows(layer.intermediate.dense, chosen)
        layer.output.dense = take_columns(layer.output.dense, chosen)
    return pruned


def keep_layers(module: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A copy with only these layers, in their order.

    Raises:
        InputError: no layer would stay, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    chosen = _chosen(keep, len(parts.layers), "layers")
    parts.stack.layer = nn.ModuleList([parts.layers[index] for index in chosen.tolist()])
    for config in configs_of(pruned):
        config.num_hidden_layers = len(chosen)
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
    chosen = _chosen(keep, parts.width, "hidden dimensions")
    if len(chosen) % parts.head_size:
        raise InputError(f"The hidden width must be a multiple of the head size {parts.head_size}, not {len(chosen)}.")
    for config in configs_of(pruned):
        config.hidden_size, config.num_attention_heads = len(chosen), len(chosen) // parts.head_size
    for norm in parts.norms:
        norm.weight, norm.bias = nn.Parameter(norm.weight[chosen].detach()), nn.Parameter(norm.bias[chosen].detach())
        norm.normalized_shape = (len(chosen),)
    for table in (part for part in parts.embeddings.modules() if isinstance(part, nn.Embedding)):
        table.weight = nn.Parameter(table.weight[:, chosen].detach().clone())
        table.embedding_dim = len(chosen)
    for layer in parts.layers:
        attention = layer.attention.self
        for name in ("query", "key", "value"):
            setattr(attention, name, take_columns(getattr(attention, name), chosen))
        layer.attention.output.dense = take_rows(layer.attention.output.dense, chosen)
        layer.intermediate.dense = take_columns(layer.intermediate.dense, chosen)
        layer.output.dense = take_rows(layer.output.dense, chosen)
    pruned.classifier = take_columns(pruned.classifier, chosen)
    if getattr(pruned.encoder, "pooler", None) is not None:
        pruned.encoder.pooler.dense = take_columns(pruned.encoder.pooler.dense, chosen)
    return pruned


def _chosen(keep: Sequence[int], total: int, what: str) -> Tensor:
    chosen = torch.as_tensor(sorted({int(index) for index in keep}), dtype=torch.int64)
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= total:
        raise InputError(f"At least one of the {total} {what} must be kept, numbered 0 to {total - 1}.")
    return chosen
