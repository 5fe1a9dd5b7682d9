"""The rows of a traffic file as text: CSV, TSV, JSON lines, Parquet or an access log, packed with gzip or not;
and their columns by name."""

import gzip
import io
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from helpers.lab.data.tables import json_value, parquet_table
from helpers.lab.errors import InputError

_LINE_END = re.compile(r"\r\n|\r|\n")
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_METRIC_NAMES = re.compile(r"metric(_?name)?|measurement|series|__name__")
_REQUEST_METRICS = re.compile(r"(http_)?req(uest)?s(_total|_count)?|invocations|requestcount")
_LOG_TIME = re.compile(r"\[(\d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2}(?: [+-]\d{4})?)\]")  # Apache, nginx


def read_rows(path: Path) -> tuple[pd.DataFrame, str]:
    """All rows with every value as text, blank cells as missing, and a sentence on how the file was read.

    Raises:
        InputError: no such file, nothing in it, or not what its kind should hold; the sentence names the place.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path.name} in {path.parent.name or 'this folder'}.")
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}): is it whole?") from None
    if raw.startswith(_PARQUET):
        return _require_rows(_parquet(raw, path), path), "read as Parquet"
    text = _decoded(raw, path)
    first = text.lstrip()[:1]
    if first == "{" or (first == "[" and not _LOG_TIME.match(text.lstrip())):
        return _require_rows(_json(text, path), path), "read as JSON"
    lines = _LINE_END.split(text)
    if _LOG_TIME.search(lines[0]):
        return _access_log(lines, path), "read as an access log, a request a line"
    frame, separator = _table(text, path)
    return _require_rows(frame, path), f"read with {len(frame):,} rows, separated by '{separator}'"


def one_metric(frame: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    """Of a load test's file with several metrics, the rows that count requests."""
    column = named(frame, _METRIC_NAMES, set())
    if column is None or frame[column].nunique() < 2:
        return frame
    metrics = [str(name) for name in frame[column].dropna().unique()]
    counting = [name for name in metrics if _REQUEST_METRICS.fullmatch(plain_name(name))]
    if len(counting) != 1:
        raise InputError(f"{path.name} holds several metrics ({', '.join(metrics[:5])}), and which of them counts "
                         "requests is not clear: keep the rows of one.")
    notes.append(f"Of {len(metrics)} metrics the rows of {counting[0]} were taken.")
    counted = frame[frame[column] == counting[0]].drop(columns=column).reset_index(drop=True)
    values = [name for name in counted.columns if pd.to_numeric(counted[name], errors="coerce").eq(1).all()]
    return counted.drop(columns=values)  # a 1 for each request says no more than the row does


def plain_name(name: str) -> str:
    """Lower case, words joined by one underscore: 'Request tokens' and requestTokens are request_tokens."""
    split = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def named(frame: pd.DataFrame, names: re.Pattern, taken: set[str]) -> str | None:
    """The first column whose name says what is looked for."""
    return next((str(name) for name in frame.columns
                 if str(name) not in taken and names.fullmatch(plain_name(str(name)))), None)


def require_column(frame: pd.DataFrame, path: Path, wanted: str, role: str,
                   likely: Callable[[pd.Series], bool]) -> str:
    """The wanted column's name, or an InputError that calls a plausible one."""
    if wanted not in frame.columns:
        plausible = next((name for name in frame.columns if likely(frame[name])), frame.columns[0])
        raise InputError(f"{path.name} has no column '{wanted}'. Its columns: {', '.join(frame.columns[:10])}. Name "
                         f'the right one: read_trace("{path.name}", {role}="{plausible}").')
    return wanted


def _decoded(raw: bytes, path: Path) -> str:
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from None


def _require_rows(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    if frame.empty or not len(frame.columns):
        raise InputError(f"{path.name} has no rows.")
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.columns.duplicated().any():
        raise InputError(f"{path.name} has the column '{frame.columns[frame.columns.duplicated()][0]}' twice: rename "
                         "one of them.")
    return frame


def _parquet(raw: bytes, path: Path) -> pd.DataFrame:
    try:
        return _as_text(parquet_table(raw))
    except ValueError as error:
        raise InputError(f"{path.name} cannot be read as Parquet, is it whole? {error}") from None


def _json(text: str, path: Path) -> pd.DataFrame:
    """Records in one list, or one a line; what is nested gets names like usage.prompt_tokens."""
    whole = text.lstrip().startswith("[")
    records: list = []
    for number, content in enumerate([text] if whole else _LINE_END.split(text), 1):
        try:
            records += (json_value(content) if whole else [json_value(content)]) if content.strip() else []
        except (ValueError, RecursionError) as error:
            place = f"its text ({error})" if whole else f"line {number}"
            raise InputError(f"{path.name} is no JSON in {place}: give one record a line.") from None
    if not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path.name} must hold records, one a line, such as "
                         '{"timestamp": 0, "input_length": 200}.')
    return _as_text(pd.json_normalize(records, max_level=2))


def _as_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.apply(lambda column: column.map(_plain, na_action="ignore").astype("object"))


def _plain(value: object) -> str:
    """Whole floats as whole numbers: a column with blanks is read as floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _access_log(lines: list[str], path: Path) -> pd.DataFrame:
    times = [(number, _LOG_TIME.search(line)) for number, line in enumerate(lines, 1) if line.strip()]
    missing = next((number for number, match in times if match is None), None)
    if missing:
        raise InputError(f"{path.name} has no time in brackets in line {missing}, as an access log has: correct it or "
                         "remove the line.")
    return pd.DataFrame({"time": [match[1] for _, match in times]})


def _table(text: str, path: Path) -> tuple[pd.DataFrame, str]:
    header = text.lstrip("\n\r").split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    try:
        frame = pd.read_csv(io.StringIO(text), dtype=str, skipinitialspace=True, sep=separator, keep_default_na=False,
                            na_values=["", "NaN", "nan", "null", "NULL", "None"])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(f"{path.name} cannot be read as a CSV: {reason}.") from None
    lines = [line for line in enumerate(_LINE_END.split(text), 1) if line[1].strip(" \t".replace(separator, ""))]
    if len(frame) != len(lines) - 1:  # a quote that is not closed takes the lines after it into one value
        unbalanced = next((number for number, line in lines if line.count('"') % 2), lines[-1][0] if lines else 1)
        raise InputError(f"{path.name} has {len(lines) - 1:,} lines under its header and {len(frame):,} rows: look at "
                         f"the quotes in line {unbalanced}.")
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(f"{path.name} has more values in a row than its header has names: give each column one.")
    if any(re.match(r"^-?\d", str(name)) for name in frame.columns):
        raise InputError(f"The first line of {path.name} looks like data ({', '.join(map(str, frame.columns[:3]))}): "
                         "add a header line, such as timestamp,value.")
    return frame, {"\t": "tab"}.get(separator, separator)
