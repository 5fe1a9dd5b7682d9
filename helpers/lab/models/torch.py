"""Text classifiers in PyTorch."""

import copy
import hashlib
import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.models.model import Card, TextModel
from helpers.lab.models.modules.classifiers import (
    MeanPoolClassifier,
    OwnHeadClassifier,
    build_module,
    fit_shapes,
    linear_only,
)
from helpers.lab.models.packing import (
    as_sequence_classifier,
    pack,
    require_sizes,
    save_weights,
    unpack,
    write_for_transformers,
)
from helpers.lab.paths import write_atomically

transformers.utils.logging.disable_progress_bar()


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchTextModel(TextModel):
    """A module `(input_ids, attention_mask) -> logits`, run eagerly.

    `packed` holds quantized weights, module name -> PackedWeight: they are what is saved, and are
    unpacked into float when loaded, so that memory and time are those of the float model.
    """

    runtime = "pytorch"

    def __init__(self, card: Card, encoder: TextEncoder, module: nn.Module, packed: dict | None = None) -> None:
        super().__init__(card, encoder)
        self.module = module.eval().to(device())
        self.packed = packed or {}

    @torch.inference_mode()
    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        target = next(self.module.parameters()).device
        logits = self.module(torch.from_numpy(ids).to(target), torch.from_numpy(mask).to(target))
        return logits.float().cpu().numpy()

    def to_transformers(self, folder: str | Path) -> Path:
        """Write a new folder that transformers opens without this package, with the same logits and labels.

        A head on the mean of token vectors, as `baseline` makes it, becomes one more layer of the encoder: see
        `as_sequence_classifier`. Quantized weights are written as the floating-point numbers that they stand for.

        Raises:
            InputError: a model that transformers' configuration cannot express (layers pruned to different widths,
                adapters, PyTorch's own int8), or a folder that is there already.

        >>> from helpers.lab import baseline, load_task
        >>> baseline(load_task("tickets")).to_transformers("my_folder")  # doctest: +SKIP
        >>> transformers.pipeline("text-classification", "my_folder")("Where is my parcel?")  # doctest: +SKIP
        [{'label': 'delivery_late', 'score': 0.98}]
        """
        folder = Path(folder)
        if folder.exists():
            raise InputError(f"'{folder.name}' is there already; name a new folder, which is written whole.")
        labels = self.card.labels or tuple(str(number) for number in range(self.card.classes))
        write_for_transformers(self._classifier(), labels, self.encoder, folder)
        return folder

    def _classifier(self) -> nn.Module:
        """A sequence classifier of transformers that gives this model's logits; a copy."""
        if isinstance(self.module, MeanPoolClassifier):
            module = copy.deepcopy(self.module).cpu()
            return as_sequence_classifier(module.encoder, module.classifier)
        if not isinstance(self.module, OwnHeadClassifier):
            raise InputError(f"'{self.card.name}' cannot be written for transformers: a {type(self.module).__name__} "
                             "is none of its models. Take the PyTorch model that it was made from.")
        return copy.deepcopy(self.module.classifier).cpu()

    def _save_artefact(self, path: Path, **facts: str) -> None:
        weights = {name: tensor.contiguous() for name, tensor in self.module.state_dict().items()
                   if not name.endswith(".position_ids")}
        if type(self)._load_artefact.__func__ is TorchTextModel._load_artefact.__func__:  # others build their own way
            self._require_restorable(weights)
        config = {"head": self.module.head, **facts, **self.module.config.to_dict()}
        write_atomically(path / "config.json", json.dumps(config))
        for name, weight in self.packed.items():
            del weights[f"{name}.weight"]
            weights |= pack(name, weight)
        save_weights(weights, path / "weights.safetensors")

    def _require_restorable(self, weights: dict[str, Tensor]) -> None:
        """Refuse a module that its configuration, its head and the shapes of its weights do not describe."""
        if type(self.module) not in (MeanPoolClassifier, OwnHeadClassifier):
            raise InputError(f"'{self.card.name}' cannot be saved: a {type(self.module).__name__} is a module that "
                             "`load` does not know how to build.")
        with torch.device("meta"):  # shapes without numbers
            rebuilt = build_module(self.module.head, self.module.config, self.card.classes)
        expected = {name for name in rebuilt.state_dict() if not name.endswith(".position_ids")}
        if unexpected := sorted(expected ^ set(weights)):
            raise InputError(f"'{self.card.name}' cannot be saved: its configuration does not describe the weights "
                             f"'{unexpected[0]}', so that `load` could not build it.")

    @classmethod
    def _load_artefact(cls, path: Path, card: Card, encoder: TextEncoder) -> Self:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        head, form = config.pop("head"), config.pop("form", None)
        config = AutoConfig.for_model(config.pop("model_type"), **config)
        weights, packed = unpack(load_file(path / "weights.safetensors"))
        require_sizes(config, lambda: build_module(head, config, card.classes),
                      {name: tensor.shape for name, tensor in weights.items()}, at_most=8)  # pruned ones are smaller
        module = build_module(head, config, card.classes)
        dtype = next(tensor.dtype for tensor in weights.values() if tensor.is_floating_point())
        fit_shapes(module, weights)
        module.to(dtype).load_state_dict(weights)
        model = TorchTextModel(card, encoder, module, packed)
        if model.predict(["", "a text"]).shape != (2, card.classes):  # values that show only when they are used
            raise ValueError("the module does not answer as its card says")
        return RemadeModel.forms[form](card, model) if form else model


