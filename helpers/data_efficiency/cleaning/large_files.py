"""A file of a million rows through cleaning, deduplication and selection, chunk by chunk, in a few gigabytes."""

import csv
import dataclasses
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data_efficiency.cleaning.label_errors import flags_from
from helpers.data_efficiency.cleaning.reports import repaired
from helpers.data_efficiency.duplicates.finding import THRESHOLDS, band_keys, banding, bucket_pairs, groups_of
from helpers.data_efficiency.duplicates.shingles import Packed, hashed, jaccard, likely, signatures
from helpers.data_efficiency.linear import fold_of, one_hot, softmax
from helpers.lab.data.files import MAX_TEXT_LENGTH
from helpers.lab.errors import InputError

CHUNK = 20_000
WIDTH = 256  # of the hashed vectors
FOLDS = 5
PENALTY = 1.0  # of the ridge regression
SHARPNESS = 8.0  # its scores lie between 0 and 1; times this they make probabilities
LINKS = 2  # rows of a bucket that a row is compared with: enough to connect its copies


@dataclasses.dataclass(frozen=True)
class LargeResult:
    """What became of the rows of a large file: row numbers of the source, and the labels' names."""

    rows: int
    repaired: np.ndarray
    duplicates: np.ndarray
    flags: pd.DataFrame
    selected: np.ndarray
    labels: tuple[str, ...]


def clean_large(source: str | Path, target: str | Path, *, text: str = "text", label: str = "label",
                select: int = 10_000, threshold: float = THRESHOLDS["minhash"]) -> LargeResult:
    """Repair, deduplicate, flag doubtful labels, and choose the rows whose class is least clear.

    Args:
        source: a CSV in UTF-8 with a header.
        target: CSV of the rows that are left, with the columns row, text, label.
        select: rows to choose by the smallest margin, of those left and not flagged: what to look at or label next.
        threshold: of the near-duplicates.

    Vectors and texts are memory-mapped files in a temporary folder. Labels are judged by ridge regression on hashed
    letter triples: its normal equations add up over chunks, and a fold is left out by subtracting its share, so that
    out-of-fold predictions take two passes whatever the number of folds.

    Raises:
        InputError: no such file or column, an empty value, or one class only.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = _Store(Path(folder))
        fixed, labels = _read(Path(source), text, label, store)
        names, y = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
        if len(names) < 2:
            raise InputError(f"{Path(source).name} has one label only; two or more are needed.")
        packed = store.packed()
        copies = _copies(packed, y, threshold)
        kept = np.flatnonzero(~copies)
        vectors = _vectors(packed, Path(folder) / "vectors.npy")
        probabilities = _judged(vectors, y, kept, len(names))
        found = flags_from(probabilities, y[kept], list(names))
        top = np.partition(probabilities, -2, axis=1)
        margin = top[:, -1] - top[:, -2]
        margin[found["row"].to_numpy(int)] = np.inf
        selected = np.sort(kept[np.argsort(margin, kind="stable")[:select]])
        found["row"] = kept[found["row"].to_numpy(int)]
        _write(Path(source), Path(target), text, label, copies)
    return LargeResult(len(y), np.array(fixed, np.int64), np.flatnonzero(copies), found, selected,
                       tuple(map(str, names)))


class _Store:
    """Texts in lower case on the disk, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "texts"
        self._starts = [np.zeros(1, np.int64)]

    def add(self, packed: Packed) -> None:
        """Append a part of the texts."""
        with self._path.open("ab") as file:
            file.write(packed.content[:packed.starts[-1]].tobytes())
        self._starts.append(packed.starts[1:] + self._starts[-1][-1])

    def packed(self) -> Packed:
        """All texts that were added, memory-mapped."""
        with self._path.open("ab") as file:
            file.write(b" ")
        whole = Packed([])
        whole.content, whole.starts = np.memmap(self._path, np.uint8, "r"), np.concatenate(self._starts)
        return whole


def _chunks(source: Path, text: str, label: str) -> Iterator[tuple[list[str], list[str]]]:
    """Texts and labels, CHUNK rows at a time."""
    if not source.is_file():
        raise InputError(f"There is no file {source.name}.")
    csv.field_size_limit(2**31 - 1)
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for column in (text, label):
            if column not in (reader.fieldnames or []):
                raise InputError(f"{source.name} has no column '{column}'. Its columns: "
                                 f"{', '.join((reader.fieldnames or [])[:10])}.")
        number = 0
        while part := list(itertools.islice(reader, CHUNK)):
            texts, labels = [row[text] for row in part], [row[label] for row in part]
            for at, value in enumerate(zip(texts, labels, strict=True)):
                if None in part[at]:
                    raise InputError(f"{source.name} has more values than columns in row {number + at + 1}.")
                if not (value[0] or "").strip() or not (value[1] or "").strip():
                    raise InputError(f"{source.name} has nothing in row {number + at + 1}. Fill it in or remove it.")
            number += len(part)
            yield [one[:MAX_TEXT_LENGTH] for one in texts], labels


