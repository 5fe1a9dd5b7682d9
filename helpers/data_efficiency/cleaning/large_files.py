"""A file of a million rows, chunk by chunk: repaired, without duplicates, doubtful labels flagged, rows selected."""

import contextlib
import csv
import dataclasses
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import numpy as np
import pandas as pd

from helpers.data_efficiency.cleaning.label_errors import flags_from
from helpers.data_efficiency.cleaning.reports import repaired
from helpers.data_efficiency.cleaning.reviews import as_line
from helpers.data_efficiency.cleaning.user_files import FOLDS, entry, require_removal
from helpers.data_efficiency.duplicates.finding import keepers, near_of_one_label
from helpers.data_efficiency.linear import ridge_out_of_fold
from helpers.data_efficiency.options import THRESHOLDS
from helpers.lab.data.files import MAX_TEXT_LENGTH, rows_inside, separator_like, would_run
from helpers.lab.data.labels import folded
from helpers.lab.data.shingles import Packed, hashed, jaccard
from helpers.lab.data.tables import separator_of
from helpers.lab.errors import InputError
from helpers.lab.paths import replacing, unwritable

CHUNK = 20_000
LARGE_WIDTH = 256


@dataclasses.dataclass(frozen=True)
class LargeResult:
    """Outcome of a large file's rows; the arrays hold row numbers of the source, from 0.

    line: (rows,) the line of the source in which each row begins: `line[selected]` are those of the selected ones.
    flags: as of `find_label_errors`.
    """

    rows: int
    line: np.ndarray
    repaired: np.ndarray
    duplicates: np.ndarray
    flags: pd.DataFrame
    selected: np.ndarray


def clean_large(source: str | Path, target: str | Path, log: str | Path, *, text: str = "text", label: str = "label",
                remove: Literal["exact", "near"] = "exact", threshold: float | None = None,
                select: int = 10_000) -> LargeResult:
    """Repair, deduplicate, flag doubtful labels, and choose the rows whose class is least clear.

    Args:
        source: a CSV or TSV in UTF-8 with a header.
        target: the rows that are left, with all columns of the source and its separator.
        log: JSONL, an entry for each change, as of `clean_file`; `replay` can apply it.
        remove, threshold: as of `clean_file`; but a near-duplicate goes for one of its label, whatever else it is near.
        select: rows to choose by the smallest margin, of those left and not flagged: what to look at or label next.

    Vectors and texts are memory-mapped files in a temporary folder. Labels are judged by ridge regression on hashed
    letter triples (`ridge_out_of_fold`). Target and log appear together and whole, or stay what they were.

    Raises:
        InputError: no such file or column, an empty value, a quote that is not closed, one class only, or a target or
            log that cannot be written.
    """
    source, target, log = Path(source), Path(target), Path(log)
    require_removal(remove, threshold)
    if source.resolve() in (target.resolve(), log.resolve()):
        raise InputError("The cleaned file and the log need their own names: the source is never overwritten.")
    table = _Table(source, text, label)
    with _room(source) as folder:
        store = _Store(folder)
        read = _read(table, store)
        names, y = np.unique(np.array(read.labels, dtype=object).astype(str), return_inverse=True)
        if len(names) < 2:
            raise InputError(f"{source.name} has one label only; two or more are needed.")
        packed = store.packed()
        keeper, similarity = _keepers(packed, y, _copies(read.digests, y), remove, threshold)
        gone = keeper != np.arange(len(y))
        unique = np.flatnonzero(~gone)
        vectors = _vectors(packed, folder / "vectors")
        probabilities = ridge_out_of_fold(vectors, unique, y[unique], len(names), folds=FOLDS, chunk=CHUNK)
        flags = flags_from(probabilities, y[unique], list(names))
        top = np.partition(probabilities, -2, axis=1)
        margin = top[:, -1] - top[:, -2]
        margin[flags["row"].to_numpy(int)] = np.inf
        selected = np.sort(unique[np.argsort(margin, kind="stable")[:select]])
        flags["row"] = unique[flags["row"].to_numpy(int)]
        flags.insert(1, "line", read.line[flags["row"].to_numpy(int)])
        _write(table, target, log, read, keeper, similarity)
    return LargeResult(len(y), read.line, np.array(read.fixed, np.int64), np.flatnonzero(gone), flags, selected)


