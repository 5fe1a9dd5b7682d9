"""One encoder, many tasks: train a few percent of the parameters, or one layer, or all of them."""

import copy
import dataclasses
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from peft import IA3Config, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from helpers.efficient_architectures.adapters.layers import LORA_SCALE, add_bottlenecks, known_layout
from helpers.efficient_architectures.options import LEARNING_RATES, RANKED, STRATEGY, require_adapter
from helpers.efficient_architectures.right_sizing.frozen import as_model
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder, pad_for
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, Model
from helpers.lab.models.modules.classifiers import MeanPoolClassifier, OwnHeadClassifier, build_module, fit_shapes
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress, silent
from helpers.lab.training.architectures import (
    architecture_of,
    body_of,
    head_of,
    layers_of,
    layout_of,
    stacked_linear,
)
from helpers.lab.training.baselines import card_of
from helpers.lab.training.fine_tuning import BATCH, fine_tune
from helpers.lab.training.heads import fit_linear_head, pretrained
from helpers.lab.training.weights import MINILM, short_name

# What LoRA takes in layers of no known layout: query and value, or what holds them, by the names they bear.
_QUERY_OR_VALUE = re.compile(r"(q|v|query|value)(_?(proj|lin|head))?|qkv(_proj)?|query_key_value|in_proj|c_attn|Wqkv")

Classifier = MeanPoolClassifier | OwnHeadClassifier
ADDED = ("ia3", "lora", "bottleneck")  # kinds that add layers to the encoder


class AdaptedModel(TorchTextModel):
    """A text classifier whose encoder has an adapter's layers in it; saved with what rebuilds them.

    Args:
        kind: one of ADDED; rank: see tune.
    """

    runtime = "adapters"

    def __init__(self, card: Card, encoder: TextEncoder, module: Classifier, kind: str, rank: int) -> None:
        super().__init__(card, encoder, module)
        self.kind, self.rank = kind, rank

    def _save_artefact(self, path: Path) -> None:
        super()._save_artefact(path)
        write_atomically(path / "adapter.json", json.dumps({"kind": self.kind, "rank": self.rank}))

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        adapter, config = (json.loads((path / name).read_text(encoding="utf-8"))
                           for name in ("adapter.json", "config.json"))
        head = config.pop("head")
        module = build_module(head, AutoConfig.for_model(config.pop("model_type"), **config), card.classes)
        weights = load_file(path / "weights.safetensors")
        fit_shapes(module, {re.sub(r"\.base(_layer)?\.", ".", name): tensor for name, tensor in weights.items()})
        freeze_all_but(module, **adapter)
        module.load_state_dict(weights)
        return cls(card, encoder, module, **adapter)


