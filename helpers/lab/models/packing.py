"""Weights in files: in few bits, as classifiers that transformers has, and no more of them than there are stored."""

import copy
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerFast

from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.errors import InputError
from helpers.lab.paths import replacing

_MARK = ".packed"
_MAX_NUMBER = 2**27  # larger than any size of a published model; the bases of rotary positions are exempt
_MAX_PLACES = 2**16  # of a table of positions that is computed when the model is built

# Encoders whose sequence classifier can be given a mean of token vectors, see `as_sequence_classifier`: where their
# layers stand; of a layer the linear layers of query, key, value and attention's output, the one that ends the
# feed-forward network, and the two norms; the name of the number of layers; the head's two linear layers.
_BERT = (("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
          "output.dense"), ("attention.output.LayerNorm", "output.LayerNorm"), "num_hidden_layers")
_DISTILBERT = (("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin2"),
               ("sa_layer_norm", "output_layer_norm"), "n_layers")
_MEAN_AS_A_LAYER = {
    "bert": ("encoder.layer", *_BERT, ("bert.pooler.dense", "classifier")),
    "electra": ("encoder.layer", *_BERT, ("classifier.dense", "classifier.out_proj")),
    "distilbert": ("transformer.layer", *_DISTILBERT, ("pre_classifier", "classifier")),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"),
                    ("encoder.layer", *_BERT, ("classifier.dense", "classifier.out_proj")))}
_TANH = {"bert", "roberta", "xlm-roberta", "camembert"}  # between the head's two layers; else x -> gelu(x) or relu(x)


@dataclasses.dataclass(frozen=True)
class PackedWeight:
    """weight[r, c] = codes[r, c] * scale[r, c // group_size].

    codes: (rows, columns) int8 in [-2^(bits-1), 2^(bits-1) - 1]; scale: (rows, groups) float16;
    transposed: the layer keeps its weight as (columns, rows), as GPT-2's do.
    """

    bits: int
    group_size: int
    codes: Tensor
    scale: Tensor
    transposed: bool = False

    def dequantize(self) -> Tensor:
        """(rows, columns) float32; the other way round where the layer keeps it so."""
        weight = self.codes.float() * self.scale.float().repeat_interleave(self.group_size, dim=1)
        return weight.T.contiguous() if self.transposed else weight


def pack(name: str, weight: PackedWeight) -> dict[str, Tensor]:
    """Tensors to store: a bit string of all codes, the scales, and (bits, group size, rows, columns).

    Behind these four stands a 1 if the layer keeps its weight transposed.
    """
    codes = (weight.codes.cpu().numpy().astype(np.int16) + 2 ** (weight.bits - 1)).astype(np.uint8)
    bits = np.unpackbits(codes.reshape(-1, 1), axis=1)[:, 8 - weight.bits:]
    shape = torch.tensor([weight.bits, weight.group_size, *weight.codes.shape, *[1] * weight.transposed])
    return {f"{name}{_MARK}.codes": torch.from_numpy(np.packbits(bits)),
            f"{name}{_MARK}.scale": weight.scale.cpu().contiguous(), f"{name}{_MARK}.shape": shape}


def unpack(stored: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, PackedWeight]]:
    """The state dict with packed weights made float again, and the packed weights themselves."""
    weights = {name: tensor for name, tensor in stored.items() if f"{_MARK}." not in name}
    packed = {}
    for key in (key for key in stored if key.endswith(f"{_MARK}.shape")):
        name = key.removesuffix(f"{_MARK}.shape")
        bits, group_size, rows, columns, *transposed = stored[key].tolist()
        flat = np.unpackbits(stored[f"{name}{_MARK}.codes"].numpy())[:rows * columns * bits].reshape(-1, bits)
        padded = np.zeros((len(flat), 8), np.uint8)
        padded[:, 8 - bits:] = flat
        codes = np.packbits(padded, axis=1).astype(np.int16).reshape(rows, columns) - 2 ** (bits - 1)
        packed[name] = PackedWeight(bits, group_size, torch.from_numpy(codes.astype(np.int8)),
                                    stored[f"{name}{_MARK}.scale"], bool(transposed))
        weights[f"{name}.weight"] = packed[name].dequantize()
    return weights, packed


