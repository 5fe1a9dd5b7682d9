"""A user's recorded traffic: request times, counts or rates per interval, or a log; with token columns where given.

Nothing is guessed in silence: the notes say which column was taken for what, and where two readings are possible the
reader is asked which.
"""

import dataclasses
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from helpers.cloud_distributed.traffic.trace_counts import (
    hashes_of_requests,
    requests_of_rows,
    spread_over_intervals,
    tokens_of_requests,
)
from helpers.cloud_distributed.traffic.trace_files import named, one_metric, plain_name, read_rows, require_column
from helpers.cloud_distributed.traffic.trace_times import UNITS, in_range, seconds_of, time_column
from helpers.lab.errors import InputError

_COUNT_NAMES = re.compile(r"(values?|counts?|(num_?|n_?)?requests?(_?counts?)?|requests_total|invocations?|hits|n|sum|"
                          r"sample_?count|calls?|total)")
_RATE_NAMES = re.compile(r"(^|_)(rates?|rps|qps|tps|per_s(ec(ond)?)?|per_min(ute)?|req_s|throughput)(_|$)")
_OF_ONE_REQUEST = re.compile(
    r"(^|_)(id|uuid|latency|duration|elapsed|response_time|status|code|bytes|size|tokens?|length|len|port|user|session|"
    r"wait|ttft|tpot)(_|$)|_(ms|us|ns)$")
_PROMPT_NAMES = re.compile(
    r"((usage_)?(context|prompts?|inputs?|requests?|prefill)(_?(tokens?|length|len))(_?(count|s))?|"
    r"(num|n|total)_?(prefill|prompts?|inputs?|context)_?tokens?|tokens?_(in|input|prompt)|input_token_count)")
_OUTPUT_NAMES = re.compile(
    r"((usage_)?(generated|outputs?|completions?|responses?|decode)(_?(tokens?|length|len))(_?(count|s))?|"
    r"(num|n|total)_?(decode|generated|outputs?|completions?)_?tokens?|tokens?_(out|output|completion|generated)|"
    r"output_token_count)")
_HASH_NAMES = re.compile(r"((prompt|prefix|block|kv|input)_?)*hash(es|_ids?)|prefix_blocks")
_LONG_GAP = 20.0  # times the mean distance of requests, and a twentieth of the whole
_MIN_EVEN_ROWS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Trace:
    """Recorded traffic.

    Attributes:
        arrivals: (n,) float64 seconds since the first request (or the first interval's start), ascending.
        start: the moment of second 0 in UTC; None where the file has plain seconds.
        prompt_tokens, output_tokens: (n,) int64, or None.
        prefix_hashes: (n,) object, the int64 blocks of each prompt's beginning, for `Prefixes.of_hashes`; or None.
        notes: what was taken for what, what was repaired, what was left out; a sentence each.
    """

    arrivals: np.ndarray
    start: pd.Timestamp | None
    prompt_tokens: np.ndarray | None
    output_tokens: np.ndarray | None
    notes: tuple[str, ...]
    prefix_hashes: np.ndarray | None = None

    def taken(self, rows: np.ndarray, arrivals: np.ndarray) -> "Trace":
        """These rows, in this order, at these times."""
        columns = {name: getattr(self, name) for name in ("prompt_tokens", "output_tokens", "prefix_hashes")}
        return dataclasses.replace(self, arrivals=arrivals, **{
            name: None if values is None else values[rows] for name, values in columns.items()})