class RemadeModel(TorchTextModel):
    """A form of a PyTorch model that cannot be stored: its source's weights are saved, and `load` makes it again."""

    form: str
    forms: ClassVar[dict[str, type["RemadeModel"]]] = {}

    def __init_subclass__(cls) -> None:
        RemadeModel.forms[cls.form] = cls

    def __init__(self, card: Card, source: TorchTextModel) -> None:
        self._source = source
        super().__init__(card, source.encoder, self._remake(source.module))

    def _remake(self, module: nn.Module) -> nn.Module:
        return module

    def _classifier(self) -> nn.Module:
        if self.module is self._source.module:
            return super()._classifier()
        raise InputError(f"'{self.card.name}' cannot be written for transformers: its form ({self.form}) is PyTorch's "
                         f"own. Write '{self._source.card.name}', which it was made from.")

    def _save_artefact(self, path: Path, **facts: str) -> None:
        if type(self._source) is not TorchTextModel:
            raise InputError(f"'{self.card.name}' cannot be saved: it was made from '{self._source.card.name}', which "
                             "is stored in another way. Make it from a plain PyTorch model.")
        self._source._save_artefact(path, form=self.form)


# What encoders and decoders call their table of learned, or once computed, positions
POSITION_TABLES = ("position_embeddings", "embed_positions", "wpe", "positions_embed")


class PaddedModel(RemadeModel):
    """Each row as wide as the setting `padding` says, whatever it holds; as many tutorials do."""

    form = "padded"

    def __init__(self, card: Card, source: TorchTextModel) -> None:
        if card.settings.get("padding", 0) < 1:
            raise InputError("Rows are padded to at least one token: padding=128, for one.")
        if card.settings["padding"] > (limit := position_limit(source.module) or card.settings["padding"]):
            raise InputError(f"'{source.card.name}' has positions for {limit} tokens: padding={limit} at most.")
        super().__init__(card, source)

    def _logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        wider = ((0, 0), (0, max(0, self.card.settings["padding"] - ids.shape[1])))
        return super()._logits(np.pad(ids, wider, constant_values=self.encoder.pad_id), np.pad(mask, wider))


class DynamicInt8Model(RemadeModel):
    """PyTorch's own dynamic int8 of all linear layers: for CPUs, deprecated, and still the documented recipe."""

    form = "dynamic int8"

    def _remake(self, module: nn.Module) -> nn.Module:
        if next(module.parameters()).is_cuda:
            raise InputError("PyTorch's dynamic int8 runs on CPUs only.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.ao.quantization.quantize_dynamic(linear_only(copy.deepcopy(module)), {nn.Linear},
                                                          dtype=torch.qint8, inplace=True)


class CompiledModel(RemadeModel):
    """Inductor with dynamic shapes: one compilation for all batches and lengths but those of 1, when first called."""

    form = "compiled"

    def _remake(self, module: nn.Module) -> nn.Module:
        if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
            raise InputError("torch.compile needs a C++ compiler, and there is none here: install g++.")
        logging.getLogger("torch._inductor").setLevel(logging.ERROR)
        return torch.compile(module, dynamic=True)


def _attention_flops(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: object,
                     **__: object) -> int:
    """Of (n, heads, length, width) shapes; keys and values may have fewer heads, each used several times."""
    n, heads, length, width = query
    return 2 * n * heads * length * key[2] * (width + value[3])


# PyTorch's counter knows no attention of CPUs, and on GPUs none in which several heads share keys and values.
ATTENTION_FLOPS = dict.fromkeys((
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, torch.ops.aten._scaled_dot_product_flash_attention,
    torch.ops.aten._scaled_dot_product_efficient_attention, torch.ops.aten._scaled_dot_product_cudnn_attention,
), _attention_flops)


def count_macs(module: nn.Module, tokens: int) -> int:
    """Multiply-accumulates of one input of that many tokens, counted while it runs once."""
    target = next(module.parameters()).device
    ids = torch.ones(1, max(1, tokens), dtype=torch.int64, device=target)
    # With gradients, although none is taken: the counter cannot follow DeBERTa's functions without.
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_FLOPS) as counter, torch.enable_grad():
        module(ids, torch.ones_like(ids))
    return counter.get_total_flops() // 2


def model_digest(model: TorchTextModel) -> str:
    """64 hex digits over all that its logits depend on: weights, configuration, tokenizer and its limit."""
    if isinstance(model, RemadeModel):
        model = model._source
    encoder, config = model.encoder, model.module.config.to_dict()
    digest = hashlib.sha256(json.dumps([config, encoder.max_tokens, encoder.pad_id], sort_keys=True,
                                       default=str).encode() + encoder.to_json().encode())
    for name, tensor in model.module.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype}".encode() + values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def position_limit(module: nn.Module) -> int | None:
    """The longest row of ids that the model has positions for; None where they are relative or rotary.

    RoBERTa's family counts positions from behind the padding token's number, so its table has more rows than places.
    """
    for name, part in module.named_modules():
        if name.rpartition(".")[2] in POSITION_TABLES and hasattr(part, "padding_idx"):  # I-BERT has its own class
            named = getattr(module.config, "max_position_embeddings", None)
            rows = len(part.weight) if part.padding_idx is None else len(part.weight) - part.padding_idx - 1
            return min(rows, named) if isinstance(named, int) else rows
    return None


def count_parameters(module: nn.Module) -> int:
    """Trainable and frozen numbers in the weights."""
    return sum(parameter.numel() for parameter in module.parameters())


def linear_layers(module: nn.Module) -> list[str]:
    """Names of a module's linear layers, GPT-2's transposed ones included, from input to output."""
    return [name for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, Conv1D))]
