"""Small language models of random letters, trained or not."""

import functools
import random

import torch

from helpers.lab.language.causal import LanguageModel, train_language_model

SIZES = {"vocabulary": 300, "layers": 2, "width": 32, "heads": 2, "context": 64}


def letters(texts: int, seed: int) -> list[str]:
    """Texts of 60 independent letters, a to d alike: 2 bits a letter, whatever is tried."""
    rng = random.Random(seed)
    return ["".join(rng.choices("abcd", k=60)) for _ in range(texts)]


@functools.cache
def letter_model() -> LanguageModel:
    """A model of letters. Tests leave it as it is."""
    return train_language_model(letters(600, 0), **SIZES | {"vocabulary": 257}, epochs=6)


def randomly_wide(model: LanguageModel, seed: int = 0) -> LanguageModel:
    """The same sizes with random weights, wide apart: each token before changes the answer."""
    torch.manual_seed(seed)
    module = type(model.module)(model.module.config)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return LanguageModel("random", model.tokenizer, module, model.start, model.context)
