"""How other projects find duplicates and choose rows to label, with the settings that their own documents give."""

import functools
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from helpers.data_efficiency import Pool
from helpers.lab.data.shingles import Packed, hashed

PERMUTATIONS, DATASKETCH_THRESHOLD, SEMHASH_THRESHOLD = 128, 0.9, 0.9  # their defaults


def words(text: str) -> list[str]:
    """Elements of a text as in datasketch's example."""
    return text.lower().split()


def letter_triples(text: str) -> set[str]:
    """Nearly what MinHash here takes: three letters in a row of each word, a blank before and behind it."""
    padded = (f" {word} " for word in words(text))
    return {word[start:start + 3] for word in padded for start in range(len(word) - 2)}


def datasketch_pairs(texts: list[str], shingles: Callable[[str], Iterable[str]] = words,
                     threshold: float = DATASKETCH_THRESHOLD) -> pd.DataFrame:
    """The example of its documentation: words, 128 permutations, an index at its default threshold of 0.9."""
    from datasketch import MinHash, MinHashLSH

    index, pairs = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS), []
    for number, text in enumerate(texts):
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch([shingle.encode() for shingle in shingles(text)])
        pairs += [(number, twin) for twin in index.query(signature)]
        index.insert(number, signature)
    return pd.DataFrame(pairs, columns=["row", "twin"])


def semhash_pairs(texts: list[str], vectors: np.ndarray) -> pd.DataFrame:
    """Its self-deduplication at the default threshold of 0.9: what goes, and what each is a duplicate of."""
    from semhash import SemHash

    class Given:
        """An encoder is asked for, though the vectors are there."""

        def encode(self, inputs, **_settings):
            return hashed(Packed(list(inputs)), vectors.shape[1])

    rows: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        rows.setdefault(text, []).append(number)
    gone = SemHash.from_embeddings(vectors, texts, Given()).self_deduplicate(threshold=SEMHASH_THRESHOLD).filtered
    pairs = [(other, same[0]) for same in rows.values() for other in same[1:]]
    pairs += [sorted((rows[one.record][0], rows[one.duplicate_of][0]), reverse=True) for one in gone if not one.exact]
    return pd.DataFrame(pairs, columns=["row", "twin"])


def small_text_queries(pool: Pool, labels: np.ndarray, count: int) -> dict[str, Callable[[], np.ndarray]]:
    """Strategy -> what makes small-text choose so many rows of our pool, asking our classifier.

    Its k-center mistakes positions for row numbers, so it agrees only where the labelled rows come last.

    Args:
        labels: (n,) class numbers of all rows.
    """
    from small_text.query_strategies.coresets import greedy_coreset
    from small_text.query_strategies.strategies import BreakingTies, LeastConfidence, PredictionEntropy

    class Given:
        """The classifier that small-text asks."""

        def predict_proba(self, rows):
            return pool.model.probabilities(rows)

    peers = {"margin": BreakingTies(), "least confidence": LeastConfidence(), "entropy": PredictionEntropy()}
    known = labels[pool.labelled]
    queries = {name: functools.partial(peer.query, Given(), pool.x, pool.unlabelled, pool.labelled, known, n=count)
               for name, peer in peers.items()}
    return queries | {"k-center": functools.partial(greedy_coreset, pool.x, pool.unlabelled, pool.labelled, count,
                                                    distance_metric="euclidean", normalized=True)}