def as_sequence_classifier(encoder: nn.Module, head: nn.Linear) -> nn.Module:
    """A sequence classifier of transformers with the logits of `head` on the mean of the encoder's token vectors.

    ModernBERT's takes the mean by itself. The others read the first token: they get one more layer, whose attention is
    even over all tokens (queries and keys are 0), so that the first token holds the mean. The norms of that layer get
    numbers so small that their epsilon outweighs the variance: they multiply then, and do nothing else. What the first
    token held before is scaled down by 2^-26, which leaves less of it than fp32 keeps. So the numbers of this layer lie
    far apart: it is for fp32 and bf16, and for answering, not for training on.

    Raises:
        InputError: another architecture, or an encoder whose configuration does not describe its layers' sizes.
    """
    config = copy.deepcopy(encoder.config)
    kind = config.model_type
    if kind not in (*_MEAN_AS_A_LAYER, "modernbert"):
        raise InputError(f"transformers has no classifier of the architecture {kind} that takes the mean of the token "
                         f"vectors. Types that can be written: {', '.join([*_MEAN_AS_A_LAYER, 'modernbert'])}.")
    config.num_labels = head.out_features
    if kind == "modernbert":
        config.classifier_pooling, config.classifier_activation = "mean", "linear"
    else:
        _, _, _, count, _ = _MEAN_AS_A_LAYER[kind]
        setattr(config, count, getattr(config, count) + 1)
    classifier = AutoModelForSequenceClassification.from_config(config).eval()
    body = classifier.base_model.state_dict()
    given = {name: tensor for name, tensor in encoder.state_dict().items() if name in body}
    for name in encoder.state_dict():
        if "pooler" not in name and (name not in given or given[name].shape != body[name].shape):
            raise _indescribable(name, config)
    classifier.base_model.load_state_dict({name: tensor for name, tensor in given.items() if "pooler" not in name},
                                          strict=False)
    with torch.no_grad():
        (_mean_of_modernbert if kind == "modernbert" else _mean_as_a_layer)(classifier, head)
    return classifier


def _mean_as_a_layer(classifier: nn.Module, head: nn.Linear) -> None:
    """Fill the last layer and the head, in place; the last norm's numbers go into the head."""
    kind = classifier.config.model_type
    where, linear, norms, _, ends = _MEAN_AS_A_LAYER[kind]
    before, last = classifier.base_model.get_submodule(where)[-2:]
    query, key, value, out, feed = map(last.get_submodule, linear)
    inner, outer = map(last.get_submodule, norms)
    closing = before.get_submodule(norms[1])
    weight, bias = head.weight * closing.weight, head.bias + head.weight @ closing.bias  # on the norm's bare output
    deviation = math.sqrt(outer.eps)
    small = 2.0 ** (math.floor(math.log2(deviation)) - 12)  # its square is 2^-24 of epsilon
    closing.weight.fill_(small * 2.0 ** -26)
    eye = torch.eye(head.in_features)
    for layer, values in ((query, 0 * eye), (key, 0 * eye), (value, eye * 2.0 ** 13), (out, eye * 2.0 ** 13)):
        layer.weight.copy_(values)
    feed.weight.zero_()
    shrunk = 2.0 ** -14  # at which tanh is a straight line
    inner.weight.fill_(deviation)
    outer.weight.fill_(shrunk * deviation / small)
    first, second = map(classifier.get_submodule, ends)
    for part in (query, key, value, out, feed, inner, outer, closing, first):
        part.bias.zero_()
    if kind in _TANH:
        first.weight.copy_(eye)
        second.weight.copy_(weight / shrunk)
    else:
        _in_pairs(first, second, weight, 1 / shrunk)
    second.bias.copy_(bias)


def _mean_of_modernbert(classifier: nn.Module, head: nn.Linear) -> None:
    """Fill the head, in place: its norm, too, gets numbers below its epsilon."""
    first, norm, second = classifier.head.dense, classifier.head.norm, classifier.classifier
    closing = classifier.base_model.final_norm
    most = (head.weight * closing.weight).norm(dim=1).max() * math.sqrt(head.in_features)  # no logit is larger
    small = math.sqrt(norm.eps) * 2.0 ** -12 / float(most)
    _in_pairs(first, second, head.weight * small, 0.5)
    norm.weight.fill_(math.sqrt(norm.eps) / small)
    for part in (first, norm):
        if part.bias is not None:
            part.bias.zero_()
    second.bias.copy_(head.bias)


