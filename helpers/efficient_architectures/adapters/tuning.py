"""One encoder, many tasks: train a few percent of the parameters, or one layer, or all of them."""

import copy
import dataclasses
import json
import time
from pathlib import Path
from typing import Self

import numpy as np
import torch
from peft import IA3Config, LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from helpers.efficient_architectures.adapters.layers import LORA_SCALE, add_bottlenecks
from helpers.efficient_architectures.options import LEARNING_RATES, RANKED, STRATEGY, require_adapter
from helpers.efficient_architectures.right_sizing.frozen import as_model
from helpers.lab.data.task import Task
from helpers.lab.data.tokenizer import TextEncoder, pad_for
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card
from helpers.lab.models.torch import MeanPoolClassifier, TorchTextModel, count_parameters
from helpers.lab.progress import Progress, silent
from helpers.lab.training.baselines import card_of
from helpers.lab.training.fine_tuning import BATCH, fine_tune
from helpers.lab.training.heads import fit_linear_head, pretrained
from helpers.lab.training.weights import MINILM

# Query and value alone: all matrices, with dropout, took twice the time and 4.5 times the parameters, and came no
# nearer to full fine-tuning on `tickets` (both 0.97 points short over 5 seeds).
LORA_SITES = ["query", "value"]
IA3_SITES = r".*attention\.self\.(key|value)|.*layer\.\d+\.output\.dense"
IA3_FEED_FORWARD = r".*layer\.\d+\.output\.dense"


ADDED = ("ia3", "lora", "bottleneck")  # kinds that add layers to the encoder


class AdaptedModel(TorchTextModel):
    """A text classifier whose encoder has an adapter's layers in it; saved with what rebuilds them.

    Args:
        kind: one of ADDED; rank: see tune.
    """

    runtime = "adapters"

    def __init__(self, card: Card, encoder: TextEncoder, module: MeanPoolClassifier, kind: str, rank: int) -> None:
        super().__init__(card, encoder, module)
        self.kind, self.rank = kind, rank

    def _save_artefact(self, path: Path) -> None:
        super()._save_artefact(path)
        (path / "adapter.json").write_text(json.dumps({"kind": self.kind, "rank": self.rank}), encoding="utf-8")

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        adapter, config = (json.loads((path / name).read_text(encoding="utf-8"))
                           for name in ("adapter.json", "config.json"))
        config.pop("head")  # always the mean's
        body = AutoModel.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
        module = MeanPoolClassifier(body, card.classes)
        freeze_all_but(module, **adapter)
        module.load_state_dict(load_file(path / "weights.safetensors"))
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


def tune(task: Task, kind: str, *, rank: int = 8, encoder: str | Path = MINILM, epochs: float = 2.0,
         seed: int = 0, progress: Progress = silent) -> Tuned:
    """Adapt an encoder to a task in one of six ways; the head is fitted on the frozen encoder first in all of them.

    Args:
        kind: "probe" (head only), "bitfit" (biases), "ia3" (scales), "lora" (rank-r updates of query and
            value), "bottleneck" (Houlsby's layers and the norms), "full" (everything).
        rank: of "lora" and "bottleneck"; the others have none.

    Raises:
        InputError: an unknown kind, or a rank below 1.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.efficient_architectures import tune
    >>> from helpers.lab import load_task
    >>> tuned = tune(load_task("tickets"), "lora", rank=8)  # doctest: +SKIP
    >>> tuned.trainable  # doctest: +SKIP
    73728
    """
    require_adapter(kind, rank)
    module, tokenizer = with_fitted_head(task, encoder, progress)
    return train_as(module, tokenizer, task, kind, rank=rank, epochs=epochs, seed=seed, progress=progress)


def with_fitted_head(task: Task, encoder: str | Path = MINILM,
                     progress: Progress = silent) -> tuple[MeanPoolClassifier, TextEncoder]:
    """Where every way starts: the published encoder under a head fitted on its embeddings; and its tokenizer."""
    module, tokenizer = pretrained(encoder, len(task.labels))
    fit_linear_head(module, tokenizer.encode(task.train["text"][:]), task.train["label"][:], progress)
    return module, tokenizer


def train_as(module: MeanPoolClassifier, tokenizer: TextEncoder, task: Task, kind: str, *, rank: int, epochs: float,
             learning_rate: float | None = None, seed: int = 0, progress: Progress = silent) -> Tuned:
    """Adapt a module whose head is fitted already, in one of tune's ways; it is changed in place.

    Args:
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
    head = count_parameters(module.classifier)
    trainable = sum(tensor.numel() for tensor in delta.values()) - head
    name, ranked = (f"{kind} rank {rank}", {"rank": rank}) if kind in RANKED else (kind, {})
    card = card_of(f"MiniLM-L6, {name}", task, tokenizer, module, strategy=STRATEGY,
                   made_in_s=time.perf_counter() - began, adapter=kind, trained=trainable, seed=seed, **ranked)
    model = (AdaptedModel(card, tokenizer, module, kind, rank) if kind in ADDED else
             TorchTextModel(card, tokenizer, module))
    return Tuned(model, kind, rank, delta, trainable, head, train_s, memory)


def freeze_all_but(module: MeanPoolClassifier, kind: str, rank: int) -> None:
    """Put the adapter's layers in, and leave only what the kind trains (and the head) trainable; in place."""
    require_adapter(kind, rank)
    module.requires_grad_(kind == "full")
    encoder = module.encoder
    if kind == "bitfit":
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
    elif kind == "bottleneck":
        add_bottlenecks(encoder, rank)
        for layer in encoder.modules():  # the paper trains the norms as well
            if isinstance(layer, nn.LayerNorm):
                layer.requires_grad_(True)
    elif kind == "lora":
        config = LoraConfig(r=rank, lora_alpha=LORA_SCALE * rank, target_modules=LORA_SITES)
        inject_adapter_in_model(config, encoder)
    elif kind == "ia3":
        inject_adapter_in_model(IA3Config(target_modules=IA3_SITES, feedforward_modules=IA3_FEED_FORWARD), encoder)
    if kind != "full" and getattr(encoder, "pooler", None) is not None:
        encoder.pooler.requires_grad_(False)  # the mean of the token vectors does not pass it
    module.classifier.requires_grad_(True)


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
