"""The parts of an encoder: its layers, their heads and intermediate neurons, and the card of what is left."""

import dataclasses
import functools
import time
from typing import Any

from torch import nn
from transformers import PretrainedConfig

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.torch import RemadeModel, TorchTextModel, count_macs, count_parameters
from helpers.lab.training.architectures import CUTTABLE, Layout, architecture_of, body_of, layers_of, stacked_linear
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization.options import STRATEGY


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """The parts of one module, by reference: BERT, RoBERTa, ELECTRA, DistilBERT, MPNet, ModernBERT and their like.

    The residual stream is what all layers read and add to: (n, length, width).
    """

    body: nn.Module
    layout: Layout

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, from input to output."""
        return self.body.get_submodule(self.stack)

    @functools.cached_property
    def stack(self) -> str:
        """Where the body keeps the list of its layers."""
        return next(iter(layers_of(self.body, self.layout))).rpartition(".")[0]

    def reads(self, layer: nn.Module) -> list[nn.Linear]:
        """Layers through which attention reads the stream: query, key and value, or one matrix of all three."""
        return [layer.get_submodule(name) for name in self.layout.reads]

    def attention_out(self, layer: nn.Module) -> nn.Linear:
        """The projection that returns the heads' values to the stream."""
        return layer.get_submodule(self.layout.attention_out)

    def ffn_in(self, layer: nn.Module) -> nn.Linear:
        """The first feed-forward matrix; a gated one holds a neuron's two rows in its two halves."""
        return layer.get_submodule(self.layout.ffn_in[0])

    def ffn_out(self, layer: nn.Module) -> nn.Linear:
        """The second feed-forward matrix."""
        return layer.get_submodule(self.layout.ffn_out)

    @property
    def width(self) -> int:
        """Values per token in the residual stream."""
        return self.ffn_out(self.layers[0]).out_features

    @property
    def head_size(self) -> int:
        """Values per token in one attention head."""
        attention = self.layers[0].get_submodule(self.layout.attention)
        return getattr(attention, "attention_head_size", None) or attention.head_dim

    @property
    def heads(self) -> list[int]:
        """Attention heads of each layer."""
        return [self.attention_out(layer).in_features // self.head_size for layer in self.layers]

    @property
    def neurons(self) -> list[int]:
        """Intermediate neurons of each layer's feed-forward part."""
        return [self.ffn_out(layer).in_features for layer in self.layers]

    @property
    def start(self) -> nn.Module:
        """Module that gives the stream its first values: a norm, or the projection from narrower token vectors."""
        parts = dict(self.body.named_modules())
        return next(parts[name] for name in self.layout.start if name in parts)

    @property
    def stream(self) -> list[nn.Module]:
        """The modules whose outputs are the residual stream, from the embeddings to the last layer."""
        return [self.start, *(layer.get_submodule(name) for layer in self.layers for name in self.layout.writes)]

    def head_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one head over a text: four projections, scores and their sums."""
        return tokens * (4 * self.width * self.head_size + 2 * tokens * self.head_size)

    def neuron_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one intermediate neuron over a text: a row or, gated, two, and a column."""
        layer = self.layers[0]
        return tokens * (self.ffn_in(layer).out_features // self.ffn_out(layer).in_features + 1) * self.width

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates of all layers over a text."""
        return sum(self.heads) * self.head_macs(tokens) + sum(self.neurons) * self.neuron_macs(tokens)

    def sizes(self) -> dict[str, Any]:
        """The encoder's sizes, for its record."""
        return {"layers": len(self.layers), "heads": self.heads, "neurons": self.neurons, "width": self.width}

    def parameters(self) -> int:
        """Values in the weights of all layers."""
        return sum(parameter.numel() for parameter in self.layers.parameters())


def anatomy(module: nn.Module) -> Anatomy:
    """The parts of a classifier's encoder.

    Raises:
        InputError: an architecture whose parts cannot be removed here.
    """
    kind = architecture_of(module)
    if kind not in CUTTABLE:
        raise InputError(f"Heads, neurons, layers and width cannot be removed from '{kind}', but only from "
                         f"{', '.join(CUTTABLE)}; magnitude and N:M pruning, quantization and export work for it.")
    return Anatomy(body_of(module), CUTTABLE[kind])


def layer_weights(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> linear layer, of all that stand in the layers of any architecture; see `stacked_linear`.

    Raises:
        InputError: an architecture without any.
    """
    inside = {id(part) for part in stacked_linear(body_of(module)).values()}
    if not inside:
        raise InputError(f"The layers of '{architecture_of(module)}' hold no linear layers, whose weights could be "
                         "made zero or stored in fewer bits; int8 and export work for it.")
    return {name: part for name, part in module.named_modules() if id(part) in inside}


def configs_of(module: nn.Module) -> list[PretrainedConfig]:
    """All configurations that the module's parts hold; most share one."""
    configs = {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    return list(configs.values())


def card_of(module: nn.Module, source: TorchTextModel, task: Task, name: str, began: float, **settings: Any) -> Card:
    """The card of a module made from `source`: its own sizes, parameters and multiply-accumulates.

    Args:
        began: `time.perf_counter()` when the making began.
    """
    if architecture_of(module) in CUTTABLE:
        settings["sizes"] = anatomy(module).sizes()
    card = source.card.derive(name, STRATEGY, time.perf_counter() - began, runtime="pytorch", **settings)
    return dataclasses.replace(card, parameters=count_parameters(module),
                               macs=count_macs(module, mean_tokens(task, source.encoder)))


def require_torch(model: Model, verb: str) -> None:
    """Refuse what has no plain PyTorch weights to work on."""
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be {verb}; '{model.card.name}' runs in "
                         f"{getattr(model, 'runtime', 'another runtime')}. Do this step before the export.")
    if model.runtime != TorchTextModel.runtime:
        raise InputError(f"'{model.card.name}' holds an adapter's layers and cannot be {verb}: merge them into the "
                         "weights first.")
    if isinstance(model, RemadeModel):
        raise InputError(f"Only a plain PyTorch model can be {verb}; '{model.card.name}' was made from one. Do this "
                         "step before that.")
