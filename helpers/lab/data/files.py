"""A user's file as rows of text and label, or one sentence about what is wrong with it.

Whatever is changed on the way (labels written differently, quotes, an encoding) is said in a note.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.data.extraction import read_fields
from helpers.lab.data.labels import (
    MAX_CLASSES,
    folded,
    is_nested,
    is_number,
    label_texts,
    require_no_lists,
    require_no_scores,
    require_one_label,
)
from helpers.lab.errors import InputError
from helpers.lab.paths import replacing

READABLE = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
SPREADSHEETS = (".xlsx", ".xls", ".ods")
PACKED = ".gz"
MAX_TEXT_LENGTH = 100_000  # characters; models read at most some hundred tokens, so the rest only costs time
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NAMED_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[;,]*\r?\n')  # a first line that spreadsheets understand
_SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
                "val": "validation", "dev": "validation", "test": "test", "testing": "test"}
csv.field_size_limit(2**31 - 1)  # a text of a megabyte is cut later, not refused


def read_rows(source: Path | pd.DataFrame, text: str, label: str, *, fields: str | None = None,
              encoding: str | None = None, columns: list[str] | None = None) -> pd.DataFrame:
    """Columns `text`, `label` (both str), `line` (int, where the row stands); also `split`, `fields` if there are.

    Args:
        source: a CSV, TSV, JSON lines, JSON or Parquet file, also packed with gzip; a folder with a folder of .txt
            files for each label; or a DataFrame.
        fields: a column of JSON objects, see `read_fields`; rows in which it is empty are left out.
        encoding: of a text file that is not UTF-8, such as "cp1252".
        columns: the names of a table's columns, where it has no header line.

    Returns:
        The rows; `attrs["notes"]` says in sentences what was changed on the way.

    Raises:
        InputError: unreadable, no such column, empty values, repeated ids, several labels for one text.
    """
    name = "the table" if isinstance(source, pd.DataFrame) else source.name
    notes: list[str] = []
    frame, lines = _parse(source, text, label, encoding, columns, notes)
    _require_rows(frame, name)
    _require_columns(frame, name, text=text, label=label)
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
        rows = _with_fields(rows, frame, fields, name, notes)
    rows.attrs["notes"] = tuple(notes)
    return rows


def _with_fields(rows: pd.DataFrame, frame: pd.DataFrame, fields: str, name: str, notes: list[str]) -> pd.DataFrame:
    """The rows that have fields, with them as JSON."""
    if fields not in frame:
        shown = ", ".join(map(str, frame.columns[:10]))
        raise InputError(f"{name} has no column '{fields}'. Its columns: {shown}. Name the one that holds a JSON "
                         "object a row: load_task(..., fields=...).")
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
        InputError: no such file, another format, unreadable, or without rows.
    """
    frame, _ = _parse(source, text, label, encoding, columns, [])
    _require_rows(frame, source.name)
    return frame


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
    if _is_tsv(target):
        return "\t"
    if source.is_dir() or kind_of(source) not in (".csv", ".tsv"):
        return ","
    return separator_of(source, _decoded(_content(source), source, encoding))


def would_run(value: object) -> bool:
    """Whether a spreadsheet would take a value for a formula."""
    return isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number(value)


def _require_rows(frame: pd.DataFrame, name: str) -> None:
    if frame.empty:
        raise InputError(f"{name} has no rows.")


def _splits(values: pd.Series) -> pd.Series | None:
    """train, validation and test for each row; None where the column says something else."""
    splits = values.astype(str).str.strip().str.lower().map(_SPLIT_NAMES)
    return splits if splits.notna().all() and {"train", "test"} <= set(splits) else None


def _parse(source: Path | pd.DataFrame, text: str, label: str, encoding: str | None, columns: list[str] | None,
           notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The table and the line of each row in the file (the row's number, from 1, where a file has no lines)."""
    if isinstance(source, pd.DataFrame):
        return source.set_axis(source.columns.map(str), axis=1).reset_index(drop=True), np.arange(1, len(source) + 1)
    if source.is_dir():
        return _parse_folder(source, text, label)
    suffix = kind_of(source)
    raw = _content(source)
    if suffix == ".parquet":
        try:
            frame = pd.read_parquet(io.BytesIO(raw))
        except (OSError, ValueError) as error:
            raise InputError(f"{source.name} cannot be read as PARQUET: {_first_line(error)}") from None
        return frame, np.arange(1, len(frame) + 1)
    content = _decoded(raw, source, encoding)
    if suffix == ".jsonl":
        return _parse_jsonl(source, content)
    if suffix == ".json":
        return _parse_json(source, content)
    return _parse_separated(source, content, text, label, columns, notes)


def kind_of(path: Path) -> str:
    """The suffix that tells how to read a file, without .gz.

    Raises:
        InputError: no such file, or a kind that cannot be read, with the way out.
    """
    suffix = (path.with_suffix("") if path.suffix.lower() == PACKED else path).suffix.lower()
    if suffix in SPREADSHEETS:
        raise InputError(f"{path.name} is a spreadsheet's own file: save the sheet as CSV (UTF-8) there, and give "
                         f"that. {', '.join(READABLE)} can be read.")
    if not path.is_file():
        raise InputError(f"There is no file {path.name} in {path.parent.name or 'this folder'}.")
    if suffix not in READABLE:
        raise InputError(f"{path.name} is no {', '.join(READABLE[:-1])} or {READABLE[-1]} file.")
    return suffix


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix.lower() == PACKED else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}): is it whole?") from None


