"""A user's file as rows of text and label, or one sentence about what is wrong with it.

Whatever is changed on the way (labels written differently, quotes, an encoding) is said in a note.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.data.labels import (
    MAX_CLASSES,
    folded,
    is_nested,
    is_number,
    label_texts,
    read_fields,
    require_no_lists,
    require_no_scores,
    require_one_label,
)
from helpers.lab.data.tables import content_of, decoded, is_tsv, kind_of, parse, separator_of
from helpers.lab.errors import InputError
from helpers.lab.limits import Limits, OverLimit, run_limited, serve
from helpers.lab.paths import is_upload, replacing

MAX_TEXT_LENGTH = 100_000  # characters; models read at most some hundred tokens, so the rest only costs time
MAX_UPLOAD_BYTES = 8_000_000  # as it comes through a browser: a message of more than 10 MiB would cut the line
MAX_UPLOAD_ROWS, MAX_UPLOAD_COLUMNS = 20_000, 200
MAX_SENTENCE = 600  # characters about an upload: names and values in them are the sender's
UPLOAD = Limits(seconds=20, memory_bytes=2**30, answer_bytes=64_000_000)
_SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
                "val": "validation", "dev": "validation", "test": "test", "testing": "test"}


def read_rows(source: Path | pd.DataFrame, text: str, label: str, *, fields: str | None = None,
              encoding: str | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """Columns `text`, `label` (both str), `line` (int, where the row stands); also `split`, `fields` if there are.

    Args:
        source: a CSV, TSV, JSON lines, JSON or Parquet file, also packed with gzip; a folder with a folder of .txt
            files for each label; or a DataFrame.
        fields: a column of JSON objects, see `read_fields`; rows in which it is empty are left out.
        encoding: of a text file that is not UTF-8, such as "cp1252".
        columns: the names of a table's columns, where it has no header line.

    An upload (`is_upload`) is read in another process within limits of size, time and memory.

    Returns:
        The rows; `attrs["notes"]` says in sentences what was changed on the way.

    Raises:
        InputError: unreadable, no such column, empty values, repeated ids, several labels for one text; an upload that
            is too large, unpacked too.
    """
    if isinstance(source, Path) and is_upload(source):
        return _read_upload(source, text, label, fields, encoding, columns)
    notes: list[str] = []
    frame, lines = parse(source, text, label, encoding, columns, notes)
    name = "the table" if isinstance(source, pd.DataFrame) else source.name
    return _rows(frame, lines, name, text, label, fields, notes)


def _rows(frame: pd.DataFrame, lines: np.ndarray, name: str, text: str, label: str, fields: str | None,
          notes: list[str], uploaded: bool = False) -> pd.DataFrame:
    if frame.empty:
        raise InputError(f"{name} has no rows.")
    _require_columns(frame, name, uploaded, text=text, label=label)
    _require_unique_ids(frame, name)
    _require_plain_texts(frame[text], name, text)
    require_one_label(frame[label], name, label)
    rows = pd.DataFrame({"text": _filled(frame, text, name).astype(str),
                         "label": label_texts(_filled(frame, label, name), notes), "line": lines})
    if rows["text"].str.contains("\0", regex=False).any():
        raise InputError(f"{name} holds NUL bytes in column '{text}': it is damaged or not a text file.")
    rows["label"] = folded(rows["label"], notes)
    require_no_lists(rows["label"], name, label)
    require_no_scores(rows["label"], name, label)
    if too_long := int((rows["text"].str.len() > MAX_TEXT_LENGTH).sum()):
        notes.append(f"{too_long} texts were cut after {MAX_TEXT_LENGTH:,} characters.")
    rows["text"] = rows["text"].str.slice(0, MAX_TEXT_LENGTH)
    if "split" in frame and "split" not in (text, label) and (splits := _splits(frame["split"])) is not None:
        rows["split"] = splits
    if fields is not None:
        rows = _with_fields(rows, frame, fields, name, notes, uploaded)
    rows.attrs["notes"] = tuple(notes)
    return rows


def _with_fields(rows: pd.DataFrame, frame: pd.DataFrame, fields: str, name: str, notes: list[str],
                 uploaded: bool) -> pd.DataFrame:
    """The rows that have fields, with them as JSON."""
    if fields not in frame:
        shown = ", ".join(map(str, frame.columns[:10]))
        way = (f"Rename the one that holds a JSON object a row to '{fields}', and choose the file again." if uploaded
               else "Name the one that holds a JSON object a row: load_task(..., fields=...).")
        raise InputError(f"{name} has no column '{fields}'. Its columns: {shown}. {way}")
    rows["fields"] = read_fields(frame[fields], name)
    if empty := int((rows["fields"] == "").sum()):
        notes.append(f"{empty:,} rows with nothing in the column '{fields}' were left out.")
    rows = rows[rows["fields"] != ""].reset_index(drop=True)
    if "split" in rows and not {"train", "test"} <= set(rows["split"]):
        raise InputError(f"{name} has no training row or no test row with something in the column '{fields}'. Fill "
                         "some of each, or leave the column 'split' out.")
    return rows


def read_frame(source: Path, text: str = "text", label: str = "label", *, encoding: str | None = None,
               columns: list[str] | None = None) -> pd.DataFrame:
    """All rows and columns of what `read_rows` can read, as they are; the values of CSV and TSV as text.

    Raises:
        InputError: no such file, another format, unreadable, without rows, or an upload.
    """
    if is_upload(source):
        raise InputError(f"{source.name} came through a browser: only read_rows reads it, within limits.")
    frame, _ = parse(source, text, label, encoding, columns, [])
    if frame.empty:
        raise InputError(f"{source.name} has no rows.")
    return frame


def _read_upload(source: Path, text: str, label: str, fields: str | None, encoding: str | None,
                 columns: list[str] | None) -> pd.DataFrame:
    kind_of(source)
    if (size := source.stat().st_size) > MAX_UPLOAD_BYTES:
        raise too_large(source.name, size)
    request = {"path": str(source), "text": text, "label": label, "fields": fields, "encoding": encoding,
               "columns": columns}
    try:
        answer = run_limited("helpers.lab.data.files", request, UPLOAD)
    except OverLimit as over:
        raise InputError(f"{source.name} {over}. Upload a part of it: at most {MAX_UPLOAD_ROWS:,} rows and "
                         f"{MAX_UPLOAD_COLUMNS} columns.") from None
    if "refused" in answer:
        raise InputError(answer["refused"])
    rows = pd.DataFrame(answer["rows"])
    rows.attrs["notes"] = tuple(answer["notes"])
    return rows


def too_large(name: str, size: int) -> InputError:
    """The error for a file of `size` bytes that is too large to be read."""
    return InputError(f"{name} has {size / 1e6:,.1f} MB, and an upload may have {MAX_UPLOAD_BYTES / 1e6:g} MB at most. "
                      "Upload a part of it, or pack it with gzip (.csv.gz).")


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """The rows of an upload, or what is wrong with it; this is what the limited process does."""
    source, text, label = Path(request["path"]), request["text"], request["label"]
    notes: list[str] = []
    try:
        frame, lines = parse(source, text, label, request["encoding"], request["columns"], notes)
        if len(frame) > MAX_UPLOAD_ROWS or len(frame.columns) > MAX_UPLOAD_COLUMNS:
            raise InputError(f"{source.name} has {len(frame):,} rows and {len(frame.columns):,} columns, and an upload "
                             f"may have {MAX_UPLOAD_ROWS:,} and {MAX_UPLOAD_COLUMNS}. Upload a part of it.")
        rows = _rows(frame, lines, source.name, text, label, request["fields"], notes, uploaded=True)
    except InputError as error:
        return {"refused": str(error)[:MAX_SENTENCE]}
    return {"rows": rows.to_dict("list"), "notes": [note[:MAX_SENTENCE] for note in notes]}


def write_like(frame: pd.DataFrame, target: Path, source: Path, encoding: str | None = None) -> None:
    """Write a table with the separator of `target`'s suffix, else of the file `source`; safe to open in a spreadsheet.

    A text that a spreadsheet would run as a formula gets a ' before it.
    """
    with replacing(target) as unfinished:
        write_separated(frame, unfinished, separator_like(target, source, encoding))


def write_separated(frame: pd.DataFrame, path: Path, separator: str = ",") -> None:
    """Write a table as CSV or TSV, each cell and each column's name made safe by `safe_cell`."""
    safe = frame.map(safe_cell).rename(columns=safe_cell)
    safe.to_csv(path, index=False, sep=separator, quoting=quoting_of(safe.to_numpy().ravel()))


