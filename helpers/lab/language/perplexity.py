"""How well a language model knows texts: perplexity, with an interval over the texts."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from helpers.lab.data.tokenizer import pad
from helpers.lab.errors import InputError
from helpers.lab.language.causal import LanguageModel
from helpers.lab.measuring.intervals import bootstrap_interval


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood:
    """What a model did not know of each text.

    nats: (texts,) float64, the negative log-likelihood of the text's tokens after the start.
    tokens: (texts,) int64, how many these are.
    """

    nats: np.ndarray
    tokens: np.ndarray

    @property
    def perplexity(self) -> float:
        """exp of the mean over all tokens: as uncertain as among so many equally likely tokens."""
        return float(_perplexity(self.nats, self.tokens))

    def interval(self, seed: int = 0) -> tuple[float, float]:
        """The perplexity's 95 % interval over texts (bootstrap)."""
        return bootstrap_interval(_perplexity, self.nats, self.tokens, seed=seed)[1:]

    def ratio(self, reference: "NegativeLogLikelihood", seed: int = 0) -> tuple[float, float, float]:
        """(perplexity over the reference's on the same texts, low, high), 95 % over texts (bootstrap)."""
        if not np.array_equal(self.tokens, reference.tokens):
            raise InputError("Two perplexities are compared on the same tokens; these are not.")
        return bootstrap_interval(_perplexity, self.nats - reference.nats, self.tokens, seed=seed)


def _perplexity(nats: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(nats.sum(axis) / tokens.sum(axis))


@torch.inference_mode()
def negative_log_likelihood(model: LanguageModel, texts: Sequence[str], *, cache: Callable[[], Any] | None = None,
                            batch: int = 8) -> NegativeLogLikelihood:
    """The negative log-likelihood of each text under the model.

    Args:
        cache: makes a key-value cache; attention then reads keys and values as the cache gives them back.

    Raises:
        InputError: no text, or one without a token.
    """
    rows = model.encode(texts)
    if not rows or min(map(len, rows)) < 2:
        raise InputError("Perplexity needs texts of at least one token each.")
    target = next(model.module.parameters()).device
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    nats = np.empty(len(rows))
    for start in range(0, len(order), batch):
        part = order[start:start + batch]
        ids, mask = (torch.from_numpy(array).to(target) for array in pad([rows[row] for row in part]))
        # Rows are padded on the right: what comes later changes nothing before it.
        caching = {"past_key_values": cache(), "use_cache": True} if cache else {"use_cache": False}
        logits = model.module(ids, **caching).logits[:, :-1].float()
        losses = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        nats[part] = (losses.double() * mask[:, 1:]).sum(1).cpu().numpy()
    return NegativeLogLikelihood(nats, np.array([len(row) - 1 for row in rows]))