def _read(source: Path, text: str, label: str, store: _Store) -> tuple[list[int], list[str]]:
    fixed, labels = [], []
    try:
        for texts, names in _chunks(source, text, label):
            better = [repaired(one) for one in texts]
            fixed += [len(labels) + at for at, (a, b) in enumerate(zip(texts, better, strict=True)) if a != b]
            labels += names
            store.add(Packed(better))
    except UnicodeDecodeError:
        raise InputError(f"{source.name} is not UTF-8 text. Save it as UTF-8.") from None
    except csv.Error as error:
        raise InputError(f"{source.name} cannot be read as a table: {error}.") from None
    if not labels:
        raise InputError(f"{source.name} has no rows.")
    return fixed, labels


def _copies(packed: Packed, y: np.ndarray, threshold: float) -> np.ndarray:
    """(n,) bool, rows that repeat an earlier one of the same label."""
    permutations, bands, width = banding(threshold)
    signed = signatures(packed, permutations)
    spoken = np.flatnonzero(signed[:, 0] != 0xFFFFFFFF)
    group = np.arange(len(y))
    for band in range(bands):
        keys = band_keys(signed[spoken, band * width:(band + 1) * width])
        left, right = bucket_pairs(keys, spoken, neighbours=LINKS)
        new = (y[left] == y[right]) & (group[left] != group[right])  # most copies are known after the first bands
        left, right = left[new], right[new]
        worth = likely(signed, left, right, threshold)
        left, right = left[worth], right[worth]
        near = jaccard(packed, left, right) >= np.float32(threshold)
        links = pd.DataFrame({"row": group[right[near]], "twin": group[left[near]]})
        group = groups_of(links, len(y))[group]
    return group != np.arange(len(y))


def _vectors(packed: Packed, path: Path) -> np.ndarray:
    """(n, WIDTH) float16 on the disk."""
    found = np.lib.format.open_memmap(path, "w+", np.float16, (len(packed), WIDTH))
    for start in range(0, len(packed), CHUNK):
        part = Packed([])
        end = min(len(packed), start + CHUNK)
        part.content, part.starts = packed.content, packed.starts[start:end + 1]
        found[start:end] = hashed(part, WIDTH)
    return found


def _judged(vectors: np.ndarray, y: np.ndarray, kept: np.ndarray, classes: int) -> np.ndarray:
    """(kept, classes) out-of-fold probabilities of ridge regression on one-hot labels."""
    fold = fold_of(y[kept], FOLDS, 0)
    grams, products = np.zeros((FOLDS, WIDTH + 1, WIDTH + 1)), np.zeros((FOLDS, WIDTH + 1, classes))
    for start in range(0, len(kept), CHUNK):
        rows, where = _with_one(vectors[kept[start:start + CHUNK]]), fold[start:start + CHUNK]
        targets = one_hot(y[kept[start:start + CHUNK]], classes)
        for number in range(FOLDS):
            own = rows[where == number]
            grams[number] += own.T @ own
            products[number] += own.T @ targets[where == number]
    ridge = PENALTY * np.eye(WIDTH + 1)
    weights = [np.linalg.solve(grams.sum(0) - grams[number] + ridge, products.sum(0) - products[number])
               for number in range(FOLDS)]
    probabilities = np.empty((len(kept), classes), np.float32)
    for start in range(0, len(kept), CHUNK):
        rows, where = _with_one(vectors[kept[start:start + CHUNK]]), fold[start:start + CHUNK]
        for number in range(FOLDS):
            own = np.flatnonzero(where == number)
            probabilities[start + own] = softmax(SHARPNESS * (rows[own] @ weights[number]))
    return probabilities


def _with_one(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.astype(np.float32), np.ones((len(rows), 1), np.float32)], axis=1)


def _write(source: Path, target: Path, text: str, label: str, copies: np.ndarray) -> None:
    number = 0
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "text", "label"])
        for texts, labels in _chunks(source, text, label):
            rows = range(number, number + len(texts))
            writer.writerows((row, repaired(one), name) for row, one, name in zip(rows, texts, labels, strict=True)
                             if not copies[row])
            number += len(texts)
