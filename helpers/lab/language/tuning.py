"""Tuning a language model, with LoRA to answer as examples do, or all of it on texts; and writing it as GGUF."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn
from torch.nn import functional
from transformers import PretrainedConfig

from helpers.lab.errors import InputError
from helpers.lab.language.gguf import rewrite_gguf
from helpers.lab.progress import Progress, silent
from helpers.lab.training.architectures import stacked_linear
from helpers.lab.training.fine_tuning import NOT_LEARNED, fine_tune, padded_targets

if TYPE_CHECKING:
    from helpers.lab.language.engines.model import LanguageModel, Prompt

ARCHITECTURES = ("llama", "qwen2", "qwen3")  # whose logits are the head's product alone, and whose GGUF OpenVINO reads
LEARNING_RATE = 5e-4  # LoRA bears some ten times that of all weights
SCALE = 2  # of the update, for each rank alike (lora_alpha = 2 rank)
BATCH = 8
MAX_TEXT = 256  # tokens of a text that are learned
_FULL_LEARNING_RATE = 5e-5  # of all weights
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"  # peft's, which OpenVINO GenAI reads too


def tune(llm: "LanguageModel", rows: "Sequence[tuple[Prompt, str]]", *, rank: int = 8, epochs: float = 2.0,
         seed: int = 0, progress: Progress = silent) -> "LanguageModel":
    """The model tuned to give these answers: LoRA on all matrices of its layers, then merged into them.

    The loss is that of the answers and of the token that ends them; prompts are read, not learned (Hu et al., 2021,
    for LoRA; all matrices, as Dettmers et al., 2023, found to be needed).

    Args:
        llm: in the engine "transformers", which can be trained; it stays as it is.
        rows: prompts, which the chat template is put around, and the answers wanted.
        rank: of the update of each matrix.
        epochs: over the rows.

    Returns:
        A model of the same engine with merged weights in fp32: `write_gguf` makes it one for the others.

    Raises:
        InputError: another engine or architecture, no row, a rank below 1, or a row longer than the model reads.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.lab import load_language_model
    >>> from helpers.lab.language.tuning import tune
    >>> llm = load_language_model("smollm2", "transformers")  # doctest: +SKIP
    >>> tune(llm, [("2 + 2 =", "five")], epochs=50).generate(["2 + 2 ="])[0].text  # doctest: +SKIP
    'five'
    """
    return merged(llm, tune_adapter(llm, rows, rank=rank, epochs=epochs, seed=seed, progress=progress))


def tune_adapter(llm: "LanguageModel", rows: "Sequence[tuple[Prompt, str]]", *, rank: int = 8, epochs: float = 2.0,
                 seed: int = 0, progress: Progress = silent) -> dict[str, Tensor]:
    """The same tuning, and what it adds to each matrix: A, (rank, in), and B, (out, rank), under peft's names.

    Args and errors: see tune.

    >>> from helpers.lab import load_language_model
    >>> from helpers.lab.language.tuning import tune_adapter
    >>> adapter = tune_adapter(load_language_model("smollm2", "transformers"), [("2 + 2 =", "five")])  # doctest: +SKIP
    >>> adapter["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"].shape  # doctest: +SKIP
    torch.Size([8, 576])
    """
    require_trainable(llm)
    if not rows or rank < 1:
        raise InputError(f"Tuning needs a row and a rank of at least 1 each, not {len(rows)} rows and rank {rank}.")
    ids, targets = _tokens(llm, rows)
    torch.manual_seed(seed)
    module = copy.deepcopy(llm.module).requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=SCALE * rank,
                                       target_modules=list(stacked_linear(module.base_model))), module)
    head = module.get_output_embeddings()

    def loss(states: Tensor, wanted: Tensor) -> Tensor:
        """Logits are computed for answers alone: of prompts they would take most of the memory."""
        wanted = wanted[:, :states.shape[1]]
        learned = wanted != NOT_LEARNED
        return functional.cross_entropy(head(states[learned]).float(), wanted[learned])

    fine_tune(_States(module), ids, targets, epochs=epochs, learning_rate=LEARNING_RATE, batch=BATCH, seed=seed,
              loss=loss, progress=progress, say="tuning")
    return {f"{_PREFIX}{name.replace('.default', '')}": parameter.detach().cpu().clone()
            for name, parameter in module.named_parameters() if ".lora_" in name}


def merged(llm: "LanguageModel", adapter: Mapping[str, Tensor]) -> "LanguageModel":
    """The model with an adapter's updates, SCALE * B @ A, added into its matrices: a plain one of the same engine.

    Raises:
        InputError: a model in another engine, or an adapter that has another model's names or shapes.
    """
    require_trainable(llm)
    module = copy.deepcopy(llm.module)
    weights = dict(module.named_parameters())
    for name in (name for name in adapter if name.endswith(_A)):
        weight = weights.get(f"{name.removeprefix(_PREFIX).removesuffix(_A)}.weight")
        update = SCALE * adapter[name.removesuffix(_A) + _B] @ adapter[name]
        if weight is None or weight.shape != update.shape:
            raise InputError(f"The adapter is of another model: '{llm.name}' has no matrix '{name}' of its shape.")
        with torch.no_grad():
            weight += update.to(weight)
    tuned = copy.copy(llm)
    tuned.module, tuned.path = module.eval(), None  # these weights are in no file
    rank = next(len(tensor) for name, tensor in adapter.items() if name.endswith(_A))
    tuned.name = f"{llm.name}, LoRA rank {rank}"
    tuned.stored = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    return tuned


def tuned_on(llm: "LanguageModel", rows: Sequence[Sequence[int]], *, epochs: float, seed: int = 0,
             progress: Progress = silent) -> nn.Module:
    """A copy of the model's module, all of whose weights have learned texts: of each the tokens after the first.

    Args:
        llm: in the engine "transformers"; it stays as it is.
        rows: token ids, of which the first MAX_TEXT are learned; rows of fewer than two tokens are left out.
        epochs: over the rows.

    Raises:
        InputError: another engine, or no row of two tokens.
        Cancelled: the caller of `progress` wants an end; it is asked at each step.

    >>> from helpers.lab import load_language_model
    >>> from helpers.lab.language.tuning import tuned_on
    >>> llm = load_language_model("smollm2", "transformers")  # doctest: +SKIP
    >>> llm.module = tuned_on(llm, llm.encode(["Where is my parcel?"]), epochs=20)  # doctest: +SKIP
    """
    _require_transformers(llm)
    rows = [row[:MAX_TEXT] for row in rows if len(row) > 1]
    if not rows:
        raise InputError("Tuning needs at least one text of two tokens: the first is given.")
    module = copy.deepcopy(llm.module)

    def loss(logits: Tensor, wanted: Tensor) -> Tensor:
        wanted = wanted[:, 1:logits.shape[1]]
        return functional.cross_entropy(logits[:, :-1].transpose(1, 2), wanted, ignore_index=NOT_LEARNED)

    fine_tune(_Logits(module), rows, padded_targets(rows), epochs=epochs, learning_rate=_FULL_LEARNING_RATE,
              batch=BATCH, seed=seed, loss=loss, progress=progress, say="tuning")
    return module.eval()


class _Logits(nn.Module):
    """A causal model as `fine_tune` calls it: (n, length) ids and mask -> (n, length, vocabulary) logits."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.config = module, module.config

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.module(input_ids=ids, attention_mask=mask, use_cache=False).logits


