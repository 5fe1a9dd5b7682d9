"""A user's file as rows of text and label, or one sentence about what is wrong with it."""

import json
import warnings
from pathlib import Path

import pandas as pd

from helpers.lab.errors import InputError

READABLE = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_TEXT_LENGTH = 100_000  # characters; models read at most some hundred tokens, so the rest only costs time
MAX_CLASSES = 1_000
_SEPARATOR_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


def read_rows(path: Path, text: str, label: str) -> pd.DataFrame:
    """Columns `text` and `label` (both str) of a CSV, TSV, JSONL or Parquet file.

    Raises:
        InputError: unreadable, no such column, empty values, repeated ids, one class only, a class
            with one row, or so many classes that the label looks like an id.
    """
    frame = read_frame(path)
    _require_columns(frame, path, text=text, label=label)
    _require_unique_ids(frame, path)
    rows = pd.DataFrame({"text": _filled(frame, text, path), "label": _filled(frame, label, path)})
    if rows["text"].str.contains("\0", regex=False).any():
        raise InputError(f"{path.name} holds NUL bytes in column '{text}': it is damaged or not a text file.")
    rows["text"] = rows["text"].str.slice(0, MAX_TEXT_LENGTH)
    return rows


def read_frame(path: Path) -> pd.DataFrame:
    """All rows and columns of a CSV, TSV, JSONL or Parquet file; the values of CSV and TSV as text.

    Raises:
        InputError: no such file, another format, unreadable, or without rows.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path.name} in {path.parent.name or 'this folder'}.")
    if path.suffix.lower() not in READABLE:
        raise InputError(f"{path.name} is no {', '.join(READABLE[:-1])} or {READABLE[-1]} file.")
    frame = _parse(path)
    if frame.empty:
        raise InputError(f"{path.name} has no rows.")
    return frame


def require_classes(labels: pd.Series, name: str) -> None:
    """Refuse labels that no classifier can be trained and tested on."""
    counts = labels.value_counts()
    if len(counts) < 2:
        raise InputError(f"{name} has one label only ('{counts.index[0]}'); two or more are needed to classify.")
    if len(counts) > MAX_CLASSES:
        raise InputError(f"{name} has {len(counts):,} different labels for {len(labels):,} rows; "
                         f"at most {MAX_CLASSES:,} are supported. Is the label column an id?")
    if counts.min() < 3:
        times = {1: "once", 2: "twice"}[int(counts.min())]
        raise InputError(f"{name} has the label '{counts.index[-1]}' only {times}; each label needs 3 rows "
                         "(training, validation, test). Add rows, or merge or drop the label.")


def _parse(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        content = path.read_bytes()
        if not content.strip():
            raise InputError(f"{path.name} is empty.")
        if b"\0" in content:
            raise InputError(f"{path.name} holds NUL bytes: it is damaged, or UTF-16. Save it as UTF-8 text.")
        lines = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise InputError(f"{path.name} is not UTF-8 text (line {line}). Save it as UTF-8.") from None
    except (OSError, pd.errors.ParserError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} cannot be read as {suffix[1:].upper()}: {_first_line(error)}") from None
    return _parse_jsonl(path, lines) if suffix == ".jsonl" else _parse_separated(path, lines)


def _parse_separated(path: Path, content: str) -> pd.DataFrame:
    import io

    header = content.split("\n", 1)[0]
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
    try:
        # Without keep_default_na=False the text "None" or "NA" would count as missing.
        with warnings.catch_warnings():  # values beyond the header's columns would be dropped with a warning only
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(io.StringIO(content), sep=separator, dtype=str, keep_default_na=False, index_col=False)
    except pd.errors.ParserWarning:
        raise InputError(f"{path.name} cannot be read as a table: rows have more values than the header has columns. "
                         f"Put texts that hold a {_SEPARATOR_NAMES[separator]} in quotes.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as a table: {_first_line(error)}") from None


def _parse_jsonl(path: Path, content: str) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines() would also cut at U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise InputError(f"{path.name} line {number} is not JSON: {error.msg}.") from None
        except UnicodeEncodeError:  # an escape such as \ud83d alone
            raise InputError(f"{path.name} line {number} holds half a character (a lone surrogate). "
                             "Write the file again as UTF-8.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name} line {number} is not a JSON object with named fields.")
        rows.append(row)
    return pd.DataFrame(rows)


def _require_columns(frame: pd.DataFrame, path: Path, **wanted: str) -> None:
    columns = [str(c) for c in frame.columns]
    for role, column in wanted.items():
        if column in columns:
            continue
        shown = ", ".join(c if len(c) <= 40 else c[:37] + "..." for c in columns[:10])
        header = (" Its first line looks like data: add a header line."
                  if any(len(c.split()) > 3 for c in columns) else "")
        example = next((c for c in columns if c not in wanted.values()), role)
        raise InputError(f"{path.name} has no column '{column}'. Its columns: {shown}.{header} Name the right one: "
                         f'load_task("{path.name}", {role}="{example}").')


def _require_unique_ids(frame: pd.DataFrame, path: Path) -> None:
    if "id" in frame and (repeated := frame["id"].duplicated(keep=False)).any():
        value = frame.loc[repeated, "id"].iloc[0]
        raise InputError(f"{path.name} repeats the id {value} ({int(repeated.sum())} rows share an id with another). "
                         "Remove the duplicates, or drop the id column if it means something else.")


def _filled(frame: pd.DataFrame, column: str, path: Path) -> pd.Series:
    values = frame[column]
    missing = values.isna() | (values.astype(str).str.strip() == "")
    if missing.any():
        first = int(missing.to_numpy().argmax()) + 1
        raise InputError(f"{path.name} has {int(missing.sum())} rows with nothing in column '{column}' "
                         f"(first: row {first}). Fill them in or remove them.")
    return values.astype(str)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")[:200] + "."