@contextlib.contextmanager
def _room(source: Path) -> Iterator[Path]:
    """A temporary folder, or a sentence where it cannot hold what a source needs."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        raise InputError(f"{source.name} needs room for its texts and vectors in {tempfile.gettempdir()} "
                         f"({error.strerror or error}): free some, or set TMPDIR to a folder elsewhere.") from error


@dataclasses.dataclass(frozen=True)
class _Read:
    """What is held in memory of the rows."""

    labels: list[str]  # in one spelling each
    line: np.ndarray
    digests: list[int]  # of the texts, equal for equal ones but for case and white space
    fixed: list[int]


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


class _Table:
    """A CSV or TSV that is read more than once, a part at a time."""

    def __init__(self, source: Path, text: str, label: str) -> None:
        if not source.is_file():
            raise InputError(f"There is no file {source.name}.")
        self.source = source
        with self._opened() as file:
            try:
                first = file.readline()
                self.separator = separator_of(source, first)
                self.header = next(csv.reader([first], delimiter=self.separator, strict=True), [])
            except (UnicodeDecodeError, csv.Error):
                raise InputError(f"{source.name} does not begin with a header line in UTF-8. Save it as a CSV in UTF-8."
                                 ) from None
        stripped = [name.strip() for name in self.header]
        for column in (text, label):
            if column not in stripped:
                raise InputError(f"{source.name} has no column '{column}'. Its columns: {', '.join(stripped[:10])}.")
        self.text, self.label = stripped.index(text), stripped.index(label)

    def _opened(self):
        return self.source.open(encoding="utf-8-sig", newline="")

    def parts(self) -> Iterator[tuple[list[list[str]], list[int]]]:
        """(records, the line in which each begins), CHUNK rows at a time."""
        name, number = self.source.name, 0
        with self._opened() as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            try:
                next(reader)
                while part := list(itertools.islice(self._records(reader), CHUNK)):
                    for at, (record, _) in enumerate(part):
                        if len(record) > len(self.header):
                            raise InputError(f"{name} has more values than columns in row {number + at + 1}.")
                        if len(record) < len(self.header):
                            record += [""] * (len(self.header) - len(record))
                        if not record[self.text].strip() or not record[self.label].strip():
                            raise InputError(f"{name} has nothing in row {number + at + 1}. Fill it in or remove it.")
                    number += len(part)
                    yield [record for record, _ in part], [line for _, line in part]
            except UnicodeDecodeError:
                raise InputError(f"{name} is not UTF-8 text. Save it as UTF-8.") from None
            except csv.Error as error:
                raise InputError(f"{name} cannot be read as a table (line {reader.line_num}): {error}. Is a quote not "
                                 "closed?") from None

    @staticmethod
    def _records(reader) -> Iterator[tuple[list[str], int]]:
        begins = reader.line_num + 1
        for record in reader:
            if record:
                yield record, begins
            begins = reader.line_num + 1


def _read(table: _Table, store: _Store) -> _Read:
    labels, line, digests, fixed, inside = [], [], [], [], []
    for records, lines in table.parts():
        better = [repaired(record[table.text][:MAX_TEXT_LENGTH]) for record in records]
        fixed += [len(line) + at for at, (record, now) in enumerate(zip(records, better, strict=True))
                  if record[table.text][:MAX_TEXT_LENGTH] != now]
        inside += [(begins, name) for record, begins in zip(records, lines, strict=True)
                   for name in rows_inside(record, table.separator, table.label)]
        labels += [record[table.label] for record in records]
        line += lines
        digests += [hash(" ".join(f"{one}{record[table.text][MAX_TEXT_LENGTH:]}".lower().split()))
                    for one, record in zip(better, records, strict=True)]
        store.add(Packed(better))
    if not line:
        raise InputError(f"{table.source.name} has no rows.")
    known = set(labels)
    if swallowed := [begins for begins, name in inside if name in known]:
        raise InputError(f"{table.source.name} has a quote that is not closed near line {swallowed[0]}: rows would be "
                         "lost in it. Close it, or write it twice.")
    return _Read(folded(pd.Series(labels), []).tolist(), np.array(line, np.int64), digests, fixed)


def _copies(digests: list[int], y: np.ndarray) -> np.ndarray:
    """(n,) int: the first row with the same text; the row itself where these rows disagree on the label."""
    rows = pd.DataFrame({"row": np.arange(len(y)), "label": y}).groupby(np.array(digests, np.int64), sort=False)
    agreed = rows["label"].transform("min") == rows["label"].transform("max")
    return np.where(agreed, rows["row"].transform("first"), np.arange(len(y)))


def _keepers(packed: Packed, y: np.ndarray, first: np.ndarray, remove: str,
             threshold: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int and float32: for each row itself, where it stays, else the row that stays and how similar it is."""
    if remove == "exact":
        return first, np.ones(len(y), np.float32)
    threshold = THRESHOLDS["minhash"] if threshold is None else threshold
    pairs = near_of_one_label(packed, y, np.flatnonzero(first == np.arange(len(y))), threshold)
    keeper = keepers(pairs, len(y))
    # A row whose only twins go may be near to what stays for them, with which it was not compared.
    lost = pairs[(keeper[pairs["row"]] == pairs["row"]) & (keeper[pairs["twin"]] != pairs["twin"])]
    row, twin = lost["row"].to_numpy(), keeper[lost["twin"]]
    alike = jaccard(packed, twin, row)
    more = pd.DataFrame({"row": row, "twin": twin, "similarity": alike})[alike >= np.float32(threshold)]
    pairs = pd.concat([pairs, more], ignore_index=True)
    keeper = keepers(pairs, len(y))[first]
    return keeper, np.where(keeper == first, np.float32(1), jaccard(packed, keeper, first))


