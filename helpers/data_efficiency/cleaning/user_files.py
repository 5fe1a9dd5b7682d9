"""A user's file through all of it: in memory, with a log of every change, or a million rows chunk by chunk."""

import csv
import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from helpers.data_efficiency.cleaning.label_errors import flags_from
from helpers.data_efficiency.cleaning.reports import repaired
from helpers.data_efficiency.cleaning.reviews import append, apply_changes, digest_of, write_changed
from helpers.data_efficiency.duplicates.finding import band_keys, banding, bucket_pairs, find_duplicates, groups_of
from helpers.data_efficiency.duplicates.shingles import Packed, hashed, jaccard, likely, signatures
from helpers.data_efficiency.linear import fold_of, one_hot, out_of_fold
from helpers.data_efficiency.options import THRESHOLDS
from helpers.data_efficiency.vectors import embed
from helpers.lab.data.files import MAX_TEXT_LENGTH, read_rows, require_classes
from helpers.lab.errors import InputError

KINDS = ("minilm", "hashed")
WIDTH = 1024  # of hashed vectors
FOLDS = 5
# Of large files
CHUNK = 20_000
LARGE_WIDTH = 256
PENALTY = 1.0  # of the ridge regression
SHARPNESS = 8.0  # its scores lie between 0 and 1; times this they make probabilities
LINKS = 2  # rows of a bucket that a row is compared with: enough to connect its copies


def clean_file(source: str | Path, target: str | Path, log: str | Path, *, text: str = "text", label: str = "label",
               duplicates: str = "exact", kind: str = "minilm", relabel_above: float | None = None) -> pd.DataFrame:
    """Clean a file, and write what is left and a change log that `replay` can apply to the original again.

    Args:
        target: the cleaned file, CSV: all columns of the source, its separator; where neither the text was repaired
            nor the label changed they stand as in the source. Formulas are made safe for spreadsheets.
        log: JSONL, one line a change: texts repaired (damaged encoding), duplicates dropped, labels changed.
        duplicates: a method of `find_duplicates`; exact ones by default, since near ones need a look. Of duplicates
            the first row stays; where they disagree on the label all of them stay, for a person to decide.
        kind: of the vectors for the label check: "minilm", or "hashed" letter triples, which need no model.
        relabel_above: give rows whose doubt is above this the suggested label. By default none: doubtful
            labels are listed, and a person decides.

    Returns:
        Doubtful labels as of `find_label_errors`, for the rows that are left (`row` is a row of the source).

    Raises:
        InputError: the file cannot be used, as `load_task` says, or the target is the source.
    """
    if kind not in KINDS:
        raise InputError(f"Unknown vectors '{kind}'. Choose one of: {', '.join(KINDS)}.")
    source, target, log = Path(source), Path(target), Path(log)
    if source.resolve() in (target.resolve(), log.resolve()):
        raise InputError("The cleaned file and the log need names of their own: the source is never overwritten.")
    rows = read_rows(source, text, label)
    require_classes(rows["label"], source.name)
    rows = rows.assign(row=range(len(rows)))[["row", "text", "label"]]
    entries = [_entry(row, "repair", text=better) for row in rows.itertuples()
               if (better := repaired(row.text)) != row.text]
    left = apply_changes(rows, entries)
    entries += [_entry(rows.iloc[number], "drop") for number in _repeated(left, duplicates)]
    left = apply_changes(rows, entries)
    flags = _doubtful(left, kind)
    if relabel_above is not None:
        sure = flags[flags["doubt"] > relabel_above]
        entries += [_entry(rows.iloc[one.row], "relabel", label=one.suggested) for one in sure.itertuples()]
        left = apply_changes(rows, entries)
    write_changed(source, rows, left, target, text, label)
    log.write_text("", encoding="utf-8")
    append(log, *entries)
    return flags


def doubtful_rows(source: str | Path, *, text: str = "text", label: str = "label", kind: str = "minilm") -> dict:
    """What a review of a file begins with: {"texts", "labels", "flags"}; nothing is changed.

    Raises:
        InputError: as `clean_file`.
    """
    source = Path(source)
    rows = read_rows(source, text, label)
    require_classes(rows["label"], source.name)
    return {"texts": rows["text"].tolist(), "labels": rows["label"].tolist(),
            "flags": _doubtful(rows.assign(row=range(len(rows))), kind)}