def quoting_of(values: Iterable[object]) -> int:
    """How the csv module has to quote: a carriage return outside of quotes would be read as the end of the row."""
    return csv.QUOTE_NONNUMERIC if any(isinstance(one, str) and "\r" in one for one in values) else csv.QUOTE_MINIMAL


def safe_cell(value: Any) -> Any:
    """The value, with a ' before a text that a spreadsheet would run as a formula; numbers stay as they are.

    >>> from helpers.lab.data.files import safe_cell
    >>> [safe_cell(value) for value in ("=1+1", "-5", "- a dash", -5)]
    ["'=1+1", '-5', "'- a dash", -5]
    """
    return f"'{value}" if would_run(value) else value


def separator_like(target: Path, source: Path, encoding: str | None = None) -> str:
    """The separator of `target`'s suffix, else of the file `source`."""
    if is_tsv(target):
        return "\t"
    if source.is_dir() or kind_of(source) not in (".csv", ".tsv"):
        return ","
    return separator_of(source, decoded(content_of(source), source, encoding))


def would_run(value: object) -> bool:
    """Whether a spreadsheet would take a value for a formula."""
    return isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number(value)


def _splits(values: pd.Series) -> pd.Series | None:
    """train, validation and test for each row; None where the column says something else."""
    splits = values.astype(str).str.strip().str.lower().map(_SPLIT_NAMES)
    return splits if splits.notna().all() and {"train", "test"} <= set(splits) else None


