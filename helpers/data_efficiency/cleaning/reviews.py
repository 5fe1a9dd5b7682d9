"""Decisions about rows, saved at once, taken back at will, and replayed on the file that they belong to."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from helpers.lab.data.files import MAX_TEXT_LENGTH, read_frame, read_rows, write_like
from helpers.lab.errors import InputError
from helpers.lab.paths import unwritable, visitor_folder

Action = Literal["keep", "relabel", "drop"]
# Log entries that only say what reading and writing do to each file anyway: a label's spelling, a text that is longer
# than what is read, a formula.
SAID = ("fold", "cut", "escape")


class Review:
    """A log of decisions on the rows of one data set; each line is on the disk before `decide` returns.

    Args:
        texts, labels: the rows that are reviewed.
        lines: where each row stands in the user's file; each decision then carries its line.
        path: the log, a JSONL file; decisions in it are taken up again. By default a file that is named by the rows,
            under the user's data folder, so that a notebook that is opened again goes on where it stopped; on a page
            in the visitor's own folder, which goes with the visitor.

    Raises:
        InputError: the log belongs to other rows, or cannot be read.

    A line is {"row", "line", "action", "label", "was", "digest"}, or {"undo": true}, which takes the last standing one
    back.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str], path: Path | None = None, *,
                 lines: Sequence[int] | None = None) -> None:
        if len(texts) != len(labels) or len(texts) != len(texts if lines is None else lines):
            raise InputError(f"{len(texts)} texts and {len(labels)} labels: each row needs both (and its line, where "
                             "lines are given).")
        self.texts, self.labels = list(texts), list(labels)
        self.lines = None if lines is None else [int(line) for line in lines]
        whole = hashlib.sha256("\0".join([*self.texts, *self.labels]).encode("utf-8", "replace")).hexdigest()[:16]
        self.path = path or visitor_folder() / "reviews" / f"{whole}.jsonl"
        _cut_torn_line(self.path)
        self._standing: list[dict] = []
        for entry in read_log(self.path):
            self._require_matching(entry)
            _take(self._standing, entry)

    def decide(self, row: int, action: Action, label: str | None = None) -> None:
        """Keep a row as it is, give it another label, or drop it. A later decision on a row replaces the earlier.

        Raises:
            InputError: no such row or action, or a relabelling without a label.
        """
        if not 0 <= row < len(self.texts):
            raise InputError(f"There is no row {row}; rows are 0 to {len(self.texts) - 1}.")
        if action not in ("keep", "relabel", "drop"):
            raise InputError(f"Unknown decision '{action}'. Choose one of: keep, relabel, drop.")
        if (label is not None) != (action == "relabel"):
            raise InputError("A relabelling needs the new label, and only a relabelling has one.")
        place = {} if self.lines is None else {"line": self.lines[row]}
        entry = {"row": row, **place, "action": action, "label": label, "was": self.labels[row],
                 "digest": digest_of(self.texts[row])}
        append(self.path, entry)
        self._standing.append(entry)

    def undo(self) -> int | None:
        """Take the last standing decision back; its row, or None where there is none."""
        if not self._standing:
            return None
        append(self.path, {"undo": True})
        return self._standing.pop()["row"]

    @property
    def decisions(self) -> dict[int, dict]:
        """Row -> the decision that stands."""
        return {entry["row"]: entry for entry in self._standing}

    def cleaned(self) -> pd.DataFrame:
        """Columns row, line (where lines are known), text, label of what is left, with the decisions applied."""
        rows = pd.DataFrame({"row": range(len(self.texts)), "text": self.texts, "label": self.labels})
        left = apply_changes(rows, self._standing)
        if self.lines is not None:
            left.insert(1, "line", np.array(self.lines, np.int64)[left["row"]])
        return left

    def _require_matching(self, entry: dict) -> None:
        if "row" in entry and not (0 <= entry["row"] < len(self.texts)
                                   and entry["digest"] == digest_of(self.texts[entry["row"]])):
            raise InputError(f"The log {self.path.name} belongs to other rows (row {entry['row']} differs): "
                             "give another path.")


def append(path: Path, entry: dict) -> None:
    """Add a line to a log, and wait until it is on the disk.

    Raises:
        InputError: a full disk, or a file that cannot be written; what the log held before is unchanged.
    """
    left = memoryview(as_line(entry).encode())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while left:
                    left = left[file.write(left):]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise unwritable(path, error) from error