def read_trace(path: str | Path, time: str | None = None, count: str | Literal[False] | None = None, *,
               rate_per_s: str | None = None, unit: str | None = None, dayfirst: bool | None = None,
               start: str | float | None = None, end: str | float | None = None, scale: float = 1.0,
               seed: int = 0) -> Trace:
    """Read requests (one row each), or counts or rates (one row an interval): CSV, TSV, JSON lines, Parquet, a log.

    Args:
        time: the column of the times: dates, or numbers. None: by its name, or the only column of dates.
        count: the column of the counts. None: by its name; False: each row is a request, whatever the names say.
        rate_per_s: the column of the rates, in requests a second, in place of counts.
        unit: of times that are numbers: ns, us, ms, s, min or h. None: as the column's name ends (_ms), else by the
            size of Unix times, else seconds.
        dayfirst: whether 01/02/2026 is the first of February. None: as the whole column can be read in one way.
        start, end: only from here on, and before there: a date in UTC, or seconds of the trace.
        scale: so many times the traffic over the same time: requests are drawn away, or repeated with their tokens
            at a moment nearby.
        seed: for the places of counted requests within their interval, which the file does not tell, and for `scale`.

    Raises:
        InputError: no such file or column, times or numbers that cannot be read or cannot be, two readings that are
            both possible, or so many requests that they do not fit in memory.

    >>> from pathlib import Path
    >>> _ = Path("requests.csv").write_text("arrived_at_ms,prompt_tokens\\n0,210\\n1500,180\\n")
    >>> read_trace("requests.csv").arrivals.tolist()
    [0.0, 1.5]
    """
    path = Path(path)
    _require_settings(unit, scale)
    frame, how = read_rows(path)
    notes = [f"{path.name} was {how}."]
    frame = one_metric(frame, path, notes)
    time = time_column(frame, path, time, dayfirst)
    missing = frame[time].isna() | (frame[time].str.strip() == "")
    if missing.any():
        raise InputError(f"{path.name} has {int(missing.sum())} rows without a time (first: row "
                         f"{int(missing.to_numpy().argmax()) + 1}). Fill them in or remove them.")
    seconds, first = seconds_of(frame[time], time, unit, dayfirst, path, notes)
    if (np.diff(seconds) < 0).any():
        notes.append(f"{int((np.diff(seconds) < 0).sum())} rows were out of order; the rows were sorted by time.")
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    begin = seconds[0] if first is not None or seconds[0] < 0 else 0.0
    first = first + pd.Timedelta(begin, "s") if first is not None else None
    seconds = seconds - begin
    frame = frame.iloc[order]
    volume = _volume_column(frame, path, time, count, rate_per_s, seconds)
    if volume:
        counts = requests_of_rows(frame, volume, rate_per_s, count, seconds, path, notes)
        arrivals = spread_over_intervals(seconds, counts, path, notes, seed)
        columns: list[np.ndarray | None] = [None, None, None]
        used = {time, volume}
    else:
        notes.append("Each row was taken as one request.")
        names = [named(frame, pattern, {time}) for pattern in (_PROMPT_NAMES, _OUTPUT_NAMES, _HASH_NAMES)]
        readers = tokens_of_requests, tokens_of_requests, hashes_of_requests
        columns = [read(frame[name], path, name, notes) if name else None
                   for read, name in zip(readers, names, strict=True)]
        arrivals, used = seconds, {time, *filter(None, names)}
    _note_left_out(frame, used, notes)
    trace = Trace(arrivals, first, *columns[:2], (), columns[2])
    trace = _between(trace, start, end, path, notes)
    trace = _scaled(trace, scale, seed, notes)
    if not volume:
        _note_silence(trace.arrivals, notes)
    return dataclasses.replace(trace, notes=tuple(notes))


def _require_settings(unit: str | None, scale: float) -> None:
    if unit is not None and unit not in UNITS:
        raise InputError(f"Unknown unit '{unit}'. Choose one of: {', '.join(UNITS)}.")
    if not 0 < scale <= 1000:
        raise InputError(f"scale must be above 0 and at most 1000, not {scale}.")


def _volume_column(frame: pd.DataFrame, path: Path, time: str, count: str | Literal[False] | None,
                   rate_per_s: str | None, seconds: np.ndarray) -> str | None:
    """The column of counts or rates; None where each row is a request."""
    def numeric(column: pd.Series) -> bool:
        return pd.to_numeric(column, errors="coerce").notna().all()

    if rate_per_s is not None:
        return require_column(frame, path, rate_per_s, "rate_per_s", numeric)
    if count is False:
        return None
    if count is not None:
        return require_column(frame, path, count, "count", numeric)
    others = [str(name) for name in frame.columns if str(name) != time and numeric(frame[name])]
    rates = [name for name in others if _RATE_NAMES.search(plain_name(name))]
    by_name = named(frame, _COUNT_NAMES, {time})
    if by_name and not rates:
        return by_name
    tokens = [named(frame, pattern, {time}) for pattern in (_PROMPT_NAMES, _OUTPUT_NAMES)]
    steps = np.diff(seconds)
    even = len(steps) >= _MIN_EVEN_ROWS - 1 and steps[0] > 0 and np.ptp(steps) <= 1e-6 * steps[0]
    of_one_request = any(tokens) or any(_OF_ONE_REQUEST.search(plain_name(str(name))) for name in frame.columns)
    if rates or (even and others and not of_one_request):
        column = (rates or others)[0]
        raise InputError(f"Are the values of '{column}' in {path.name} rates, or counts of each interval, or is each "
                         f'row a request? Pass rate_per_s="{column}" (in requests a second), count="{column}" or '
                         "count=False.")
    return None


