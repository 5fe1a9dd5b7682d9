"""Meaning of a trace's columns: the requests of each interval, or each request's tokens and prompt blocks."""

import re
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from helpers.cloud_distributed.traffic.generators import from_counts
from helpers.cloud_distributed.traffic.trace_files import plain_name
from helpers.lab.errors import InputError

_SUM_NAMES = re.compile(r"sum|sample_?count")  # a monitor's sums over an interval never are counters
MAX_TOKENS = 10_000_000
_MIN_GROWING_ROWS = 10
_HASH = re.compile(r"\w+")


def requests_of_rows(frame: pd.DataFrame, column: str, rate_per_s: str | None,
                     count: str | Literal[False] | None, seconds: np.ndarray, path: Path,
                     notes: list[str]) -> np.ndarray:
    """(n,) int64 requests of each row's interval."""
    if rate_per_s is not None:
        return _from_rates(frame[column], seconds, path, notes)
    counts = _whole(frame[column], path, column, most=1e15)
    plain, steps = plain_name(column), np.diff(counts)
    restarts = (steps < 0) & (counts[1:] < counts[:-1] / 10)  # a counter begins again when its process does
    grows = ((steps >= 0) | restarts).all() and restarts.sum() <= len(steps) / 10 and (steps > 0).any()
    counter = plain.endswith("_total")
    if grows and (counter or len(counts) >= _MIN_GROWING_ROWS) and not _SUM_NAMES.fullmatch(plain):
        # Counts of real traffic scatter by the square root of their size: what grows more smoothly is a counter.
        if counter or np.median(steps) < np.sqrt(np.median(counts)):
            notes.append(f"Column '{column}' grows all the time: a counter, so its differences were taken"
                         + (f"; it began again {restarts.sum()} times." if restarts.any() else "."))
            return np.concatenate([[0], np.where(restarts, counts[1:], steps)])
        if count is None:
            raise InputError(f"The values of '{column}' in {path.name} only grow: if they are a counter, give its "
                             f'differences; if they are the counts of each interval, pass count="{column}".')
    notes.append(f"Column '{column}' was taken as the requests of each interval.")
    return _whole(frame[column], path, column, most=1e9)


def _from_rates(column: pd.Series, seconds: np.ndarray, path: Path, notes: list[str]) -> np.ndarray:
    """Whole numbers of requests whose running total is that of the rates, to half a request."""
    rates = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    good = np.isfinite(rates) & (rates >= 0) & (rates <= 1e9)
    if not good.all():
        row = int((~good).argmax())
        raise InputError(f"{path.name} has '{column.iloc[row]}' in column '{column.name}' (row {row + 1}): a rate must "
                         "be a number from 0 on.")
    steps = np.diff(seconds)
    if not (steps > 0).any():
        raise InputError(f"{path.name} needs rates at two times or more: the interval is read from their distance.")
    width = float(np.median(steps[steps > 0]))
    notes.append(f"Column '{column.name}' was taken as requests a second over {width:g} s each.")
    return np.diff(np.round(np.cumsum(rates * width)), prepend=0.0).astype(np.int64)


def _whole(column: pd.Series, path: Path, name: str, most: float) -> np.ndarray:
    """(n,) int64 of a column of whole numbers from 0 to `most`."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    good = (values >= 0) & (values <= most) & (values == np.round(values))
    if not good.all():
        row = int((~good).argmax())
        raise InputError(f"{path.name} has '{column.iloc[row]}' in column '{name}' (row {row + 1}): it must be a whole "
                         f"number from 0 to {most:,.0f}.")
    return values.astype(np.int64)


def tokens_of_requests(column: pd.Series, path: Path, name: str, notes: list[str]) -> np.ndarray:
    """(n,) int64 tokens; rows without a number get the column's median, which is said."""
    blank = column.isna() | (column.str.strip() == "")
    if blank.all():
        raise InputError(f"Column '{name}' of {path.name} is empty: fill it in or remove it.")
    values = np.zeros(len(column), np.int64)
    values[~blank.to_numpy()] = _whole(column[~blank], path, name, most=MAX_TOKENS)
    if blank.any():
        middle = int(np.median(values[~blank.to_numpy()]))
        values[blank.to_numpy()] = middle
        notes.append(f"{int(blank.sum())} rows have no value in '{name}'; they were given the median, {middle:,}.")
    notes.append(f"Column '{name}' was taken as tokens.")
    return values


def hashes_of_requests(column: pd.Series, path: Path, name: str, notes: list[str]) -> np.ndarray:
    """(n,) object: each prompt's blocks as an int64 array, equal numbers for equal hashes; without a value none."""
    texts = column.fillna("").astype(str)
    wrong = ~texts.str.fullmatch(r"""[\[\](){}\w\s,;|"'-]*""")
    if wrong.any():
        raise InputError(f"{path.name} has '{texts[wrong].iloc[0][:40]}' in column '{name}', row "
                         f"{texts.index[wrong][0] + 1}: write each prompt's hashes as a list, such as [46, 47].")
    lists = [_HASH.findall(text) for text in texts]
    codes = pd.factorize(np.array([one for hashes in lists for one in hashes], object))[0].astype(np.int64)
    notes.append(f"Column '{name}' was taken as hashes of each prompt's beginning: {len(np.unique(codes)):,} blocks, "
                 f"{len(codes):,} with repeats.")
    parts = np.empty(len(lists), object)
    parts[:] = np.split(codes, np.cumsum([len(hashes) for hashes in lists])[:-1])
    return parts


def spread_over_intervals(seconds: np.ndarray, counts: np.ndarray, path: Path, notes: list[str],
                          seed: int) -> np.ndarray:
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
