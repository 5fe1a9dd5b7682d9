"""A small causal language model with its tokenizer: trained here in minutes, or any of the Hub by name."""

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, LlamaConfig

from helpers.lab.errors import InputError
from helpers.lab.models.packing import PackedWeight, pack, unpack
from helpers.lab.models.torch import device, linear_only
from helpers.lab.progress import Progress, silent
from helpers.lab.training.fine_tuning import train
from helpers.lab.training.weights import find_weights

START = "<|start|>"
MAX_CONTEXT = 512  # tokens of one text, unless the model's own context is shorter
MIN_VOCABULARY = 257  # each byte, and the start

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # causal: queries, keys, values -> values mixed


def _given_attention(layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: Any,
                     **__: Any) -> tuple[Tensor, None]:
    """What transformers calls in place of its own attention; its result has the tokens before the heads."""
    return layer.given_attention(query, key, value).transpose(1, 2).contiguous(), None


AttentionInterface.register("given", _given_attention)


class LanguageModel:
    """A module ids -> logits of the next token, a tokenizer, and the token that starts a text.

    `packed` holds quantized weights, module name -> PackedWeight: they are what is saved. Matrices that
    two layers share (first and last, often) are packed once.
    """

    def __init__(self, name: str, tokenizer: Tokenizer, module: nn.Module, start: int, context: int,
                 packed: dict[str, PackedWeight] | None = None) -> None:
        self.name, self.start, self.context = name, start, context
        self.tokenizer = tokenizer
        self.module = module.eval().to(device())
        self.packed = packed or {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text after the start, at most `context` in all."""
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [[self.start, *encoding.ids][:self.context] for encoding in encodings]

    def save(self, path: Path) -> None:
        """Write everything that `load` needs for the same logits into the folder `path`.

        Raises:
            InputError: a model with an attention function, which a file cannot hold.
        """
        if any(hasattr(part, "given_attention") for part in self.module.modules()):
            raise InputError(f"'{self.name}' was trained with an attention function, which cannot be saved. Train it "
                             "without attention= to save it.")
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        facts = {"name": self.name, "start": self.start, "context": self.context}
        (path / "model.json").write_text(json.dumps(facts), encoding="utf-8")
        (path / "config.json").write_text(json.dumps(self.module.config.to_dict(), default=str), encoding="utf-8")
        self.tokenizer.save(str(path / "tokenizer.json"), pretty=False)
        weights = stored_once(self.module)
        for name, weight in self.packed.items():
            del weights[f"{name}.weight"]
            weights |= pack(name, weight)
        save_file(weights, path / "weights.safetensors")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; packed weights become float again.

        Raises:
            InputError: the folder holds no such model, or a damaged one.
        """
        path = Path(path)
        try:
            facts = json.loads((path / "model.json").read_text(encoding="utf-8"))
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
            architecture = AutoConfig.for_model(config.pop("model_type"), **config)
            module = linear_only(AutoModelForCausalLM.from_config(architecture))
            weights, packed = unpack(load_file(path / "weights.safetensors"))
            missing = set(stored_once(module)) - set(weights)
            if missing:
                raise ValueError(f"no {sorted(missing)[0]}")
            module.load_state_dict(weights, strict=False)  # a shared matrix is stored under one of its names
            tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
            return cls(facts["name"], tokenizer, module, facts["start"], facts["context"], packed)
        except Exception as error:  # damage shows in many ways: safetensors, JSON, shapes, the tokenizer's own errors
            raise InputError(f"The folder '{path.name}' holds no readable language model ({type(error).__name__}). "
                             "Save it again.") from error


def stored_once(module: nn.Module) -> dict[str, Tensor]:
    """The state dict without the second name of a matrix that two layers share."""
    seen: set[int] = set()
    tensors = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen:
            tensors[name] = tensor.contiguous()
        seen.add(tensor.data_ptr())
    return tensors


def load_language_model(name: str | Path) -> LanguageModel:
    """A causal language model of the Hugging Face Hub by name, or in a local folder, in fp32.

    Raises:
        InputError: it cannot be found, or it does not continue texts.
    """
    folder = find_weights(name)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kinds = config.architectures or []
    if not any(kind.endswith(("ForCausalLM", "LMHeadModel")) for kind in kinds):
        raise InputError(f"The model '{Path(name).name}' does not continue texts (it is a "
                         f"{', '.join(kinds) or 'model of no named kind'}): name a causal language model.")
    module = linear_only(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False))
    starts = (config.bos_token_id, config.eos_token_id, 0)
    start = next(token for token in starts if isinstance(token, int))
    context = min(MAX_CONTEXT, getattr(config, "max_position_embeddings", None) or MAX_CONTEXT)
    return LanguageModel(Path(name).name, Tokenizer.from_file(str(folder / "tokenizer.json")), module, start, context)


