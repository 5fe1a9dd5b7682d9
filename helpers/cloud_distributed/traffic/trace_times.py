"""The times of a trace: numbers in a unit, or dates in one format for the whole column."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.cloud_distributed.traffic.trace_files import named, require_column
from helpers.lab.errors import InputError

UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_BY_SIZE = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))  # by the size of a present date's number
_EARLIEST, _LATEST = pd.Timestamp("1990-01-01", tz="UTC"), pd.Timestamp("2100-01-01", tz="UTC")
_UNIT = r"(_(s|ms|us|ns|sec|seconds|millis|milliseconds|utc))?"
_TIME_NAMES = re.compile(
    r"(time_?stamps?|times?|date_?time|dates?|ts|t|arrivals?|arrival_?time|period_start|interval_start|start|begin|"
    r"(\w+_)?(created|arrived|received|started|requested|logged|sent)(_?(at|time|on))|"
    r"(start|begin|created|event|request|log|received)_?(time|timestamp|date)(_?stamp)?)" + _UNIT)
_SUFFIX = re.compile(r"(?:_|\b)(ns|us|µs|ms|s|sec|secs|seconds|millis|milliseconds|micros|nanos|min|minutes)\)?$")
_LONG = {"µs": "us", "sec": "s", "secs": "s", "seconds": "s", "millis": "ms", "milliseconds": "ms", "micros": "us",
         "nanos": "ns", "minutes": "min"}
_ZONED = r"\d(?:\s*[+-]\d{2}:?\d{2}|\s*Z|\s*UTC|\s*GMT)$"
_DAY_FIRST, _MONTH_FIRST = ("%d/%m/%Y", "%d/%m/%y"), ("%m/%d/%Y", "%m/%d/%y")
_NAMED_MONTH = ("%d/%b/%Y", "%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%a %d %b %Y", "%a, %d %b %Y",
                "%a %b %d %Y")
_YEAR_FIRST = ("%Y/%m/%d", "%Y%m%d")
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")


def time_column(frame: pd.DataFrame, path: Path, wanted: str | None, dayfirst: bool | None) -> str:
    """The column of the times: the wanted one, else by its name, else the only one of dates."""
    if wanted is not None:
        return require_column(frame, path, wanted, "time", lambda column: _looks_like_dates(column, dayfirst))
    by_name = named(frame, _TIME_NAMES, set())
    if by_name or len(frame.columns) == 1:
        return by_name or str(frame.columns[0])
    dates = [str(name) for name in frame.columns if _looks_like_dates(frame[name], dayfirst)]
    if len(dates) == 1:
        return dates[0]
    raise InputError(f"Which column of {path.name} is the time is not clear ({', '.join(frame.columns[:10])}): name "
                     f'it, such as read_trace("{path.name}", time="{(dates or list(frame.columns))[0]}").')


def _looks_like_dates(column: pd.Series, dayfirst: bool | None) -> bool:
    sample = column.dropna().iloc[:20]
    if sample.empty or pd.to_numeric(sample, errors="coerce").notna().any():
        return False
    try:
        dates_of(sample, True if dayfirst is None else dayfirst, "the file")
    except InputError:
        return False
    return True


def seconds_of(column: pd.Series, name: str, unit: str | None, dayfirst: bool | None, path: Path,
               notes: list[str]) -> tuple[np.ndarray, pd.Timestamp | None]:
    """(n,) float64 seconds, as in the file or since the returned moment."""
    read = numbers_of(column, name, unit, path.name)
    moments, sentence = read if read else dates_of(column, dayfirst, path.name)
    notes.append(f"Column '{name}' was taken as the time: {sentence}.")
    if read and moments.dtype == np.float64:
        return moments.to_numpy(), None
    first = moments.min()
    return (moments - first).dt.total_seconds().to_numpy(np.float64), first


def unit_of_name(name: str) -> str | None:
    """The unit that a column's name ends in: timestamp_ms and 'time (ms)' give ms."""
    match = _SUFFIX.search(name.strip().lower())
    return _LONG.get(match[1], match[1]) if match else None