def rows_inside(record: list[str], separator: str, place: int) -> list[str]:
    """Labels (the values at `place`) of what looks like whole rows within a value of several lines.

    Where one of them is the label of another row, a stray quote took rows in.
    """
    labels = []
    for at, value in enumerate(record):
        for number, inner in enumerate(value.split("\n")[:-1]):
            values = [""] * (0 if number else at) + inner.rstrip("\r").split(separator)
            if len(values) == len(record) and values[place]:
                labels.append(values[place].strip('"'))
    return labels


def _require_columns(frame: pd.DataFrame, name: str, uploaded: bool, **wanted: str) -> None:
    columns = [str(c) for c in frame.columns]
    for role, column in wanted.items():
        if column in columns:
            continue
        shown = ", ".join(c if len(c) <= 40 else c[:37] + "..." for c in columns[:10])
        if any(len(c.split()) > 3 or c.strip().lstrip("-").isdigit() for c in columns):
            names = ", ".join(f'"{_role(frame, c, columns)}"' for c in columns[:10])
            way = (f"add a header line with {' and '.join(wanted.values())}, and choose the file again." if uploaded
                   else f'add a header line, or name the columns: load_task("{name}", columns=[{names}]).')
            raise InputError(f"{name} has no column '{column}'. Its columns: {shown}. Its first line looks like data: "
                             f"{way}")
        example = _plausible(frame, role, [c for c in columns if c not in wanted.values()])
        if example is None:
            raise InputError(f"{name} has no column '{column}', and none that could be it. Its columns: {shown}. Write "
                             f"the {role} of each row as a separate column.")
        way = (f"Rename the right one, perhaps '{example}', to '{column}', and choose the file again." if uploaded
               else f'Name the right one: load_task("{name}", {role}="{example}").')
        raise InputError(f"{name} has no column '{column}'. Its columns: {shown}. {way}")


def _plausible(frame: pd.DataFrame, role: str, columns: list[str]) -> str | None:
    """The column that is most like free text (many words, all different), or most like a label (few values)."""
    if not columns:
        return None
    texts = {column: frame[column].astype(str) for column in columns if not frame[column].map(is_nested).any()}
    columns = list(texts)
    if not columns:
        return None
    words = {column: values.str.split().str.len().mean() for column, values in texts.items()}
    variety = {column: values.nunique() / len(values) for column, values in texts.items()}
    if role == "text":
        return max(columns, key=lambda column: (words[column], variety[column]))
    several = [column for column in columns if 2 <= texts[column].nunique() <= MAX_CLASSES]
    return min(several or columns, key=lambda column: (variety[column], words[column]))


def _role(frame: pd.DataFrame, column: str, columns: list[str]) -> str:
    if column == _plausible(frame, "text", columns):
        return "text"
    return "label" if column == _plausible(frame, "label", columns) else f"column{columns.index(column) + 1}"


def _require_unique_ids(frame: pd.DataFrame, name: str) -> None:
    if "id" in frame and (repeated := frame["id"].astype(str).duplicated(keep=False)).any():
        value = frame.loc[repeated, "id"].iloc[0]
        raise InputError(f"{name} repeats the id {value} ({int(repeated.sum())} rows share an id with another). "
                         "Remove the duplicates, or drop the id column if it means something else.")


def _require_plain_texts(values: pd.Series, name: str, column: str) -> None:
    """Refuse lists and records where texts are wanted."""
    if (wrong := values.map(is_nested)).any():
        row, shown = int(wrong.to_numpy().argmax()) + 1, str(values[wrong].iloc[0])[:60]
        raise InputError(f"{name} has no plain text in column '{column}' (row {row}: {shown}). Write the part that is "
                         "meant as a separate column.")


def _filled(frame: pd.DataFrame, column: str, name: str) -> pd.Series:
    values = frame[column]
    missing = values.isna() | (values.astype(str).str.strip() == "")
    if missing.any():
        first = int(missing.to_numpy().argmax()) + 1
        raise InputError(f"{name} has {int(missing.sum())} rows with nothing in column '{column}' "
                         f"(first: row {first}). Fill them in or remove them.")
    return values


if __name__ == "__main__":
    serve(_answer)
