"""The parts of a BERT-like encoder: its layers, their heads and intermediate neurons, and the card of what is left."""

import dataclasses
import time
from typing import Any

from torch import nn
from transformers import PretrainedConfig

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.torch import TorchTextModel, count_macs, count_parameters
from helpers.lab.training.baselines import mean_tokens
from helpers.model_optimization.options import STRATEGY


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """The parts of one module, by reference: BERT, RoBERTa, ELECTRA and their like.

    The residual stream is what all layers read and add to: (n, length, width).
    """

    embeddings: nn.Module
    stack: nn.Module  # its `layer` is the nn.ModuleList

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, from input to output."""
        return self.stack.layer

    @property
    def width(self) -> int:
        """Values per token in the residual stream."""
        return self.embeddings.LayerNorm.normalized_shape[0]

    @property
    def head_size(self) -> int:
        """Values per token in one attention head."""
        return self.layers[0].attention.self.attention_head_size

    @property
    def heads(self) -> list[int]:
        """Attention heads of each layer."""
        return [layer.attention.self.query.out_features // self.head_size for layer in self.layers]

    @property
    def neurons(self) -> list[int]:
        """Intermediate neurons of each layer's feed-forward part."""
        return [layer.intermediate.dense.out_features for layer in self.layers]

    @property
    def norms(self) -> list[nn.LayerNorm]:
        """The layer norms that write the residual stream, from the embeddings to the last layer."""
        return [self.embeddings.LayerNorm,
                *(norm for layer in self.layers for norm in (layer.attention.output.LayerNorm, layer.output.LayerNorm))]

    def head_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one head over a text: four projections, scores and their sums."""
        return tokens * (4 * self.width * self.head_size + 2 * tokens * self.head_size)

    def neuron_macs(self, tokens: int) -> int:
        """Multiply-accumulates of one intermediate neuron over a text."""
        return tokens * 2 * self.width

    def macs(self, tokens: int) -> int:
        """Multiply-accumulates of all layers over a text."""
        return sum(self.heads) * self.head_macs(tokens) + sum(self.neurons) * self.neuron_macs(tokens)

    def sizes(self) -> dict[str, Any]:
        """What the encoder is made of, for its record."""
        return {"layers": len(self.layers), "heads": self.heads, "neurons": self.neurons, "width": self.width}

    def parameters(self) -> int:
        """Values in the weights of all layers."""
        return sum(parameter.numel() for parameter in self.layers.parameters())


def anatomy(module: nn.Module) -> Anatomy:
    """The parts of a classifier's encoder.

    Raises:
        InputError: it is not built like BERT.
    """
    stacks = [part for part in module.modules() if _is_stack(part)]
    embeddings = [part for part in module.modules() if hasattr(part, "word_embeddings") and hasattr(part, "LayerNorm")]
    if len(stacks) != 1 or len(embeddings) != 1:
        raise InputError(f"Only encoders built like BERT can be cut here, not '{module.config.model_type}'.")
    return Anatomy(embeddings[0], stacks[0])


def _is_stack(part: nn.Module) -> bool:
    layers = getattr(part, "layer", None)
    return isinstance(layers, nn.ModuleList) and all(
        hasattr(layer, "intermediate") and hasattr(getattr(layer.attention, "self", None), "attention_head_size")
        for layer in layers)


def layer_weights(module: nn.Module) -> dict[str, nn.Linear]:
    """Name -> linear layer, of all that stand in the encoder's layers."""
    inside = {id(part) for part in anatomy(module).layers.modules()}
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear) and id(part) in inside}


def configs_of(module: nn.Module) -> list[PretrainedConfig]:
    """All configurations that the module's parts hold; most share one."""
    configs = {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    return list(configs.values())


def card_of(module: nn.Module, source: TorchTextModel, task: Task, name: str, began: float, **settings: Any) -> Card:
    """The card of a module made from `source`: its own sizes, parameters and multiply-accumulates.

    Args:
        began: `time.perf_counter()` when the making began.
    """
    card = source.card.derive(name, STRATEGY, time.perf_counter() - began, runtime="pytorch",
                              sizes=anatomy(module).sizes(), **settings)
    return dataclasses.replace(card, parameters=count_parameters(module),
                               macs=count_macs(module, mean_tokens(task, source.encoder)))


def require_torch(model: Model, verb: str) -> None:
    """Refuse what has no PyTorch weights to work on."""
    if not isinstance(model, TorchTextModel):
        raise InputError(f"Only a PyTorch model can be {verb}; '{model.card.name}' runs in "
                         f"{getattr(model, 'runtime', 'another runtime')}. Do this step before the export.")
