"""Parts removed for good: which ones go under one budget over all layers, and cutting them out.

The matrices get smaller, so every runtime has less to do.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from helpers.lab.errors import InputError
from helpers.lab.models.modules.classifiers import MeanPoolClassifier, select_heads
from helpers.lab.training.architectures import architecture_of
from helpers.model_optimization.encoder.importance import Importance
from helpers.model_optimization.encoder.parts import Anatomy, anatomy, configs_of

BLOCK = 8  # neurons that go together: a multiple that vector instructions and int8 kernels like


@dataclasses.dataclass(frozen=True)
class Part:
    """A removable unit: `members` of one layer's heads or neurons."""

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
    """Choose the members that stay: kind -> layer -> members, with at most `macs` multiply-accumulates in all.

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
    heads = parts.heads
    for index, kept in keep.items():
        chosen, layer = _chosen(kept, heads[index], f"heads of layer {index}"), parts.layers[index]
        columns = (chosen[:, None] * parts.head_size + torch.arange(parts.head_size)).flatten()
        _cut_inside(layer, parts.layout.reads, parts.layout.attention_out, columns)
        attention = layer.get_submodule(parts.layout.attention)
        if isinstance(attention, MPNetSelfAttention):
            before = getattr(attention, "kept_heads", range(heads[index]))
            select_heads(attention, [before[head] for head in chosen.tolist()])
    _note_kept_heads(pruned)
    return pruned


def keep_neurons(module: nn.Module, keep: Mapping[int, Sequence[int]]) -> nn.Module:
    """A copy in which layer i has only the intermediate neurons keep[i]; other layers stay whole.

    A neuron is a row of the first feed-forward matrix, in a gated one (ModernBERT's) a row of each half, and a column
    of the second.

    Raises:
        InputError: a layer would keep no neuron, or an index is out of range.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    neurons = parts.neurons
    for index, kept in keep.items():
        chosen = _chosen(kept, neurons[index], f"intermediate neurons of layer {index}")
        _cut_inside(parts.layers[index], parts.layout.ffn_in, parts.layout.ffn_out, chosen)
    return pruned


def _cut_inside(layer: nn.Module, into: Sequence[str], out: str, columns: Tensor) -> None:
    """Keep only these columns of `out`, and the rows that fill them: in each of the blocks that a matrix stacks."""
    last = layer.get_submodule(out)
    for name in into:
        first = layer.get_submodule(name)
        starts = torch.arange(0, first.out_features, last.in_features)
        layer.set_submodule(name, take_rows(first, (starts[:, None] + columns).flatten()))
    layer.set_submodule(out, take_columns(last, columns))


def _note_kept_heads(module: nn.Module, even_if_all: bool = False) -> None:
    """Write into the configuration which heads MPNet's layers have left of the heads that share its position bias."""
    layers = [part for part in module.modules() if isinstance(part, MPNetSelfAttention)]
    if layers and (even_if_all or any(hasattr(layer, "kept_heads") for layer in layers)):
        for layer in layers:
            select_heads(layer, getattr(layer, "kept_heads", range(layer.num_attention_heads)))
        for config in configs_of(module):
            config.kept_heads = [layer.kept_heads for layer in layers]


def keep_layers(module: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A copy with only these layers, in their order.

    Raises:
        InputError: no layer would stay, or an index is out of range; ModernBERT without its first layer.
    """
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    chosen = _chosen(keep, len(parts.layers), "layers").tolist()
    if missing := sorted(set(fixed_layers(parts)) - set(chosen)):
        raise InputError(f"Layer {missing[0]} of '{architecture_of(module)}' stays: it alone reads the embeddings "
                         "without its own norm. Name it among the layers to keep.")
    parts.body.set_submodule(parts.stack, nn.ModuleList([parts.layers[index] for index in chosen]))
    for config in configs_of(pruned):
        kinds = getattr(config, "layer_types", None)  # of ModernBERT: local or global attention
        config.num_hidden_layers = len(chosen)
        if kinds:
            config.layer_types = [kinds[index] for index in chosen]
    _note_kept_heads(pruned)
    return pruned


def fixed_layers(parts: Anatomy) -> list[int]:
    """Numbers of the layers that cannot go: one without a norm that all later ones have."""
    names = [{name for name, part in layer.named_modules() if isinstance(part, nn.LayerNorm)} for layer in parts.layers]
    return [0] if len(names) > 1 and names[0] < names[1] else []


def keep_width(module: nn.Module, keep: Sequence[int]) -> nn.Module:
    """A copy whose residual stream has only these dimensions.

    All that reads or writes the stream is cut together: embeddings, layer norms, the inputs of
    query, key, value and the first feed-forward matrix, the outputs of the projections, and the
    head. Layer norms then average over fewer numbers, so this is no mere masking: train after it.

    Raises:
        InputError: a model without the mean-pooling head, or a width that a saved configuration could not
            describe: no multiple of the head size, or that of ELECTRA's narrower token vectors.
    """
    require_mean_pooling(module)
    pruned = copy.deepcopy(module)
    parts = anatomy(pruned)
    width, head_size, start = parts.width, parts.head_size, parts.start
    chosen = _chosen(keep, width, "hidden dimensions")
    if len(chosen) % head_size:
        raise InputError(f"The hidden width must be a multiple of the head size {head_size}, not {len(chosen)}.")
    if isinstance(start, nn.Linear) and len(chosen) == start.in_features:
        raise InputError(f"The hidden width cannot be {len(chosen)}, that of the token vectors: the projection between "
                         "them would be lost when the model is loaded. Choose another width.")
    for norm in (part for part in parts.body.modules() if isinstance(part, nn.LayerNorm)):
        if norm.normalized_shape == (width,):
            _keep_in_norm(norm, chosen)
    if isinstance(start, nn.Linear):  # ELECTRA's, from token vectors of another size, which stay
        parts.body.set_submodule(parts.layout.start[0], take_rows(start, chosen))
    else:
        for table in (part for part in parts.body.embeddings.modules() if isinstance(part, nn.Embedding)):
            table.weight = nn.Parameter(table.weight[:, chosen].detach().clone())
            table.embedding_dim = len(chosen)
    for layer in parts.layers:
        for name in (*parts.layout.reads, *parts.layout.ffn_in):
            layer.set_submodule(name, take_columns(layer.get_submodule(name), chosen))
        for name in (parts.layout.attention_out, parts.layout.ffn_out):
            layer.set_submodule(name, take_rows(layer.get_submodule(name), chosen))
    pruned.classifier = take_columns(pruned.classifier, chosen)
    if getattr(parts.body, "pooler", None) is not None:
        parts.body.pooler.dense = take_columns(parts.body.pooler.dense, chosen)
    for config in configs_of(pruned):
        config.hidden_size, config.num_attention_heads = len(chosen), len(chosen) // head_size
        if hasattr(config, "embedding_size") and not isinstance(start, nn.Linear):
            config.embedding_size = len(chosen)
    _note_kept_heads(pruned, even_if_all=True)
    return pruned


def require_mean_pooling(module: nn.Module) -> None:
    """Refuse a head whose first matrix does not read the residual stream itself."""
    if not isinstance(module, MeanPoolClassifier):
        raise InputError("The hidden width is cut only in models of baseline(), whose head reads the mean of the "
                         "token vectors.")


def _keep_in_norm(norm: nn.LayerNorm, chosen: Tensor) -> None:
    for name, parameter in norm.named_parameters():
        setattr(norm, name, nn.Parameter(parameter[chosen].detach()))
    norm.normalized_shape = (len(chosen),)


def _chosen(keep: Sequence[int], total: int, what: str) -> Tensor:
    chosen = torch.as_tensor(sorted({int(index) for index in keep}), dtype=torch.int64)
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= total:
        raise InputError(f"At least one of the {total} {what} must be kept, numbered 0 to {total - 1}.")
    return chosen
