"""Models that transformers reads from a folder: whole, of sane sizes, and without running any code of the folder."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from helpers.lab.data.tokenizer import TextEncoder, pad_for, read_facts
from helpers.lab.errors import InputError, reason
from helpers.lab.models.packing import require_sizes
from helpers.lab.models.torch import position_limit

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# All that an encoder is made of; two folders with the same contents are the same encoder, wherever they stand.
FACTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json")
FALLBACK_TOKENS = 512  # the limit of a model that names none
_MAX_TOKENS = 2**27  # a tokenizer without a limit names one of 30 digits
PADDING_MAY_MOVE = 1e-3  # of the largest number of the answer: sums in another order move it by some 1e-6
_FLOATS = {"F64", "F32", "F16", "BF16"}


def read_checkpoint(kind: Any, folder: Path, may_lack: str | None = None) -> nn.Module:
    """A model of a folder in fp32, by one of transformers' Auto classes; no code of the folder is ever run.

    Args:
        may_lack: part of the names of weights that are not used here, such as an encoder's pooler.

    Raises:
        InputError: the folder is damaged, needs its own code, or lacks weights, which would stay random; or the
            model cannot answer on token ids alone.
    """
    config = read_config(folder)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(f"The model in '{folder.name}' is a {config.model_type}, an encoder with a decoder behind it; "
                         "these are not supported. Give an encoder (BERT, RoBERTa, …) or a decoder (GPT-2, Llama, …).")
    stored = _stored(folder)
    try:
        require_sizes(config, lambda: kind.from_config(config), {name: shape for name, (_, shape) in stored.items()},
                      at_most=2)
        module, info = kind.from_pretrained(folder, config=config, dtype=torch.float32, trust_remote_code=False,
                                            local_files_only=True, use_safetensors=True, output_loading_info=True)
    except Exception as error:  # damage shows in many ways: JSON, safetensors, shapes, code that is refused
        raise _unreadable(folder, error) from error
    lacking = sorted(name for name in info["missing_keys"] if may_lack is None or may_lack not in name)
    if lacking or info["mismatched_keys"]:
        names = ", ".join(lacking[:3] or [str(next(iter(info["mismatched_keys"]))[0])])
        raise InputError(f"The model in '{folder.name}' lacks weights that it needs ({names}): they would stay random. "
                         "Give a checkpoint that was trained for classifying, or train one: "
                         "baseline(task, encoder=...).")
    _require_numbers(module, stored, folder)
    _require_answers(module.eval(), folder)
    return module


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration of a folder; no code of the folder is ever run.

    Raises:
        InputError: it is damaged, or needs its own code.
    """
    read_facts(folder / "config.json")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # unknown architectures, values that a configuration refuses, code that is refused
        raise InputError(f"The configuration of '{folder.name}' cannot be read ({reason(error)}). "
                         "A folder's code is never run.") from error


def read_tokenizer(folder: Path, module: nn.Module, max_length: int | None = None) -> TextEncoder:
    """The tokenizer of a folder for the model of that folder, whose padding token it sets.

    Args:
        max_length: tokens of a text that are read, marks such as [CLS] included; by default the model's own limit:
            what its authors wrote down (`max_seq_length`, `model_max_length`), and no more than it has positions for.

    Raises:
        InputError: a damaged tokenizer, one that is not this model's, more tokens than the model has positions for, or
            a model whose answer depends on how far a text is padded.
    """
    limit = position_limit(module)
    if max_length is not None and limit is not None and max_length > limit:
        raise InputError(f"The model in '{folder.name}' has positions for {limit} tokens: max_length={limit} at most, "
                         f"not {max_length}.")
    encoder = TextEncoder.of_checkpoint(folder, max_length or _own_limit(folder, module.config, limit))
    if encoder.max_tokens < encoder.shortest:
        raise InputError(f"max_length={encoder.max_tokens} leaves no room for a text in the model of '{folder.name}': "
                         f"give {encoder.shortest} or more.")
    known = len(module.get_input_embeddings().weight)  # I-BERT's table says its size nowhere else
    if encoder.max_id >= known:
        raise InputError(f"The tokenizer in '{folder.name}' has token numbers up to {encoder.max_id}, the model knows "
                         f"{known} tokens: they are not of one model. Get both from the same source.")
    module.config.pad_token_id = encoder.pad_id
    _require_padding_ignored(module, encoder, known, folder)
    return encoder