def _vectors(packed: Packed, path: Path) -> np.ndarray:
    """(n, LARGE_WIDTH) float16 on the disk."""
    with path.open("wb") as file:  # through a map, a full disk would end the process
        for start in range(0, len(packed), CHUNK):
            part = Packed([])
            part.content, part.starts = packed.content, packed.starts[start:start + CHUNK + 1]
            file.write(hashed(part, LARGE_WIDTH).astype(np.float16).tobytes())
    return np.memmap(path, np.float16, "r", shape=(len(packed), LARGE_WIDTH))


def _write(table: _Table, target: Path, log: Path, read: _Read, keeper: np.ndarray, similarity: np.ndarray) -> None:
    """The rows that stay, with all columns, and the log of what was changed, which takes its place first.

    With the log the target can be made again (`replay`), were the process killed between the two.
    """
    separator = separator_like(target, table.source)
    with replacing(target) as left, replacing(log) as changes:
        try:
            with left.open("w", encoding="utf-8", newline="") as file, changes.open("w", encoding="utf-8") as notes:
                writer = csv.writer(file, delimiter=separator, lineterminator="\n")
                writer.writerow(table.header)
                _fill(writer, notes, table, read, keeper, similarity)
        except OSError as error:  # the one that is open last would take the blame
            raise unwritable(target, error) from error


def _fill(writer: Any, notes: TextIO, table: _Table, read: _Read, keeper: np.ndarray, similarity: np.ndarray) -> None:
    """Write the rows below the header."""
    fixed, number = set(read.fixed), 0
    for records, _ in table.parts():
        entries = []
        for row, record in enumerate(records, start=number):
            whole, name = record[table.text], record[table.label]
            one = _Row(row, int(read.line[row]), whole[:MAX_TEXT_LENGTH], read.labels[row])
            if name != one.label:
                entries.append(entry(one, "fold", label=one.label) | {"was": name})
                record[table.label] = one.label
            if len(whole) > MAX_TEXT_LENGTH:
                entries.append(entry(one, "cut", characters=len(whole), read=MAX_TEXT_LENGTH))
            if row in fixed:
                better = repaired(one.text)
                entries.append(entry(one, "repair", text=better))
                record[table.text] = better + whole[MAX_TEXT_LENGTH:]
            if keeper[row] != row:
                twin = int(keeper[row])
                entries.append(entry(one, "drop", twin=twin, twin_line=int(read.line[twin]),
                                     similarity=round(float(similarity[row]), 3)))
                continue
            if unsafe := [at for at, value in enumerate(record) if would_run(value)]:
                entries.append(entry(one, "escape", columns=[table.header[at] for at in unsafe]))
                for at in unsafe:
                    record[at] = f"'{record[at]}"
            writer.writerow(record)
        notes.writelines(map(as_line, entries))
        number += len(records)


class _Row(NamedTuple):
    row: int
    line: int
    text: str
    label: str
