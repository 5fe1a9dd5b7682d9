"""The formats that a user's file may have, each read as a table with the line that each row begins in."""

import csv
import gzip
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.paths import is_upload

READABLE = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
SPREADSHEETS = (".xlsx", ".xls", ".ods")
PACKED = ".gz"
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_NAMED_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?[;,]*\r?\n')  # a first line that spreadsheets understand
csv.field_size_limit(2**31 - 1)  # a text of a megabyte is cut later, not refused


def parse(source: Path | pd.DataFrame, text: str, label: str, encoding: str | None, columns: list[str] | None,
          notes: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The table and the line of each row in the file (the row's number, from 1, where a file has no lines)."""
    if isinstance(source, pd.DataFrame):
        return source.set_axis(source.columns.map(str), axis=1).reset_index(drop=True), np.arange(1, len(source) + 1)
    if source.is_dir():
        return _parse_folder(source, text, label)
    suffix = kind_of(source)
    raw = content_of(source)
    if suffix == ".parquet":
        frame = _parse_parquet(source, raw)
        return frame, np.arange(1, len(frame) + 1)
    content = decoded(raw, source, encoding)
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


def content_of(path: Path) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.suffix.lower() == PACKED else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}): is it whole?") from None


def decoded(raw: bytes, path: Path, encoding: str | None) -> str:
    """The bytes of a file as text without a byte order mark."""
    if not raw.strip():
        raise InputError(f"{path.name} is empty.")
    if encoding is None and b"\0" in raw:
        way = "and choose it again." if is_upload(path) else 'or pass encoding="utf-16".'  # a page has no place for it
        raise InputError(f"{path.name} holds NUL bytes: it is damaged, or UTF-16. Save it as UTF-8 text, {way}")
    try:
        return raw.decode(encoding or "utf-8-sig").removeprefix("\ufeff")  # utf-16-le and utf-8 leave the mark
    except LookupError:
        raise InputError(f"Unknown encoding '{encoding}'. Choose one of, for example: utf-8, cp1252, latin-1, utf-16."
                         ) from None
    except UnicodeDecodeError as error:
        line = raw[:error.start].count(b"\n") + 1
        way = ("Save it as UTF-8, and choose it again." if is_upload(path)
               else 'Save it as UTF-8, or, if it comes from Windows, pass encoding="cp1252".' if encoding is None
               else "Pass the encoding that it was saved in.")
        raise InputError(f"{path.name} is not {encoding or 'UTF-8'} text (line {line}). {way}") from None


def parquet_table(raw: bytes) -> pd.DataFrame:
    """The table of a Parquet file.

    Raises:
        ValueError: it is damaged, in whatever way.
    """
    import pyarrow.parquet

    try:
        # Threads that a limited process cannot have, or has at its end, break it.
        table = pyarrow.parquet.read_table(io.BytesIO(raw), use_threads=False, pre_buffer=False)
        table.validate(full=True)  # what is no UTF-8 would raise where the texts are used
        return table.to_pandas(use_threads=False)
    except MemoryError:
        raise
    except Exception as error:  # the file's notes on how pandas had it may say anything, and raise whatever that does
        raise ValueError(_first_line(error)) from None


def json_value(content: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is no JSON; UnicodeEncodeError, which is one, where an escape such as \\ud83d stands alone, so
            that the text cannot be written.
        RecursionError: it is nested too deeply.
    """
    value = json.loads(content)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _parse_parquet(path: Path, raw: bytes) -> pd.DataFrame:
    try:
        return parquet_table(raw)
    except ValueError as error:
        raise InputError(f"{path.name} cannot be read as PARQUET: {error}") from None


def _parse_folder(folder: Path, text: str, label: str) -> tuple[pd.DataFrame, np.ndarray]:
    files = sorted(folder.glob("*/*.txt"))
    if not files:
        raise InputError(f"The folder {folder.name} holds no texts: it needs a folder for each label, with .txt files.")
    rows = [(decoded(content_of(file), file, None), file.parent.name) for file in files]
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
    """Find the separator of a table's values, by its first line."""
    if named := _NAMED_SEPARATOR.match(content):
        return named[1]
    header = re.sub('"[^"]*"', "", content.lstrip("\r\n").split("\n", 1)[0])
    return "\t" if is_tsv(path) and "\t" in header else max(_SEPARATOR_NAMES, key=header.count)


def _has_blanks(content: str, separator: str) -> bool:
    """Whether a table is written with a blank after each separator: its header is."""
    names = content.lstrip("\r\n").split("\n", 1)[0].split(separator)[1:]
    return separator != "\t" and bool(names) and all(name.startswith(" ") and name.strip() for name in names)


def is_tsv(path: Path) -> bool:
    """Whether a file is called a table with tabs."""
    return path.name.lower().removesuffix(PACKED).endswith(".tsv")


def _records(content: str, separator: str, quoting: int, blanks: bool) -> list[tuple[int, list[str]]]:
    """(line it begins in, values) of each record; csv.Error, its line last, where quotes do not pair."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, quoting=quoting, strict=True,
                        skipinitialspace=blanks)
    records, line = [], 1
    try:
        for record in reader:
            if record:
                records.append((line, record))
            line = reader.line_num + 1
    except csv.Error:
        raise csv.Error(f"quotes do not pair from line {line}") from None
    return records


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



def _parse_json(path: Path, content: str) -> tuple[pd.DataFrame, np.ndarray]:
    try:
        rows = json_value(content)
    except UnicodeEncodeError:
        raise InputError(f"{path.name} holds half a character (a lone surrogate). Write the file again as UTF-8."
                         ) from None
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
            row = json_value(line)
        except UnicodeEncodeError:
            raise InputError(f"{path.name} line {number} holds half a character (a lone surrogate). "
                             "Write the file again as UTF-8.") from None
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deeply, or with too long a number")
            raise InputError(f"{path.name} line {number} is not JSON: {reason}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name} line {number} is not a JSON object with named fields.")
        rows.append(row)
        lines.append(number)
    return pd.DataFrame(rows), np.array(lines, dtype=np.int64)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")[:200] + "."