def _in_pairs(first: nn.Linear, second: nn.Linear, weight: Tensor, scale: float) -> None:
    """Rows w and -w, and their difference: f(x) - f(-x) = x where f is a ReLU, GELU or SiLU."""
    classes = len(weight)
    if 2 * classes > first.out_features:
        raise InputError(f"{classes} classes are too many for a head of {first.out_features} hidden values: at most "
                         "half as many can be written as a classifier of transformers.")
    first.weight.zero_()
    first.weight[:2 * classes] = torch.cat([weight, -weight])
    second.weight.zero_()
    second.weight[:, :classes], second.weight[:, classes:2 * classes] = (sign * scale * torch.eye(classes)
                                                                        for sign in (1, -1))


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        InputError: a full disk, or a folder that cannot be written.
    """
    with replacing(path) as unfinished:
        save_file(weights, unfinished)


def write_for_transformers(classifier: nn.Module, labels: Sequence[str], encoder: TextEncoder, folder: Path) -> None:
    """Write a sequence classifier of transformers, and its tokenizer, into a new folder: whole or not at all.

    Raises:
        InputError: its configuration does not describe its weights, transformers would take another tokenizer for this
            architecture, or the folder cannot be written.
    """
    config = classifier.config
    with torch.device("meta"):  # shapes without numbers
        plain = type(classifier)(copy.deepcopy(config))
    shapes, expected = ({name: weight.shape for name, weight in module.state_dict().items()}
                        for module in (classifier, plain))
    if odd := [name for name in {**expected, **shapes} if shapes.get(name) != expected.get(name)]:
        raise _indescribable(odd[0], config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.problem_type, config.pad_token_id = "single_label_classification", encoder.pad_id
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(encoder.to_json()), pad_token=encoder.pad_token,
        unk_token=encoder.unknown_token, model_max_length=encoder.max_tokens,
        model_input_names=["input_ids", "attention_mask"], padding_side="right", truncation_side="right")
    with replacing(folder) as unfinished:
        classifier.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        texts = ["The quick brown fox, 3 of 17!", "Gr\u00f6\u00dfe caf\u00e9 \u58f9\u8cb3  2 blanks", *labels]
        read = AutoTokenizer.from_pretrained(unfinished)(texts, truncation=True)["input_ids"]
        if [ids or [encoder.pad_id] for ids in read] != encoder.encode(texts):
            raise InputError(f"For a {config.model_type} transformers takes its own tokenizer, which reads "
                             "other tokens than this model's: it cannot be written for transformers.")


def _indescribable(name: str, config: PretrainedConfig) -> InputError:
    return InputError(f"A configuration of transformers cannot describe the weights '{name}' of this "
                      f"{config.model_type}: layers of different widths, and adapters, are saved by save() only.")


def require_sizes(config: PretrainedConfig, build: Callable[[], nn.Module], stored: Mapping[str, tuple[int, ...]],
                  at_most: int) -> None:
    """Refuse a configuration that asks for far more than its weights fill: building it would take all memory.

    Args:
        build: the module of the configuration; called where numbers have shapes only.
        stored: the shapes of the weights by name.
        at_most: how many times as many numbers as are stored the module may have.

    Raises:
        ValueError: what does not fit.
    """
    rotary = any("rope" in key or "rotary" in key for key in config.to_dict())
    rows = max((shape[0] for shape in stored.values() if len(shape)), default=0)
    for key, number in _numbers(config.to_dict()):
        layers = re.search(r"layers?$|blocks?$|depth$", key) and number > max(len(stored), 64)
        places = "position" in key and not rotary and number > max(_MAX_PLACES, rows)
        if layers or places or (abs(number) > _MAX_NUMBER and not re.search("theta|base", key)):
            raise ValueError(f"{key} is {number:,}, which does not fit the weights")
    with torch.device("meta"):
        needed = sum(weight.numel() for weight in build().parameters())
    given = sum(math.prod(shape) for shape in stored.values())
    if needed > at_most * given + 2**20:
        raise ValueError(f"config.json asks for {needed:,} numbers, and the weights hold {given:,}")


def _numbers(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, int]]:
    """(name, number) of all whole numbers in a configuration, however deep."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{path}{key}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield f"{path}{key}", value