def _entry(row, action: str, label: str | None = None, **more: str) -> dict:
    return {"row": int(row.row), "action": action, "label": label, "was": row.label, "digest": digest_of(row.text),
            **more}


def _repeated(left: pd.DataFrame, method: str) -> Sequence[int]:
    """Rows to drop: all but the first of each group of duplicates that agree on the label."""
    texts = left["text"].tolist()
    pairs = find_duplicates(texts, "exact") if method == "exact" else pd.concat(
        [find_duplicates(texts, "exact"), find_duplicates(texts, method)])
    group = groups_of(pairs, len(left))
    labels = left["label"].groupby(group).transform("nunique").to_numpy()
    return left["row"].to_numpy()[(group != np.arange(len(left))) & (labels == 1)].tolist()


def _doubtful(left: pd.DataFrame, kind: str) -> pd.DataFrame:
    labels = sorted(left["label"].unique())
    texts = left["text"].tolist()
    x = np.asarray(embed(texts) if kind == "minilm" else hashed(Packed(texts), WIDTH))
    y = np.searchsorted(np.array(labels, dtype=object), left["label"].to_numpy(object)).astype(np.int64)
    flags = flags_from(out_of_fold(x, y, len(labels), folds=min(FOLDS, len(left))), y, labels)
    return flags.assign(row=left["row"].to_numpy()[flags["row"].to_numpy(int)])


@dataclasses.dataclass(frozen=True)
class LargeResult:
    """What became of the rows of a large file; the arrays hold row numbers of the source."""

    rows: int
    repaired: np.ndarray
    duplicates: np.ndarray
    flags: pd.DataFrame
    selected: np.ndarray


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
        unique = np.flatnonzero(~copies)
        vectors = _vectors(packed, Path(folder) / "vectors.npy")
        probabilities = _judged(vectors, y, unique, len(names))
        flags = flags_from(probabilities, y[unique], list(names))
        top = np.partition(probabilities, -2, axis=1)
        margin = top[:, -1] - top[:, -2]
        margin[flags["row"].to_numpy(int)] = np.inf
        selected = np.sort(unique[np.argsort(margin, kind="stable")[:select]])
        flags["row"] = unique[flags["row"].to_numpy(int)]
        _write(Path(source), Path(target), text, label, copies)
    return LargeResult(len(y), np.array(fixed, np.int64), np.flatnonzero(copies), flags, selected)


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
    """(n, LARGE_WIDTH) float16 on the disk."""
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (len(packed), LARGE_WIDTH))
    for start in range(0, len(packed), CHUNK):
        part = Packed([])
        end = min(len(packed), start + CHUNK)
        part.content, part.starts = packed.content, packed.starts[start:end + 1]
        vectors[start:end] = hashed(part, LARGE_WIDTH)
    return vectors


def _judged(vectors: np.ndarray, y: np.ndarray, rows_left: np.ndarray, classes: int) -> np.ndarray:
    """(rows, classes) out-of-fold probabilities of ridge regression on one-hot labels."""
    fold = fold_of(y[rows_left], FOLDS, 0)
    grams, products = np.zeros((FOLDS, LARGE_WIDTH + 1, LARGE_WIDTH + 1)), np.zeros((FOLDS, LARGE_WIDTH + 1, classes))
    for start in range(0, len(rows_left), CHUNK):
        rows, where = _with_one(vectors[rows_left[start:start + CHUNK]]), fold[start:start + CHUNK]
        targets = one_hot(y[rows_left[start:start + CHUNK]], classes)
        for number in range(FOLDS):
            part = rows[where == number]
            grams[number] += part.T @ part
            products[number] += part.T @ targets[where == number]
    ridge = PENALTY * np.eye(LARGE_WIDTH + 1)
    weights = [np.linalg.solve(grams.sum(0) - grams[number] + ridge, products.sum(0) - products[number])
               for number in range(FOLDS)]
    probabilities = np.empty((len(rows_left), classes), np.float32)
    for start in range(0, len(rows_left), CHUNK):
        rows, where = _with_one(vectors[rows_left[start:start + CHUNK]]), fold[start:start + CHUNK]
        for number in range(FOLDS):
            within = np.flatnonzero(where == number)
            probabilities[start + within] = softmax(SHARPNESS * (rows[within] @ weights[number]), axis=1)
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
