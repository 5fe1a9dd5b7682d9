"""GGUF files that are read in a moment: one with SmolLM2's first tokens on a random Llama, one with a single matrix."""

import functools
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGUFValueType, GGUFWriter

from helpers.lab.language.engines.model import LanguageModel
from helpers.lab.language.gguf import read_gguf
from helpers.lab.language.loading import find_language_model, load_language_model

WIDTH, LAYERS, HEADS = 64, 2, 2
VOCABULARY = 4096  # SmolLM2 has 49,152 tokens, over which gguf and transformers take ten seconds
_FACTS = {"block_count": LAYERS, "context_length": 2048, "embedding_length": WIDTH, "feed_forward_length": WIDTH,
          "attention.head_count": HEADS, "attention.head_count_kv": 1, "rope.dimension_count": WIDTH // HEADS,
          "vocab_size": VOCABULARY}
_folder = tempfile.TemporaryDirectory(prefix="tiny-gguf-")  # until the tests end


@functools.cache
def tiny_llm() -> LanguageModel:
    """The model of `tiny_gguf` in transformers. Tests leave it as it is."""
    return load_language_model(tiny_gguf(), "transformers")


@functools.cache
def tiny_gguf() -> Path:
    """Two layers, 64 wide, two heads that share keys and values; weights wide apart, so that answers differ."""
    path = Path(_folder.name) / "tiny.gguf"
    reader, rng = read_gguf(find_language_model("smollm2")), np.random.default_rng(0)
    tokens, merges = (len(reader.fields[f"tokenizer.ggml.{name}"].contents()) for name in ("tokens", "merges"))
    # Each merge makes the next token, so the first tokens are a tokenizer of their own.
    first = {"tokenizer.ggml.tokens": VOCABULARY, "tokenizer.ggml.token_type": VOCABULARY,
             "tokenizer.ggml.merges": VOCABULARY - (tokens - merges)}
    writer = GGUFWriter(path, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = _FACTS.get(name.removeprefix("llama."), 0 if name == "general.file_type" else field.contents())
        value = value[:first[name]] if name in first else value
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub_type=inner)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.normal(0, 0.2, (rows, columns)).astype(np.float32)

    tensors = {"token_embd.weight": matrix(VOCABULARY, WIDTH),
               "output_norm.weight": np.ones(WIDTH, np.float32)}
    for layer in range(LAYERS):
        shapes = {"attn_q": WIDTH, "attn_k": WIDTH // HEADS, "attn_v": WIDTH // HEADS, "attn_output": WIDTH,
                  "ffn_gate": WIDTH, "ffn_up": WIDTH, "ffn_down": WIDTH}
        tensors |= {f"blk.{layer}.{name}.weight": matrix(rows, WIDTH) for name, rows in shapes.items()}
        tensors |= {f"blk.{layer}.{name}.weight": np.ones(WIDTH, np.float32) for name in ("attn_norm", "ffn_norm")}
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small_gguf(path: Path, architecture: str = "llama", shape: tuple[int, int] = (4, 64)) -> Path:
    """A GGUF file with one matrix, and without a tokenizer."""
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_tensor("token_embd.weight", np.random.default_rng(0).normal(size=shape).astype(np.float32))
    writer.add_tensor("output_norm.weight", np.ones(5, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
