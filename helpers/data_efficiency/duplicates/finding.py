"""Duplicate texts, exact, near or in other words: the search, and what they do to a model and to its test."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data_efficiency.linear import fit
from helpers.data_efficiency.options import THRESHOLDS
from helpers.data_efficiency.vectors import Features, embed, readable
from helpers.lab.data.shingles import (
    Packed,
    band_keys,
    banding,
    bucket_pairs,
    jaccard,
    likely,
    near_pairs,
    signatures,
)
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError

BLOCK = 2048
LINKS = 2  # rows of a bucket that a row is compared with: copies stand near their originals, or are many
COLUMNS = ["row", "twin", "similarity"]


def find_duplicates(texts: Sequence[str], method: Literal["exact", "minhash", "semantic"] = "minhash",
                    threshold: float | None = None, *, others: Sequence[str] | None = None,
                    vectors: np.ndarray | None = None, other_vectors: np.ndarray | None = None) -> pd.DataFrame:
    """Pairs of texts that are the same, or nearly.

    Args:
        method: "exact", the same but for case and white space; "minhash", shared letter triples (Jaccard's index)
            by MinHash and banding (Broder, 1997; the permutations and band sizes are datasketch's), each found
            pair computed exactly; "semantic", the cosine of embeddings, every pair computed.
        threshold: similarity from 0 to 1 from which on it is a pair; THRESHOLDS has the defaults, and what they find on
            data that did not choose them.
        others: a second list: `twin` is a row of it. Without it, twins are earlier rows of `texts`.
        vectors, other_vectors: (n, d) rows of length 1 for "semantic"; MiniLM's by default. Texts that MiniLM cannot
            read (see `readable`) are then in no pair: their vectors tell nothing.

    Returns:
        Columns row, twin, similarity: each pair once, most similar first. Of many copies of one text not every
        pair is listed, but each copy is in one.

    Raises:
        InputError: unknown method, or a threshold outside 0 to 1.

    >>> from helpers.data_efficiency import find_duplicates
    >>> find_duplicates(["where is my order", "a refund", "my order where is?"])[["row", "twin"]].values.tolist()
    [[2, 0]]
    """
    if method not in THRESHOLDS:
        raise InputError(f"Unknown method '{method}'. Choose one of: {', '.join(THRESHOLDS)}.")
    threshold = THRESHOLDS[method] if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise InputError(f"A threshold is a similarity above 0 and up to 1, not {threshold}.")
    first, count = len(others) if others is not None else 0, len(texts)
    every = [*(others or []), *texts]  # twins come before rows, in one list or in two
    if method == "exact" or count == 0:
        left, right, similarity = _exact(every)
    elif method == "minhash":
        left, right, similarity = near_pairs(every, threshold, first)
    else:
        vectors = _read_vectors(texts) if vectors is None else vectors
        if others is not None:
            other_vectors = _read_vectors(others) if other_vectors is None else other_vectors
        left, right, similarity = _semantic(vectors, other_vectors, threshold)
    if others is not None:
        crossing = (left < first) & (right >= first)
        left, right, similarity = left[crossing], right[crossing] - first, similarity[crossing]
    frame = pd.DataFrame({"row": right, "twin": left, "similarity": similarity}, columns=COLUMNS)
    return frame.sort_values(["similarity", "row", "twin"], ascending=[False, True, True], ignore_index=True)


def duplicate_pairs(task: Task, method: str = "minhash", threshold: float | None = None) -> pd.DataFrame:
    """Pairs of nearly the same training text, to be looked at, with what both say and how they are labelled.

    Args:
        method, threshold: as of `find_duplicates`.

    Returns:
        Columns row, twin, similarity, labels_differ, label, twin_label, text, twin_text; and, where the task comes
        from a file, line and twin_line, the lines of that file. Most similar first. The mean of `labels_differ` is the
        share of pairs that disagree: one of their labels is wrong, or they are no duplicates.

    >>> from helpers.data_efficiency import duplicate_pairs
    >>> from helpers.lab import load_task
    >>> int(duplicate_pairs(load_task("tickets"), threshold=0.9)["labels_differ"].sum())
    0
    """
    rows = task.train
    texts, labels = list(rows["text"][:]), [task.labels[number] for number in rows["label"][:]]
    pairs = find_duplicates(texts, method, threshold)
    for side, prefix in (("row", ""), ("twin", "twin_")):
        chosen = pairs[side].tolist()
        if (lines := task.lines("train", chosen)) is not None:
            pairs[f"{prefix}line"] = np.array(lines, np.int64)
        pairs[f"{prefix}label"] = [labels[row] for row in chosen]
        pairs[f"{prefix}text"] = [texts[row] for row in chosen]
    pairs["labels_differ"] = pairs["label"] != pairs["twin_label"]
    first = [*COLUMNS, "line", "twin_line", "labels_differ", "label", "twin_label", "text", "twin_text"]
    return pairs[[name for name in first if name in pairs]]


def near_of_one_label(packed: Packed, y: np.ndarray, rows: np.ndarray, threshold: float) -> pd.DataFrame:
    """Pairs (row, twin, similarity) of near-duplicates of one label among `rows`, for millions of texts.

    A row gets those of the first bucket that has any. `packed` are all texts, `y` their labels.
    """
    permutations, bands, width = banding(threshold)
    signed = signatures(packed, permutations)
    spoken = rows[signed[rows, 0] != 0xFFFFFFFF]
    paired, tables = np.zeros(len(y), bool), [pd.DataFrame({name: [] for name in COLUMNS})]
    for band in range(bands):
        keys = band_keys(signed[spoken, band * width:(band + 1) * width])
        left, right = bucket_pairs(keys, spoken, neighbours=LINKS)
        new = (y[left] == y[right]) & ~paired[right]  # most copies are known after the first bands
        left, right = left[new], right[new]
        worth = likely(signed, left, right, threshold)
        left, right = left[worth], right[worth]
        alike = jaccard(packed, left, right)
        near = alike >= np.float32(threshold)
        paired[right[near]] = True
        tables.append(pd.DataFrame({"row": right[near], "twin": left[near], "similarity": alike[near]}))
    return pd.concat(tables).astype({"row": np.int64, "twin": np.int64})


def keepers(pairs: pd.DataFrame, count: int) -> np.ndarray:
    """(count,) int: for each row itself, where it stays, else a row that stays and that it is a pair with.

    There are no chains: what is near to a row that goes, but to none that stays, stays.

    Args:
        pairs: as of `find_duplicates` within one list: `twin` is before `row`.
    """
    keeper = np.arange(count)
    ordered = pairs.sort_values(["row", "similarity", "twin"], ascending=[True, False, True], kind="stable")
    for row, twin in zip(ordered["row"].tolist(), ordered["twin"].tolist(), strict=True):
        if keeper[row] == row and keeper[twin] == twin:  # a twin is before its row: it is decided whether it stays
            keeper[row] = twin
    return keeper


def deduplicated(texts: Sequence[str], method: str = "exact", threshold: float | None = None) -> np.ndarray:
    """(n,) bool, the rows to keep: of each text the first; each row that goes is a pair with one that stays.

    >>> from helpers.data_efficiency import deduplicated
    >>> deduplicated(["where is my order", "a refund", "Where  is my order"]).tolist()
    [True, True, False]
    """
    return repeated(texts, method, threshold) == np.arange(len(texts))


def repeated(texts: Sequence[str], method: str = "exact", threshold: float | None = None) -> np.ndarray:
    """(n,) int: for each row itself, where it stays, else the row that stays and that it repeats; see `keepers`."""
    keeper = keepers(find_duplicates(texts, "exact"), len(texts))
    if method == "exact":
        return keeper
    # Copies come first: of a text that stands there a thousand times a search lists some pairs only.
    firsts = np.flatnonzero(keeper == np.arange(len(texts)))
    near = keepers(find_duplicates([texts[row] for row in firsts], method, threshold), len(firsts))
    whole = np.arange(len(texts))
    whole[firsts] = firsts[near]
    return whole[keeper]


def overlap(task: Task, method: str = "minhash", threshold: float | None = None) -> dict[str, float]:
    """How much of the task is duplicated, as shares.

    Returns:
        within_train: rows that repeat one before them; test_in_train, validation_in_train: rows whose like is in
        the training rows: accuracy on those is partly memory.
    """
    train = list(task.train["text"][:])
    shares = {"within_train": 1 - float(deduplicated(train, method, threshold).mean())}
    for split in ("validation", "test"):
        texts = list(getattr(task, split)["text"][:])
        pairs = find_duplicates(texts, method, threshold, others=train)
        shares[f"{split}_in_train"] = pairs["row"].nunique() / max(1, len(texts))
    return shares


def duplicate_effect(task: Task, data: Features, method: str = "minhash", threshold: float | None = None,
                     seeds: int = 5) -> pd.DataFrame:
    """Accuracy with the duplicates in the training rows, without them, and with as many fewer rows drawn at random.

    Returns:
        Columns trained_on ("all rows", "without duplicates", "as many at random"), seed, rows, accuracy (on the whole
        test, which stays as it is), seen and unseen (accuracy on the test rows with and without a twin in the training
        rows; NaN where there are none). What `seen` has over `unseen` is partly memory.

    Raises:
        InputError: no text task.
    """
    if task.input != "text":
        raise InputError(f"Duplicates are looked for in texts; the task '{task.name}' has images.")
    texts = list(task.train["text"][:])
    unique = np.flatnonzero(deduplicated(texts, method, threshold))
    twins = find_duplicates(list(task.test["text"][:]), method, threshold, others=texts)
    seen = np.isin(np.arange(len(data.test_y)), twins["row"])
    arms = [("all rows", 0, np.arange(len(texts))), ("without duplicates", 0, unique)]
    arms += [("as many at random", seed, np.sort(np.random.default_rng(seed).permutation(len(texts))[:len(unique)]))
             for seed in range(seeds)]
    rows = []
    for name, seed, part in arms:
        right = fit(data.train[part], data.train_y[part], len(data.labels)).correct(data.test, data.test_y)
        rows.append({"trained_on": name, "seed": seed, "rows": len(part), "accuracy": float(right.mean()),
                     "seen": float(right[seen].mean()) if seen.any() else np.nan,
                     "unseen": float(right[~seen].mean()) if (~seen).any() else np.nan})
    return pd.DataFrame(rows)


def _exact(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seen: dict[str, int] = {}
    pairs = [(first, row) for row, text in enumerate(texts)
             if (first := seen.setdefault(" ".join(text.lower().split()), row)) != row]
    left, right = np.array(pairs, np.int64).reshape(-1, 2).T
    return left, right, np.ones(len(left), np.float32)


def _read_vectors(texts: Sequence[str]) -> np.ndarray:
    """MiniLM's vectors; zeros, which are like nothing, for texts that it cannot read."""
    vectors, known = embed(texts), readable(texts)
    return vectors if known.all() else np.where(known[:, None], vectors, np.float32(0))


def _semantic(vectors: np.ndarray, others: np.ndarray | None,
              threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    every = vectors if others is None else np.concatenate([others, vectors])
    first = 0 if others is None else len(others)
    parts = []
    for start in range(first, len(every), BLOCK):
        block = every[start:start + BLOCK]
        alike = block @ every[:min(len(every), start + len(block)) if others is None else first].T
        row, twin = np.nonzero(alike >= threshold)
        similarity = alike[row, twin]
        earlier = twin < row + start
        parts.append((twin[earlier], row[earlier] + start, similarity[earlier]))
    if not parts:
        return (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    left, right, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return left, right, np.minimum(similarity, 1.0)