def content_digest(folder: Path) -> str:
    """64 hex digits over the configuration, the tokenizer and the weights of a folder, wherever it stands.

    Raises:
        InputError: weights that are not there, or a file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in [folder / name for name in FACTS if (folder / name).is_file()] + list(_weight_files(folder)):
        try:
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise _unreadable(folder, error) from error
    return digest.hexdigest()


def _own_limit(folder: Path, config: PretrainedConfig, positions: int | None) -> int:
    """Tokens that a model reads where nobody says otherwise."""
    named = [read_facts(folder / "sentence_bert_config.json").get("max_seq_length"),
             read_facts(folder / "tokenizer_config.json").get("model_max_length"), positions,
             getattr(config, "max_position_embeddings", None)]
    return min((int(one) for one in named if isinstance(one, int | float) and 0 < one < _MAX_TOKENS),
               default=FALLBACK_TOKENS)


def _weight_files(folder: Path) -> Iterator[Path]:
    """The files with the weights: one, or the ones that an index names, all of them in this folder.

    Raises:
        InputError: a damaged index, one that names files elsewhere, or a file that is not there.
    """
    if (folder / WEIGHTS).is_file():
        yield folder / WEIGHTS
        return
    named = read_facts(folder / INDEX).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise InputError(f"The model folder '{folder.name}' has no {WEIGHTS}, and no {INDEX} that names its parts.")
    for name in sorted({str(one) for one in named.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"The index of the weights in '{folder.name}' names '{name}', which is no safetensors "
                             "file of this folder. Get the model again.")
        if not (folder / name).is_file():
            raise InputError(f"The weights in '{folder.name}' are incomplete: {name}, which {INDEX} names, is missing. "
                             "Get that file, too.")
        yield folder / name


def _stored(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> (type, shape) of all stored weights, from the headers of their files."""
    if (folder / "adapter_config.json").exists():
        raise InputError(f"The folder '{folder.name}' holds an adapter (adapter_config.json). Merge it into its model: "
                         "model.merge_and_unload().save_pretrained(...).")
    stored: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in _weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
                stored |= {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
        except Exception as error:  # safetensors raises its own errors for each kind of damage
            raise _unreadable(folder, error) from error
    return stored


def _unreadable(folder: Path, error: Exception) -> InputError:
    return InputError(f"The model in '{folder.name}' cannot be read ({reason(error)}). Its code is "
                      "never run; if it needs none, the files are damaged: get them again.")


def _require_numbers(module: nn.Module, stored: dict, folder: Path) -> None:
    """Refuse weights that are no finite floating-point numbers: quantized ones would be read without their scales."""
    names = [name for name, _ in module.named_parameters()]
    for name, (kind, _) in stored.items():
        if kind not in _FLOATS and any(one == name or one.endswith(f".{name}") or name.endswith(f".{one}")
                                       for one in names):
            raise InputError(f"The weights '{name}' in '{folder.name}' are stored as {kind}, not as floating-point "
                             "numbers. Give the model as it was before it was quantized.")
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            raise InputError(f"The weights '{name}' in '{folder.name}' hold values that are not finite (NaN or "
                             "infinite): its training failed, or the file is damaged. Give another checkpoint.")


@torch.inference_mode()
def _require_answers(module: nn.Module, folder: Path) -> None:
    """Refuse what does not answer on token ids: models of images or sound, values that no layer can work with."""
    try:
        ids = torch.zeros(1, 3, dtype=torch.int64)
        answer = module(input_ids=ids, attention_mask=torch.ones_like(ids))
        expected = [answer.logits.shape == (1, module.config.num_labels), answer.logits.isfinite().all()] if hasattr(
            answer, "logits") else [answer.last_hidden_state.shape == (1, 3, module.config.hidden_size),
                                    answer.last_hidden_state.isfinite().all()]
        if not all(expected):
            raise ValueError("its answer has another shape than its configuration says, or is not finite")
    except Exception as error:  # each architecture has its own
        raise InputError(f"The model in '{folder.name}' (a {module.config.model_type}) does not answer on the tokens "
                         f"of a text ({reason(error)}). Give one that reads text.") from error


@torch.inference_mode()
def _require_padding_ignored(module: nn.Module, encoder: TextEncoder, known: int, folder: Path) -> None:
    """Refuse layers that mix padding into a text's tokens: its answer would hang on which texts share the batch.

    FNet's Fourier transform, ConvBERT's and Nyströmformer's convolutions and YOSO's hashes do so, whatever the mask.
    """
    ids = [one for one in range(known) if one != encoder.pad_id][-12:][:encoder.max_tokens]
    short = ids[:3]
    alone, beside = (module(**dict(zip(("input_ids", "attention_mask"), map(torch.from_numpy, pad_for(module, rows)),
                                       strict=True))) for rows in ([short], [short, ids]))
    one, other = (answer.logits[0] if hasattr(answer, "logits") else answer.last_hidden_state[0, :len(short)]
                  for answer in (alone, beside))
    apart = (one - other).abs().max().item()
    if not apart <= PADDING_MAY_MOVE * one.abs().max().item():
        raise InputError(f"The model in '{folder.name}' (a {module.config.model_type}) answers a text otherwise alone "
                         f"and padded beside a longer one, by {apart:.2g}: its layers read the padding, and here "
                         "texts are answered in batches. Give an encoder that heeds its mask (BERT, RoBERTa, …).")