@dataclasses.dataclass(frozen=True)
class Tuned:
    """An encoder adapted to a task.

    Attributes:
        model: ready to predict; the adapter's layers are in it.
        delta: name -> tensor: what differs from the published encoder, the head included.
        trainable: parameters trained besides the head; head: parameters of the head.
        train_s: seconds of training, after the head is fitted; memory: see training_memory.
    """

    model: TorchTextModel
    kind: str
    rank: int
    delta: dict[str, Tensor]
    trainable: int
    head: int
    train_s: float
    memory: dict[str, int]

    @property
    def delta_bytes(self) -> int:
        """Bytes of what a tenant has for itself."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.delta.values())


def tune(task: Task, kind: str, *, rank: int = 8, encoder: str | Path | TorchTextModel = MINILM, epochs: float = 2.0,
         seed: int = 0, progress: Progress = silent) -> Tuned:
    """Adapt an encoder to a task in one of six ways; the head is fitted on the frozen encoder first in all of them.

    Args:
        encoder: a folder, or a name on the Hugging Face Hub; or a classifier of the task, whose own head is trained on.
        kind: "probe" (head only), "bitfit" (biases), "ia3" (scales), "lora" (rank-r updates of query and
            value), "bottleneck" (Houlsby's layers and the norms), "full" (everything).
        rank: of "lora" and "bottleneck"; the others have none.

    Raises:
        InputError: an unknown kind, or a rank below 1; an architecture that the kind has no place in; a classifier of
            other labels, or one that is no plain PyTorch model.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.efficient_architectures import tune
    >>> from helpers.lab import load_task
    >>> tuned = tune(load_task("tickets"), "lora", rank=8)  # doctest: +SKIP
    >>> tuned.trainable  # doctest: +SKIP
    73728
    """
    require_adapter(kind, rank)
    module, tokenizer = with_fitted_head(task, encoder, progress)
    return train_as(module, tokenizer, task, kind, rank=rank, epochs=epochs, seed=seed, progress=progress,
                    name=encoder.card.name if isinstance(encoder, Model) else short_name(encoder))


def with_fitted_head(task: Task, encoder: str | Path | TorchTextModel = MINILM,
                     progress: Progress = silent) -> tuple[Classifier, TextEncoder]:
    """Where every way starts: the published encoder under a head fitted on its embeddings; and its tokenizer.

    Of a classifier: a copy, with the head that it has.
    """
    if isinstance(encoder, Model):
        if type(encoder) is not TorchTextModel or encoder.card.classes != len(task.labels):
            raise InputError(f"'{encoder.card.name}' cannot be adapted: that takes a plain PyTorch classifier of the "
                             f"{len(task.labels)} labels of '{task.name}', such as load_pretrained gives.")
        return copy.deepcopy(encoder.module), encoder.encoder
    module, tokenizer = pretrained(encoder, len(task.labels))
    fit_linear_head(module, tokenizer.encode(task.train["text"][:]), task.train["label"][:], progress)
    return module, tokenizer


def train_as(module: Classifier, tokenizer: TextEncoder, task: Task, kind: str, *, rank: int, epochs: float,
             learning_rate: float | None = None, seed: int = 0, progress: Progress = silent,
             name: str = "MiniLM-L6") -> Tuned:
    """Adapt a module whose head is fitted already, in one of tune's ways; it is changed in place.

    Args:
        name: what the model was called before.
        learning_rate: by default the kind's (LEARNING_RATES): fewer parameters bear larger steps.
    """
    require_adapter(kind, rank)
    torch.manual_seed(seed)
    began = time.perf_counter()
    freeze_all_but(module, kind, rank)
    rows, labels = tokenizer.encode(task.train["text"][:]), task.train["label"][:]
    memory = training_memory(module, *_typical_batch(module, rows))
    if kind != "probe":
        fine_tune(module, rows, labels, epochs=epochs, learning_rate=learning_rate or LEARNING_RATES[kind],
                  head_learning_rate=1e-3, seed=seed, progress=progress, say=f"training {kind}")
    train_s = time.perf_counter() - began
    delta = {name: parameter.detach().cpu().clone() for name, parameter in module.named_parameters()
             if parameter.requires_grad}
    head = sum(parameter.numel() for parameter in head_of(module))
    trainable = sum(tensor.numel() for tensor in delta.values()) - head
    how, ranked = (f"{kind} rank {rank}", {"rank": rank}) if kind in RANKED else (kind, {})
    card = card_of(f"{name}, {how}", task, tokenizer, module, strategy=STRATEGY,
                   made_in_s=time.perf_counter() - began, adapter=kind, trained=trainable, seed=seed, **ranked)
    model = (AdaptedModel(card, tokenizer, module, kind, rank) if kind in ADDED else
             TorchTextModel(card, tokenizer, module))
    return Tuned(model, kind, rank, delta, trainable, head, train_s, memory)


def freeze_all_but(module: Classifier, kind: str, rank: int) -> None:
    """Put the adapter's layers in, and leave only what the kind trains (and the head) trainable; in place.

    Raises:
        InputError: an architecture that the kind has no place in.
    """
    require_adapter(kind, rank)
    module.requires_grad_(kind == "full")
    encoder, head = body_of(module), head_of(module)
    if kind == "bitfit":
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
    elif kind == "bottleneck":
        add_bottlenecks(encoder, rank)
        for layer in encoder.modules():  # the paper trains the norms as well
            if isinstance(layer, nn.LayerNorm):
                layer.requires_grad_(True)
    elif kind == "lora":
        sites = lora_sites(encoder)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=LORA_SCALE * rank, target_modules=sites,
                                           fan_in_fan_out=_is_transposed(encoder, sites)), encoder)
    elif kind == "ia3":
        sites, feed_forward = ia3_sites(encoder)
        inject_adapter_in_model(IA3Config(target_modules=sites, feedforward_modules=feed_forward,
                                          fan_in_fan_out=_is_transposed(encoder, sites)), encoder)
    if kind != "full" and isinstance(module, MeanPoolClassifier) and getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)  # the mean of the token vectors does not pass it
    if kind == "bitfit" and not any(parameter.requires_grad for parameter in encoder.parameters()):
        raise InputError(f"'{architecture_of(module)}' has no biases to train. Choose one of: probe, lora, ia3, full.")
    for parameter in head:
        parameter.requires_grad_(True)


def lora_sites(encoder: nn.Module) -> list[str]:
    """Names of the matrices that LoRA updates.

    Query and value alone, as in the paper, or the one matrix that holds them: all matrices take twice the time and 4.5
    times the parameters.
    Where neither is known by its place or its name: all matrices of the layers.

    Raises:
        InputError: the layers hold no linear layers.
    """
    if layout := layout_of(encoder):
        names = layout.reads if layout.fused else (layout.reads[0], layout.reads[2])
        return [f"{layer}.{name}" for layer in layers_of(encoder, layout) for name in names]
    matrices = list(stacked_linear(encoder))
    if not matrices:
        raise InputError(f"'lora' has no place in '{encoder.config.model_type}', whose layers hold no linear layers. "
                         "Choose one of: probe, bitfit, full.")
    return [name for name in matrices if _QUERY_OR_VALUE.fullmatch(name.rpartition(".")[2])] or matrices


def ia3_sites(encoder: nn.Module) -> tuple[list[str], list[str]]:
    """Names of the matrices that IA3 scales, and of those among them whose inputs it scales.

    Keys, values (or the one matrix that holds them) and the inner values of the feed-forward parts.

    Raises:
        InputError: an architecture whose layers are laid out in no known way.
    """
    layout = known_layout(encoder, "ia3")
    layers = layers_of(encoder, layout)
    attention = [f"{layer}.{name}" for layer in layers for name in (layout.reads if layout.fused else layout.reads[1:])]
    feed_forward = [f"{layer}.{layout.ffn_out}" for layer in layers]
    return attention + feed_forward, feed_forward


def _is_transposed(encoder: nn.Module, sites: Sequence[str]) -> bool:
    return isinstance(encoder.get_submodule(sites[0]), Conv1D)


def merge(tuned: Tuned, task: Task) -> TorchTextModel:
    """The same answers from the plain encoder: LoRA's and IA3's updates added into the weights.

    Raises:
        InputError: bottlenecks have a nonlinearity, so no matrix does what they do.
    """
    if tuned.kind == "bottleneck":
        raise InputError("Bottleneck adapters cannot be merged: between their two matrices is a nonlinearity.")
    began = time.perf_counter()
    module = copy.deepcopy(tuned.model.module)
    wrapped = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)]
    for name, layer in wrapped:
        layer.merge()
        module.set_submodule(name, layer.get_base_layer())
    return as_model(f"{tuned.model.card.name}, merged", task, module, tuned.model.encoder, began,
                    adapter=tuned.kind, merged=True)


def training_memory(module: nn.Module, ids: np.ndarray, mask: np.ndarray) -> dict[str, int]:
    """Bytes that one training step holds: weights, gradients, Adam's two moments, and what backward needs.

    Args:
        ids, mask: (n, length) int64, a batch of the usual size.

    The first three are counted from the parameters; `activations` are the tensors that autograd
    really saves in a forward pass, each storage once, those of the weights left out.
    """
    trained = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters()
                  if parameter.requires_grad)
    weight_storages = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    saved: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weight_storages:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    target = next(module.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        logits = module(torch.from_numpy(ids).to(target), torch.from_numpy(mask).to(target))
    del logits
    weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return {"weights": weights, "gradients": trained, "optimizer": 2 * trained, "activations": sum(saved.values())}


def _typical_batch(module: nn.Module, rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask of rows around the median length, as many as are trained together."""
    order = sorted(rows, key=len)
    start = max(0, len(order) // 2 - BATCH // 2)
    return pad_for(module, order[start:start + BATCH])