def _between(trace: Trace, start: str | float | None, end: str | float | None, path: Path, notes: list[str]) -> Trace:
    """Only the requests from `start` on and before `end`."""
    if start is None and end is None:
        return trace
    low, high = (_second_of(trace, bound, name) for bound, name in ((start, "start"), (end, "end")))
    low = max(0.0, low) if start is not None else 0.0
    chosen = (trace.arrivals >= low) & (trace.arrivals < (high if end is not None else np.inf))
    if not chosen.any():
        raise InputError(f"{path.name} has no request between start and end: it lasts {trace.arrivals[-1]:,.0f} s"
                         + (f" from {trace.start:%Y-%m-%d %H:%M:%S} UTC." if trace.start is not None else "."))
    notes.append(f"{int(chosen.sum()):,} of {len(chosen):,} requests lie between start and end.")
    return dataclasses.replace(trace.taken(chosen, trace.arrivals[chosen] - low), start=(
        trace.start + pd.Timedelta(low, "s") if trace.start is not None else None))


def _second_of(trace: Trace, bound: str | float | None, name: str) -> float:
    if bound is None or isinstance(bound, int | float):
        return float(bound or 0.0)
    if trace.start is None:
        raise InputError(f"The trace has no dates: give {name} in seconds.")
    moment = pd.to_datetime(bound, utc=True, errors="coerce")
    if pd.isna(moment):
        raise InputError(f"{name}='{bound}' is no date. Write it as 2026-01-31 13:45:00, in UTC.")
    in_range(pd.Series([moment]), pd.Series([bound]), name)
    return (moment - trace.start).total_seconds()


def _scaled(trace: Trace, scale: float, seed: int, notes: list[str]) -> Trace:
    """So many times the requests over the same time: each is kept so often, copies at a moment nearby."""
    if scale == 1.0:
        return trace
    rng, size = np.random.default_rng([seed, 5]), len(trace.arrivals)
    times = np.full(size, int(scale)) + (rng.random(size) < scale - int(scale))
    chosen = np.repeat(np.arange(size), times)
    copies = np.ones(len(chosen), bool)
    copies[np.unique(chosen, return_index=True)[1]] = False
    arrivals = trace.arrivals[chosen]
    apart = trace.arrivals[-1] / max(1, size - 1)
    moved = arrivals[copies] + rng.uniform(-apart, apart, int(copies.sum()))
    arrivals[copies] = np.clip(moved, 0.0, trace.arrivals[-1])
    order = np.argsort(arrivals, kind="stable")
    notes.append(f"The traffic was scaled by {scale:g}: {size:,} requests became {len(chosen):,}.")
    return trace.taken(chosen[order], arrivals[order])


def _note_left_out(frame: pd.DataFrame, used: set[str], notes: list[str]) -> None:
    others = [str(name) for name in frame.columns if str(name) not in used]
    if others:
        notes.append(f"Not used: {', '.join(others[:10])}.")


def _note_silence(seconds: np.ndarray, notes: list[str]) -> None:
    """Say where the file has long stretches without a request: a lull, or a hole in the record."""
    gaps = np.diff(seconds)
    if len(gaps) and gaps.max() > max(_LONG_GAP * gaps.mean(), seconds[-1] / 20):
        at = int(gaps.argmax())
        notes.append(f"No request for {gaps[at]:,.0f} s after second {seconds[at]:,.0f}: a lull, or a hole in the "
                     "record.")
