"""Modules that classify, and how one is built again from its configuration and the shapes of its weights."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForSequenceClassification, PretrainedConfig
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention
from transformers.pytorch_utils import Conv1D


class MeanPoolClassifier(nn.Module):
    """An encoder, the mean of its token vectors, one linear layer."""

    head = "mean"

    def __init__(self, encoder: nn.Module, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, classes)

    @property
    def config(self) -> PretrainedConfig:
        """The encoder's configuration."""
        return self.encoder.config

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, hidden) mean of the token vectors under (n, length) int64 ids and mask."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, classes) logits."""
        return self.classifier(self.embed(input_ids, attention_mask))


class OwnHeadClassifier(nn.Module):
    """A `transformers` sequence classifier with the head that it came with."""

    head = "own"

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    @property
    def config(self) -> PretrainedConfig:
        """The classifier's configuration."""
        return self.classifier.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, classes) logits."""
        return self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits


def build_module(head: str, config: PretrainedConfig, classes: int) -> nn.Module:
    """The untrained module of a configuration, with the head that it was saved with."""
    if head == MeanPoolClassifier.head:
        module = MeanPoolClassifier(AutoModel.from_config(config), classes)
    elif head == OwnHeadClassifier.head:
        module = OwnHeadClassifier(AutoModelForSequenceClassification.from_config(config))
    else:
        raise ValueError(f"no head '{head}' is known")
    if heads := getattr(config, "kept_heads", None):  # of a pruned MPNet
        layers = [part for part in module.modules() if isinstance(part, MPNetSelfAttention)]
        for attention, kept in zip(layers, heads, strict=True):
            select_heads(attention, kept)
    return module


def select_heads(attention: MPNetSelfAttention, heads: Sequence[int]) -> None:
    """Let a pruned layer of MPNet read its heads' part of the position bias, which all layers share."""
    if not hasattr(attention, "kept_heads"):
        attention.register_forward_pre_hook(_pick_position_bias)
    attention.kept_heads = list(heads)
    attention.num_attention_heads = len(heads)
    attention.all_head_size = len(heads) * attention.attention_head_size


def _pick_position_bias(attention: MPNetSelfAttention, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    states, mask, bias = inputs
    return states, mask, bias[:, attention.kept_heads]


def fit_shapes(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give linear layers and tables the sizes of their stored weights: a pruned encoder's differ from layer to layer.

    The last layer's outputs are the classes, which the card tells: those must agree.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, nn.Embedding))]
    last = [name for name, layer in layers if isinstance(layer, nn.Linear)][-1]
    for name, layer in layers:
        rows, columns = weights[f"{name}.weight"].shape
        if isinstance(layer, nn.Embedding):
            if columns != layer.embedding_dim:
                module.set_submodule(name, nn.Embedding(layer.num_embeddings, columns, layer.padding_idx))
            continue
        rows = layer.out_features if name == last else rows
        if (rows, columns) != layer.weight.shape:
            module.set_submodule(name, nn.Linear(columns, rows, bias=layer.bias is not None))


def linear_only(module: nn.Module) -> nn.Module:
    """GPT-2's transposed layers as linear ones, which quantization knows; same products, in place."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, Conv1D):
            linear = nn.utils.skip_init(nn.Linear, *layer.weight.shape, device=layer.weight.device)
            linear.weight, linear.bias = nn.Parameter(layer.weight.detach().T.contiguous()), layer.bias
            module.set_submodule(name, linear)
    return module