def as_line(entry: dict) -> str:
    """An entry of a log as its line."""
    return json.dumps(entry, ensure_ascii=False) + "\n"


def read_log(path: Path) -> list[dict]:
    """The entries of a log; none where there is no file. A last line that was cut off half-way is left out.

    Raises:
        InputError: a line is no decision.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):  # no newline after it: the writer was stopped in the middle
                continue
            raise InputError(f"{path.name} line {number} is not a change log's line: remove it.") from None
        if not isinstance(entry, dict) or not ("undo" in entry or {"row", "action", "digest"} <= set(entry)):
            raise InputError(f"{path.name} line {number} is not a change log's line: remove it.")
        entries.append(entry)
    return entries


def _cut_torn_line(path: Path) -> None:
    """Take away what a writer that was stopped in the middle left behind, so that the next line stands alone."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        try:
            with path.open("r+b") as file:  # nothing is written again, so nothing can be lost half-way
                file.truncate(content.rfind(b"\n") + 1)
        except OSError as error:
            raise unwritable(path, error) from error


def apply_changes(rows: pd.DataFrame, entries: Sequence[dict]) -> pd.DataFrame:
    """Rows (columns row, text, label) with the entries applied in order; the input stays as it is.

    Raises:
        InputError: an entry's text is not the row's.
    """
    standing: list[dict] = []
    for entry in entries:
        _take(standing, entry)
    numbers = rows["row"].tolist()
    before = dict(zip(numbers, zip(rows["text"], rows["label"], strict=True), strict=True))
    texts, labels, dropped = {}, {}, set()
    for entry in standing:
        row, action = entry["row"], entry["action"]
        if row not in before or digest_of(before[row][0]) != entry["digest"]:
            raise InputError(f"The change log does not fit: row {row} is not the text that it was made for.")
        if action == "repair":
            texts[row] = entry["text"]
        if action in ("repair", *SAID):
            continue
        labels[row] = entry["label"] if action == "relabel" else before[row][1]
        (dropped.add if action == "drop" else dropped.discard)(row)
    left = [row for row in numbers if row not in dropped]
    return pd.DataFrame({"row": left, "text": [texts.get(row, before[row][0]) for row in left],
                         "label": [labels.get(row, before[row][1]) for row in left]})


def replay(source: str | Path, log: str | Path, target: str | Path, *, text: str = "text", label: str = "label",
           encoding: str | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """Apply a change log to the file that it was made from, and write the cleaned file (CSV).

    Raises:
        InputError: the file or the log cannot be read, or they do not belong together.
    """
    rows = numbered(read_rows(Path(source), text, label, encoding=encoding, columns=columns))
    entries = read_log(Path(log))
    if not entries and not Path(log).exists():
        raise InputError(f"There is no change log {Path(log).name}.")
    left = apply_changes(rows, entries)
    frame = read_frame(Path(source), text, label, encoding=encoding, columns=columns)
    write_like(changed_frame(frame, rows, left, text, label), Path(target), Path(source), encoding)
    return left


def numbered(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns row, line, text, label of what `read_rows` gave."""
    return rows.assign(row=range(len(rows)))[["row", "line", "text", "label"]]


def changed_frame(frame: pd.DataFrame, rows: pd.DataFrame, left: pd.DataFrame, text: str, label: str) -> pd.DataFrame:
    """The rows that are left with all columns of the source, changed where the log says so only.

    Args:
        frame: the source as it is.
        rows, left: columns row, text, label: as read from the source, and after the changes.
    """
    frame, before = frame.iloc[left["row"]].copy(), rows.iloc[left["row"]]
    raw, new = frame[text].to_numpy(object), left["text"].to_numpy(object)
    changed = new != before["text"].to_numpy(object)
    # What lies beyond the part that was read is not lost.
    frame[text] = [now + was[MAX_TEXT_LENGTH:] if at else was for at, now, was in zip(changed, new, raw, strict=True)]
    raw, new = frame[label].to_numpy(object), left["label"].to_numpy(object)
    changed = new != before["label"].to_numpy(object)
    # A label that was only written differently gets the one spelling; a number or truth value stays what it is.
    frame[label] = [now if at or isinstance(was, str) else was for at, now, was in zip(changed, new, raw, strict=True)]
    return frame


def digest_of(text: str) -> str:
    """12 hex digits that name a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def _take(standing: list[dict], entry: dict) -> None:
    if entry.get("undo"):
        if standing:
            standing.pop()
    else:
        standing.append(entry)
