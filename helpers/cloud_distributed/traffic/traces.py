"""A user's recorded traffic: a CSV of request times or of counts per interval, with token columns if there are any.

What can be repaired without guessing is repaired and said in the notes; the rest is refused in one sentence.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.cloud_distributed.traffic.generators import from_counts
from helpers.lab.errors import InputError

_EPOCH_UNITS = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))  # by the size of a present date's number
_MIN_TIME, _MAX_TIME = pd.Timestamp("1990-01-01", tz="UTC"), pd.Timestamp("2100-01-01", tz="UTC")
_TIME_NAMES = r"^(timestamps?|times?|date_?time|date|ts|t|arrivals?|arrival_?time|arrived_?at)(_?(s|ms|us|ns|utc))?$"
_COUNT_NAMES = r"^(values?|counts?|requests?|request_?count|invocations?|hits|n)$"
_PROMPT_NAMES = r"^(context|prompt|input)_?(tokens?|length|len)$|^num_?prefill_?tokens$"
_OUTPUT_NAMES = r"^(generated|output|completion|response)_?(tokens?|length|len)$|^num_?decode_?tokens$"
_MAX_TOKENS = 10_000_000
_LONG_GAP = 20.0  # times the mean distance of requests, and a twentieth of the whole


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """Recorded traffic.

    Attributes:
        arrivals: (n,) float64 seconds since the first request (or the first interval's start), ascending.
        start: the moment of second 0 in UTC; None where the file has plain seconds.
        prompt_tokens, output_tokens: (n,) int64, or None.
        notes: what was repaired, and what else should be known; a sentence each.
    """

    arrivals: np.ndarray
    start: pd.Timestamp | None
    prompt_tokens: np.ndarray | None
    output_tokens: np.ndarray | None
    notes: tuple[str, ...]


def read_trace(path: str | Path, time: str | None = None, count: str | None = None, seed: int = 0) -> Trace:
    """Read a CSV of requests (one row each) or of counts (one row an interval).

    Args:
        time: the column of the times: dates, seconds, or Unix time in s, ms, us or ns. None: by its name.
        count: the column of the counts. None: by its name, and where there is none, each row is a request.
        seed: for the places of counted requests within their interval, which the file does not tell.

    Raises:
        InputError: no such file or column, times or numbers that cannot be read or cannot be, mixed time zones
            with and without an offset, or so many requests that they do not fit in memory.
    """
    path = Path(path)
    frame = _read(path)
    time = _column(frame, path, time, _TIME_NAMES, "time") or str(frame.columns[0])
    count = _column(frame, path, count, _COUNT_NAMES, "count")
    tokens = [_column(frame, path, None, names, "tokens") for names in (_PROMPT_NAMES, _OUTPUT_NAMES)]
    notes: list[str] = []
    seconds, start = _seconds(frame[time], path, notes)
    if (np.diff(seconds) < 0).any():
        notes.append(f"{int((np.diff(seconds) < 0).sum())} rows were out of order; the rows were sorted by time.")
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    begin = seconds[0] if start is not None or seconds[0] < 0 else 0.0
    start = start + pd.Timedelta(begin, "s") if start is not None else None
    seconds = seconds - begin
    if count:
        counts = _whole(frame[count], path, count, most=1e9)[order]
        return Trace(_from_intervals(seconds, counts, path, notes, seed), start, None, None, tuple(notes))
    _note_silence(seconds, notes)
    read = [_whole(frame[name], path, name, most=_MAX_TOKENS)[order] if name else None for name in tokens]
    return Trace(seconds, start, read[0], read[1], tuple(notes))


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"There is no file {path.name} in {path.parent.name or 'this folder'}.")
    try:
        frame = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skipinitialspace=True, sep=_separator(path))
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8 text. Save it as UTF-8.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(f"{path.name} cannot be read as a CSV: {reason}.") from None
    if frame.empty:
        raise InputError(f"{path.name} has no rows.")
    if any(_is_value(str(name)) for name in frame.columns):
        raise InputError(f"The first line of {path.name} looks like data ({', '.join(map(str, frame.columns[:3]))}): "
                         "add a header line, such as timestamp,value.")
    return frame


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def _is_value(name: str) -> bool:
    return bool(re.match(r"^-?\d", name))


def _column(frame: pd.DataFrame, path: Path, wanted: str | None, names: str, role: str) -> str | None:
    columns = [str(name) for name in frame.columns]
    if wanted is None:
        return next((name for name in columns if re.match(names, name.strip(), re.IGNORECASE)), None)
    if wanted not in columns:
        raise InputError(f"{path.name} has no column '{wanted}'. Its columns: {', '.join(columns[:10])}. Name the "
                         f'right one: read_trace("{path.name}", {role}="{columns[0]}").')
    return wanted


def _seconds(column: pd.Series, path: Path, notes: list[str]) -> tuple[np.ndarray, pd.Timestamp | None]:
    """(n,) float64 seconds, as in the file or since the returned moment."""
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().all():
        values = numbers.to_numpy(np.float64)
        if not np.isfinite(values).all() or np.abs(values).max() > 5e18:
            raise InputError(f"{path.name} has a time that cannot be: {column[int(np.abs(values).argmax())]}.")
        unit = next((unit for least, unit in _EPOCH_UNITS if np.median(values) > least), None)
        if unit is None:
            return values, None
        notes.append(f"The times were read as Unix time in {unit}.")
        moments = pd.Series(pd.to_datetime(column.astype(np.int64) if unit != "s" else numbers, unit=unit, utc=True))
    else:
        moments = _dates(column, path, notes)
    wrong = (moments < _MIN_TIME) | (moments > _MAX_TIME)
    if wrong.any():
        raise InputError(f"{path.name} has the time {column[wrong].iloc[0]} in row {int(wrong.to_numpy().argmax()) + 1}"
                         ": before 1990 or after 2100. Correct it or remove the row.")
    first = moments.min()
    return (moments - first).dt.total_seconds().to_numpy(np.float64), first


def _dates(column: pd.Series, path: Path, notes: list[str]) -> pd.Series:
    missing = column.isna()
    if missing.any():
        raise InputError(f"{path.name} has {int(missing.sum())} rows without a time (first: row "
                         f"{int(missing.to_numpy().argmax()) + 1}). Fill them in or remove them.")
    zoned = column.str.strip().str.contains(r"\d(?:\s*[+-]\d{2}:?\d{2}|\s*Z|\s*UTC)$", regex=True)
    if zoned.any() and not zoned.all():
        raise InputError(f"{path.name} has times with a time zone and times without one (row "
                         f"{int((zoned != zoned.iloc[0]).to_numpy().argmax()) + 1}). Give all of them one.")
    trimmed = column.str.replace(r"(\.\d{6})\d+", r"\1", regex=True)  # 100 ns and finer
    moments = pd.to_datetime(trimmed, utc=True, format="ISO8601", errors="coerce")
    if moments.isna().any():
        moments = pd.to_datetime(trimmed, utc=True, format="mixed", errors="coerce")
    wrong = moments.isna()
    if wrong.any():
        raise InputError(f"{path.name} has the time '{column[wrong].iloc[0]}' in row "
                         f"{int(wrong.to_numpy().argmax()) + 1}, which is no date. Write it as 2026-01-31 13:45:00.")
    offsets = column[zoned].str.extract(r"([+-]\d{2}:?\d{2})\s*$")[0].fillna("+00:00").unique()
    if len(offsets) > 1 or (len(offsets) == 1 and offsets[0].replace(":", "") not in ("+0000", "-0000")):
        notes.append(f"Times with the offset {' and '.join(offsets[:3])} were turned to UTC.")
    elif not zoned.any():
        notes.append("The times bear no time zone and were taken as UTC.")
    return moments


def _whole(column: pd.Series, path: Path, name: str, most: float) -> np.ndarray:
    """(n,) int64 of a column of whole numbers from 0 to `most`."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    good = (values >= 0) & (values <= most) & (values == np.round(values))
    if not good.all():
        row = int((~good).argmax())
        raise InputError(f"{path.name} has '{column.iloc[row]}' in column '{name}' (row {row + 1}): it must be a whole "
                         f"number from 0 to {most:,.0f}.")
    return values.astype(np.int64)


def _from_intervals(seconds: np.ndarray, counts: np.ndarray, path: Path, notes: list[str], seed: int) -> np.ndarray:
    """Arrivals spread over intervals of one width; those missing in the file have none."""
    steps = np.diff(seconds)
    if not (steps > 0).any():
        raise InputError(f"{path.name} needs counts at two times or more: the interval is read from their distance.")
    width = float(np.median(steps[steps > 0]))
    places = np.round(seconds / width)
    if np.abs(seconds / width - places).max() > 0.05:
        raise InputError(f"{path.name} has counts at uneven times (mostly every {width:g} s). Sum them up to one step, "
                         "or give one row a request.")
    if (steps == 0).any():
        notes.append(f"{int((steps == 0).sum())} times occur twice; their counts were added up.")
    total = int(places[-1]) + 1
    if total > 100 * len(counts):
        raise InputError(f"{path.name} has {len(counts):,} intervals of {width:g} s in a time of {total:,}: a time "
                         "must be wrong. Correct it or remove the row.")
    known = len(np.unique(places))
    if known < total:
        notes.append(f"{total - known} of {total} intervals are missing; they were taken as without requests.")
    notes.append(f"Counts per {width:g} s; the requests were spread evenly at random within each interval.")
    return from_counts(np.bincount(places.astype(np.int64), counts).astype(np.int64), width, seed)


def _note_silence(seconds: np.ndarray, notes: list[str]) -> None:
    """Say where the file has long stretches without a request: a lull, or a hole in the record."""
    gaps = np.diff(seconds)
    if len(gaps) and gaps.max() > max(_LONG_GAP * gaps.mean(), seconds[-1] / 20):
        at = int(gaps.argmax())
        notes.append(f"No request for {gaps[at]:,.0f} s after second {seconds[at]:,.0f}: a lull, or a hole in the "
                     "record.")