def train_language_model(texts: Sequence[str], *, vocabulary: int = 4096, layers: int = 4, width: int = 192,
                         heads: int = 6, kv_heads: int | None = None, attention: Attention | None = None,
                         context: int = 128, epochs: float = 1.0, steps: int | None = None, batch: int = 16,
                         learning_rate: float = 3e-3, seed: int = 0, progress: Progress = silent) -> LanguageModel:
    """A small Llama and its byte-pair tokenizer, both trained on these texts.

    With the defaults 2.6 million parameters; one epoch over the 12,000 training rows of `docstrings`
    takes some minutes on two cores.

    Args:
        vocabulary: tokens at most (fewer where the texts have fewer pairs to merge), at least 257: each
            byte and the start.
        width, heads: of the residual stream, and how many attention heads share it.
        kv_heads: heads of keys and values, a divisor of `heads`; by default as many.
        attention: causal attention to use instead of the usual one, from queries (n, heads, length, d),
            keys and values (n, kv_heads, length, d). A model with one cannot be saved.
        context: tokens of a training row; the texts follow one another in it, each after a start.
        epochs: over all tokens; a fraction stops part-way.
        steps: optimizer steps, instead of epochs.

    Raises:
        InputError: too little text for one row, or sizes that do not fit each other.
        Cancelled: the caller of `progress` wants an end; asked at each step.

    >>> from helpers.lab.language.causal import train_language_model
    >>> model = train_language_model(["a b c d " * 40], vocabulary=257, layers=1, width=8, heads=1, context=16)
    >>> model.encode(["ab"])
    [[0, 65, 66]]
    """
    kv_heads = heads if kv_heads is None else kv_heads
    if (vocabulary < MIN_VOCABULARY or min(layers, heads, kv_heads, context, batch) < 1 or width % (2 * heads)
            or heads % kv_heads or epochs <= 0 or (steps is not None and steps < 1)):
        raise InputError(f"A language model needs {MIN_VOCABULARY} tokens or more, a width that is an even multiple of "
                         "its heads, heads that are a multiple of the key-value heads, and at least one layer, head, "
                         "row and step.")
    torch.manual_seed(seed)
    tokenizer = byte_pairs(texts, vocabulary)
    inner = max(32, 8 * width // 3 // 32 * 32)  # three matrices take what two of 4 * width would (Shazeer, 2002.05202)
    config = LlamaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=inner,
                         num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
                         max_position_embeddings=MAX_CONTEXT, tie_word_embeddings=True, bos_token_id=0,
                         eos_token_id=0, pad_token_id=None)
    module = AutoModelForCausalLM.from_config(config, attn_implementation="given" if attention else None)
    if attention:
        for layer in module.model.layers:
            layer.self_attn.given_attention = attention
    model = LanguageModel(f"Llama of {layers} layers, width {width}", tokenizer, module, 0, MAX_CONTEXT)
    stream = np.concatenate([np.asarray(ids, np.int64) for ids in model.encode(texts)] or [np.empty(0, np.int64)])
    rows = len(stream) // context
    if rows < 1:
        raise InputError(f"The texts have {len(stream)} tokens; at least {context} are needed to train on.")
    batch = min(batch, rows)
    _train(model.module, stream[:rows * context].reshape(rows, context), batch,
           steps or max(1, round(epochs * (rows // batch))), learning_rate, seed, progress)
    return model


def byte_pairs(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """A byte-level byte-pair tokenizer (no text is unknown to it) whose token 0 starts a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[START], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _train(module: nn.Module, rows: np.ndarray, batch: int, steps: int, learning_rate: float, seed: int,
           progress: Progress) -> None:
    """AdamW with a warm-up and a cosine to a tenth, on (n, context) token ids."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.95))
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warm, 0.55 + 0.45 * np.cos(np.pi * min(1.0, step / steps))))
    target = next(module.parameters()).device

    def loss_of(part: list[int]) -> Tensor:
        ids = torch.from_numpy(rows[part]).to(target)                   # (batch, context)
        logits = module(ids).logits[:, :-1]                             # (batch, context - 1, vocabulary)
        return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    train(module, _batches(len(rows), batch, random.Random(seed)), loss_of, optimizer, steps=steps, schedule=schedule,
          progress=progress, say="training the language model")


def _batches(rows: int, batch: int, rng: random.Random) -> Iterator[list[int]]:
    """Row numbers, shuffled again for each epoch; what does not fill a batch is left out of it."""
    for _ in itertools.count():
        order = rng.sample(range(rows), rows)
        yield from (order[start:start + batch] for start in range(0, rows - batch + 1, batch))