def _decoded(raw: bytes, path: Path, encoding: str | None) -> str:
    if not raw.strip():
        raise InputError(f"{path.name} is empty.")
    if encoding is None and b"\0" in raw:
        raise InputError(f"{path.name} holds NUL bytes: it is damaged, or UTF-16. Save it as UTF-8 text, or pass "
                         'encoding="utf-16".')
    try:
        return raw.decode(encoding or "utf-8-sig").removeprefix("\ufeff")  # utf-16-le and utf-8 leave the mark
    except LookupError:
        raise InputError(f"Unknown encoding '{encoding}'. Choose one of, for example: utf-8, cp1252, latin-1, utf-16."
                         ) from None
    except UnicodeDecodeError as error:
        line = raw[:error.start].count(b"\n") + 1
        way = ('Save it as UTF-8, or, if it comes from Windows, pass encoding="cp1252".' if encoding is None
               else "Pass the encoding that it was saved in.")
        raise InputError(f"{path.name} is not {encoding or 'UTF-8'} text (line {line}). {way}") from None


def _parse_folder(folder: Path, text: str, label: str) -> tuple[pd.DataFrame, np.ndarray]:
    files = sorted(folder.glob("*/*.txt"))
    if not files:
        raise InputError(f"The folder {folder.name} holds no texts: it needs a folder for each label, with .txt files.")
    rows = [(_decoded(_content(file), file, None), file.parent.name) for file in files]
    return pd.DataFrame(rows, columns=[text, label]), np.arange(1, len(rows) + 1)