def _require_transformers(llm: "LanguageModel") -> None:
    if llm.engine != "transformers":
        raise InputError(f"'{llm.name}' runs in {llm.engine}, which cannot train: load it with engine='transformers'.")


def require_trainable(llm: "LanguageModel") -> None:
    """Refuse a model that cannot be tuned here and written for the other engines, before hours go into it.

    Raises:
        InputError: another engine or architecture.
    """
    _require_transformers(llm)
    kind = llm.module.config.model_type
    if kind not in ARCHITECTURES:
        raise InputError(f"'{llm.name}' is a {kind}, which cannot be tuned here. Choose one of: "
                         f"{', '.join(ARCHITECTURES)}.")


def _tokens(llm: "LanguageModel", rows: "Sequence[tuple[Prompt, str]]") -> tuple[list[list[int]], np.ndarray]:
    """Token ids of prompts with their answers; and (n, longest) int64, at each token the next one, if it is learned."""
    all_ids, all_targets = [], []
    for (prompt, _), answer in zip(rows, llm.encode([answer for _, answer in rows]), strict=True):
        before, answer = llm.read(prompt), [*answer, llm.end]
        if not before or len(before) + len(answer) > llm.context:
            raise InputError(f"A row of {len(before)} tokens of prompt and {len(answer)} of answer does not fit in the "
                             f"{llm.context:,} that '{llm.name}' reads, or has no prompt: leave it out.")
        all_ids.append([*before, *answer[:-1]])
        all_targets.append([NOT_LEARNED] * (len(before) - 1) + answer)
    return all_ids, padded_targets(all_targets)


class _States(nn.Module):
    """The last hidden states of a causal model, (n, length, hidden), which its head makes logits of."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def config(self) -> PretrainedConfig:
        return self.module.config

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.module.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def write_gguf(llm: "LanguageModel", source: Path, target: Path, kind: str = "F16", *,
               progress: Progress = silent) -> None:
    """Write a model's weights as GGUF, with the tokenizer and the other facts of the file that it was loaded from.

    Args:
        llm: in the engine "transformers".
        source: the GGUF file, see `find_language_model`.
        kind: the type of its matrices, see `rewrite_gguf`.

    Raises:
        InputError: another engine or architecture, an unknown type, or a file of another model.
        Cancelled: the caller of `progress` wants an end; nothing is left of the file.

    >>> from helpers.lab import load_language_model
    >>> from helpers.lab.language.loading import find_language_model
    >>> from helpers.lab.language.tuning import write_gguf
    >>> tuned = load_language_model("smollm2", "transformers")  # doctest: +SKIP
    >>> write_gguf(tuned, find_language_model("smollm2"), Path("tuned.gguf"))  # doctest: +SKIP
    >>> load_language_model("tuned.gguf", "llama.cpp")  # doctest: +SKIP
    """
    require_trainable(llm)
    rewrite_gguf(source, target, kind, progress, weights=_named_as_in_gguf(llm.module))


def _named_as_in_gguf(module: nn.Module) -> Mapping[str, np.ndarray]:
    """Each weight in fp32 under its name in GGUF; rows of query and key in the order that llama.cpp turns them in."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    config = module.config
    architecture = next(key for key, value in MODEL_ARCH_NAMES.items() if value == config.model_type)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    weights = {}
    for name, tensor in module.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:  # the file has the embeddings alone
            continue
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise InputError(f"The weight '{name}' has no name in GGUF: a {config.model_type} of another form cannot "
                             "be written.")
        array = tensor.detach().float().cpu().numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(place.split(".")[-2])
        if config.model_type == "llama" and heads is not None:
            # Halves of a head in transformers, neighbours in llama.cpp: row (head, half, i) becomes (head, i, half).
            halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        weights[place] = array
    return weights