def numbers_of(column: pd.Series, name: str, unit: str | None, file: str) -> tuple[pd.Series, str] | None:
    """(seconds or moments, sentence) of a column of numbers; None where they are no numbers.

    Seconds from the file's own zero are float64; Unix times are moments in UTC.
    """
    values = pd.to_numeric(column, errors="coerce")
    if values.isna().any():
        return None
    if not np.isfinite(values).all() or values.abs().max() > 5e18:
        raise InputError(f"{file} has a time that cannot be: {column.iloc[int(values.abs().argmax())]}.")
    named_unit, middle = unit or unit_of_name(name), float(values.median())
    by_size = next((known for least, known in _BY_SIZE if middle > least), None)
    chosen = named_unit or by_size or "s"
    whence = "as you said" if unit else "as its name says" if named_unit else ""
    if middle * UNITS[chosen] <= 1e8:
        doubt = whence or "no unit is named: pass unit=\"ms\" where they are milliseconds"
        return values * UNITS[chosen], f"plain times in {chosen} ({doubt})"
    whole = column.str.fullmatch(r"\d+").all() and chosen in ("ns", "us", "ms", "s")
    moments = (pd.to_datetime(column.astype(np.int64), unit=chosen, utc=True, errors="coerce") if whole
               else pd.to_datetime(values * UNITS[chosen], unit="s", utc=True, errors="coerce"))
    return in_range(moments, column, file), f"Unix time in {chosen}" + (f" ({whence})" if whence else "")


def dates_of(column: pd.Series, dayfirst: bool | None, file: str) -> tuple[pd.Series, str]:
    """(moments in UTC, sentence) of a column of dates, all of one format."""
    text = column.str.strip().str.replace(r"(\.\d{6})\d+", r"\1", regex=True)  # 100 ns and finer
    zoned = text.str.contains(_ZONED, regex=True)
    if zoned.any() and not zoned.all():
        raise InputError(f"{file} has times with a time zone and times without one (row "
                         f"{int((zoned != zoned.iloc[0]).to_numpy().argmax()) + 1}). Give all of them one.")
    moments, form = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"), "ISO 8601"
    if moments.isna().any():
        moments, form = _in_one_format(text, bool(zoned.all()), dayfirst, file)
    offsets = text[zoned].str.extract(r"([+-]\d{2}:?\d{2})\s*$")[0].fillna("+00:00").unique()
    if len(offsets) > 1 or (len(offsets) == 1 and offsets[0].replace(":", "") not in ("+0000", "-0000")):
        zone = f"the offset {' and '.join(offsets[:3])} turned to UTC"
    else:
        zone = "in UTC" if zoned.any() else "no time zone, taken as UTC"
    return in_range(moments, column, file), f"dates as {form}, {zone}"


def _in_one_format(text: pd.Series, zoned: bool, dayfirst: bool | None, file: str) -> tuple[pd.Series, str]:
    """The one format that reads every row; a question where day and month could change places."""
    sign = next((mark for mark in "/.-" if re.match(rf"\d+{re.escape(mark)}\d", text.iloc[0])), "/")
    families = {True: _DAY_FIRST, False: _MONTH_FIRST, None: _NAMED_MONTH + _YEAR_FIRST}
    read: dict[bool | None, tuple[pd.Series, str]] = {}
    for family, dates in families.items():
        if dayfirst is not None and family not in (dayfirst, None):
            continue
        forms = (f"{date.replace('/', sign)}{joint if clock else ''}{clock}{zone}" for date, clock, joint, zone in
                 itertools.product(dates, _CLOCKS, (" ", ":", "T", ", "), ("%z", " %z") if zoned else ("",)))
        parsed = next(((moments, form) for form in dict.fromkeys(forms)
                      if not pd.isna(_try(text.iloc[0], form)) and not (moments := _parsed(text, form)).isna().any()),
                     None)
        if parsed:
            read[family] = parsed
    if True in read and False in read and not read[True][0].equals(read[False][0]):
        raise InputError(f"{file} has dates such as '{text.iloc[0]}' that could begin with the day or with the month: "
                         "pass dayfirst=True or dayfirst=False.")
    if read:
        return next(iter(read.values()))
    return _refuse(text, file)


def _refuse(text: pd.Series, file: str) -> tuple[pd.Series, str]:
    """Name the first row that breaks what the others are."""
    wrong = pd.to_datetime(text, utc=True, format="mixed", errors="coerce").isna()
    row = int(wrong.to_numpy().argmax()) if wrong.any() else 0
    raise InputError(f"{file} has the time '{text.iloc[row]}' in row {row + 1}, which is no date of the same format as "
                     "the others. Write all as 2026-01-31 13:45:00.")


def _try(value: str, form: str) -> pd.Timestamp:
    return pd.to_datetime(value, format=form, utc=True, errors="coerce")


def _parsed(text: pd.Series, form: str) -> pd.Series:
    return pd.to_datetime(text, format=form, utc=True, errors="coerce")


def in_range(moments: pd.Series, column: pd.Series, file: str) -> pd.Series:
    """The moments, if all are from 1990 to 2100."""
    wrong = (moments < _EARLIEST) | (moments > _LATEST) | moments.isna()
    if wrong.any():
        raise InputError(f"{file} has the time {column[wrong].iloc[0]} in row {int(wrong.to_numpy().argmax()) + 1}"
                         ": before 1990 or after 2100. Correct it or remove the row.")
    return moments