def _parse_separated(path: Path, content: str, text: str, label: str, columns: list[str] | None,
                     notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    separator = separator_of(path, content)
    content = _NAMED_SEPARATOR.sub("\n", content, count=1) if _NAMED_SEPARATOR.match(content) else content
    if blanks := _has_blanks(content, separator):
        notes.append(f"The blanks after each {_SEPARATOR_NAMES[separator]} in {path.name} were left out.")
    try:
        records = _records(content, separator, csv.QUOTE_MINIMAL, blanks)
        swallowed = _swallowing(records, content, separator, label)
    except csv.Error as error:
        records, swallowed = [], int(str(error).rsplit(" ", 1)[-1])
    if swallowed:
        records = _records(content, separator, csv.QUOTE_NONE, blanks)
        if len({len(record) for _, record in records}) > 1:
            raise InputError(f"{path.name} has a quote that is not closed near line {swallowed}: rows would be lost in "
                             "it. Close it, or write it twice.")
        notes.append(f"Quotes in {path.name} do not pair (line {swallowed}); they were read as plain signs, so that no "
                     "row is lost.")
    if not records:
        raise InputError(f"{path.name} is empty.")
    names = columns or [name.strip() if name.strip() in (text, label) else name for name in records[0][1]]
    rows = records if columns else records[1:]
    if wide := next((line for line, record in rows if len(record) > len(names)), None):
        if columns:
            raise InputError(f"{path.name} has more values in line {wide} than the {len(columns)} columns named.")
        raise InputError(f"{path.name} cannot be read as a table: rows have more values than the header has columns "
                         f"(line {wide}). Put texts that hold a {_SEPARATOR_NAMES[separator]} in quotes.")
    if len(set(names)) < len(names):
        raise InputError(f"{path.name} has two columns of one name: rename one of them.")
    filled = [record + [""] * (len(names) - len(record)) for _, record in rows]
    return pd.DataFrame(filled, columns=names, dtype=object), np.array([line for line, _ in rows], dtype=np.int64)


def separator_of(path: Path, content: str) -> str:
    """What separates the values of a table, by its first line."""
    if named := _NAMED_SEPARATOR.match(content):
        return named[1]
    header = re.sub('"[^"]*"', "", content.lstrip("\r\n").split("\n", 1)[0])
    return "\t" if _is_tsv(path) and "\t" in header else max(_SEPARATOR_NAMES, key=header.count)


def _has_blanks(content: str, separator: str) -> bool:
    """Whether a table is written with a blank after each separator: its header is."""
    names = content.lstrip("\r\n").split("\n", 1)[0].split(separator)[1:]
    return separator != "\t" and bool(names) and all(name.startswith(" ") and name.strip() for name in names)


def _is_tsv(path: Path) -> bool:
    return path.name.lower().removesuffix(PACKED).endswith(".tsv")


def _records(content: str, separator: str, quoting: int, blanks: bool) -> list[tuple[int, list[str]]]:
    """(line it begins in, values) of each record; csv.Error, its line last, where quotes do not pair."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, quoting=quoting, strict=True,
                        skipinitialspace=blanks)
    found, line = [], 1
    try:
        for record in reader:
            if record:
                found.append((line, record))
            line = reader.line_num + 1
    except csv.Error:
        raise csv.Error(f"quotes do not pair from line {line}") from None
    return found


def _swallowing(records: list[tuple[int, list[str]]], content: str, separator: str, label: str) -> int | None:
    """The line of a record that holds a whole other row inside its quotes: a stray quote took it in."""
    if len(records) < 2 or label not in records[0][1]:
        return None
    width, place = len(records[0][1]), records[0][1].index(label)
    lines = io.StringIO(content, newline="").readlines()
    ends = [line for line, _ in records[1:]] + [len(lines) + 1]
    long = [(line, end) for (line, _), end in zip(records, ends, strict=True) if end - line > 1]
    if not long:
        return None
    known = {record[place] for (line, record), end in zip(records, ends, strict=True)
             if end - line == 1 and len(record) == width}
    for line, end in long:
        for inner in lines[line - 1:end - 2]:
            values = inner.rstrip("\r\n").split(separator)
            if len(values) == width and values[place].strip('"') in known:
                return line
    return None


def rows_inside(record: list[str], separator: str, place: int) -> list[str]:
    """Labels (the values at `place`) of what looks like whole rows within a value of several lines.

    Where one of them is the label of another row, a stray quote took rows in.
    """
    found = []
    for at, value in enumerate(record):
        for number, inner in enumerate(value.split("\n")[:-1]):
            values = [""] * (0 if number else at) + inner.rstrip("\r").split(separator)
            if len(values) == len(record) and values[place]:
                found.append(values[place].strip('"'))
    return found


def _parse_json(path: Path, content: str) -> tuple[pd.DataFrame, np.ndarray]:
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        way = " If it holds a record a line, call it .jsonl." if str(error).startswith("Extra data") else ""
        raise InputError(f"{path.name} is not JSON: {_first_line(error)}{way}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path.name} must hold a list of records with named fields.")
    return pd.DataFrame(rows), np.arange(1, len(rows) + 1)


def _parse_jsonl(path: Path, content: str) -> tuple[pd.DataFrame, np.ndarray]:
    rows, lines = [], []
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines() would also cut at U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()
        except (json.JSONDecodeError, RecursionError) as error:
            reason = getattr(error, "msg", "too deep")
            raise InputError(f"{path.name} line {number} is not JSON: {reason}.") from None
        except UnicodeEncodeError:  # an escape such as \ud83d alone
            raise InputError(f"{path.name} line {number} holds half a character (a lone surrogate). "
                             "Write the file again as UTF-8.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name} line {number} is not a JSON object with named fields.")
        rows.append(row)
        lines.append(number)
    return pd.DataFrame(rows), np.array(lines, dtype=np.int64)


def _require_columns(frame: pd.DataFrame, name: str, **wanted: str) -> None:
    columns = [str(c) for c in frame.columns]
    for role, column in wanted.items():
        if column in columns:
            continue
        shown = ", ".join(c if len(c) <= 40 else c[:37] + "..." for c in columns[:10])
        if any(len(c.split()) > 3 or c.strip().lstrip("-").isdigit() for c in columns):
            names = ", ".join(f'"{_role(frame, c, columns)}"' for c in columns[:10])
            raise InputError(f"{name} has no column '{column}'. Its columns: {shown}. Its first line looks like data: "
                             f'add a header line, or name the columns: load_task("{name}", columns=[{names}]).')
        example = _plausible(frame, role, [c for c in columns if c not in wanted.values()])
        if example is None:
            raise InputError(f"{name} has no column '{column}', and none that could be it. Its columns: {shown}. Write "
                             f"the {role} of each row as a column of its own.")
        raise InputError(f"{name} has no column '{column}'. Its columns: {shown}. Name the right one: "
                         f'load_task("{name}", {role}="{example}").')


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
                         "meant as a column of its own.")


def _filled(frame: pd.DataFrame, column: str, name: str) -> pd.Series:
    values = frame[column]
    missing = values.isna() | (values.astype(str).str.strip() == "")
    if missing.any():
        first = int(missing.to_numpy().argmax()) + 1
        raise InputError(f"{name} has {int(missing.sum())} rows with nothing in column '{column}' "
                         f"(first: row {first}). Fill them in or remove them.")
    return values


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")[:200] + "."
