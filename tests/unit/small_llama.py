"""Language models for tests: SmolLM2 in each engine, loaded once, and a tiny Llama with random weights."""

import functools

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.lab.language.engines.model import LocalModel
from helpers.lab.language.loading import load_language_model

PROMPTS = ("What is the capital of France?", "Name three colours.", "Write one sentence about the sea.",
           "Why is the sky blue?")


@functools.cache
def smollm2(engine: str) -> LocalModel:
    """The packaged model. Tests leave it as it is."""
    return load_language_model("smollm2", engine)


def tiny_llama(vocabulary: int = 300, seed: int = 0, width: int = 64) -> LlamaForCausalLM:
    """Two layers with random weights, wide apart: each token before changes the answer."""
    torch.manual_seed(seed)
    module = LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0))
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return module.eval()
