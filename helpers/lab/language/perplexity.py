"""How well a language model knows texts: perplexity, with an interval over the texts."""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from helpers.lab.data.tokenizer import pad
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_interval
from helpers.lab.progress import Progress, silent

_BATCH = 8  # rows read at once


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood:
    """A model's negative log-likelihood of each text.

    nats: (texts,) float64, the negative log-likelihood of the text's tokens after the first.
    tokens: (texts,) int64, how many these are.
    """

    nats: np.ndarray
    tokens: np.ndarray

    @property
    def perplexity(self) -> float:
        """exp of the mean over all tokens: as uncertain as among so many equally likely tokens."""
        return float(_perplexity(self.nats, self.tokens))

    def interval(self) -> tuple[float, float]:
        """The perplexity's 95% interval over texts (bootstrap)."""
        return bootstrap_interval(_perplexity, self.nats, self.tokens)[1:]

    def ratio(self, reference: "NegativeLogLikelihood") -> tuple[float, float, float]:
        """(perplexity over the reference's on the same texts, low, high), 95% over texts (bootstrap)."""
        if not np.array_equal(self.tokens, reference.tokens):
            raise InputError("Two perplexities are compared on the same tokens; these are not.")
        return bootstrap_interval(_perplexity, self.nats - reference.nats, self.tokens)

    def p_value(self, reference: "NegativeLogLikelihood") -> float:
        """How likely so large a difference from the reference is by chance, both ways.

        Student's t of the mean difference a token, over texts of unequal length (Cochran, Sampling Techniques, 6.3):
        1 of the reference itself, NaN of one text.
        """
        differences = self.nats - reference.nats
        if len(differences) < 2 or not differences.any():
            return math.nan if len(differences) < 2 else 1.0
        mean = differences.sum() / self.tokens.sum()
        error = math.sqrt(len(differences) * np.var(differences - mean * self.tokens, ddof=1)) / self.tokens.sum()
        return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1)) if error else 0.0


def _perplexity(nats: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(nats.sum(axis) / tokens.sum(axis))


@torch.inference_mode()
def negative_log_likelihood(module: nn.Module, rows: Sequence[Sequence[int]], *, cache: Callable[[], Any] | None = None,
                            progress: Progress = silent) -> NegativeLogLikelihood:
    """The negative log-likelihood of each row of token ids under the module, its first token given.

    Args:
        module: ids -> logits of the next token, as transformers' causal models are.
        cache: makes a key-value cache; attention then reads keys and values as the cache gives them back.

    Raises:
        InputError: no row, or one of less than two tokens.
        Cancelled: the caller of `progress` wants an end; asked before each batch.
    """
    _require_rows(rows)
    target = next(module.parameters()).device
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    nats = np.empty(len(rows))
    for start in range(0, len(order), _BATCH):
        progress(start / len(order), "reading")
        part = order[start:start + _BATCH]
        ids, mask = (torch.from_numpy(array).to(target) for array in pad([rows[row] for row in part]))
        # Rows are padded on the right: what comes later changes nothing before it.
        caching = {"past_key_values": cache(), "use_cache": True} if cache else {"use_cache": False}
        logits = module(ids, **caching).logits[:, :-1].float()
        losses = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        nats[part] = (losses.double() * mask[:, 1:]).sum(1).cpu().numpy()
    return NegativeLogLikelihood(nats, np.array([len(row) - 1 for row in rows]))


def uniform_likelihood(vocabulary: int, rows: Sequence[Sequence[int]]) -> NegativeLogLikelihood:
    """Of one who knows nothing: each of the vocabulary's tokens is as likely as any other."""
    _require_rows(rows)
    tokens = np.array([len(row) - 1 for row in rows])
    return NegativeLogLikelihood(tokens * math.log(vocabulary), tokens)


def bigram_likelihood(train: Sequence[Sequence[int]], vocabulary: int,
                      rows: Sequence[Sequence[int]]) -> NegativeLogLikelihood:
    """Of a table that counted in the rows `train` how often each token follows each other one.

    Unseen pairs get their share from the single tokens' counts, by as many pseudo-counts as a token had different
    followers (Witten and Bell, 1991); unseen tokens by one pseudo-count each (Laplace).

    >>> from helpers.lab.language.perplexity import bigram_likelihood
    >>> round(bigram_likelihood([[0, 1, 0, 1, 0]], 2, [[0, 1]]).perplexity, 3)  # (2 + 1 * 3/7) / (2 + 1)
    1.235
    """
    _require_rows(rows)
    single, pairs, followers = Counter(), Counter(), Counter()
    for row in train:
        single.update(row)
        pairs.update(itertools.pairwise(row))
    first = Counter()
    for (token, _), count in pairs.items():
        followers[token] += 1
        first[token] += count
    total = single.total() + vocabulary

    def nats(token: int, following: int) -> float:
        alone = (single[following] + 1) / total
        if not first[token]:
            return -math.log(alone)
        return -math.log((pairs[token, following] + followers[token] * alone) / (first[token] + followers[token]))

    return NegativeLogLikelihood(np.array([sum(itertools.starmap(nats, itertools.pairwise(row))) for row in rows]),
                                 np.array([len(row) - 1 for row in rows]))


def _require_rows(rows: Sequence[Sequence[int]]) -> None:
    if not rows or min(map(len, rows)) < 2:
        raise InputError("Perplexity needs texts of at least two tokens each: the first is given.")
