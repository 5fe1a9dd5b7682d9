"""How many at once: throughput against latency over the batch size, and its knee under a target."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Model

BATCHES = (1, 2, 4, 8, 16, 32, 64)


def batch_times(model: Model, texts: Sequence[str], batches: Sequence[int] = BATCHES, *, calls: int = 12,
                seed: int = 0) -> dict[int, np.ndarray]:
    """Seconds of `calls` calls with randomly drawn texts for each batch size, in turns, tokenizing included.

    Raises:
        InputError: no texts, or a batch size below 1.
    """
    if not len(texts) or min(batches) < 1:
        raise InputError("Batch times need at least one text and batch sizes of at least 1.")
    rng = np.random.default_rng(seed)
    spent: dict[int, list[float]] = {batch: [] for batch in batches}
    with timing_turn():
        model.predict([texts[row] for row in rng.integers(0, len(texts), max(batches))])
        for _ in range(calls):
            for batch in batches:
                drawn = [texts[row] for row in rng.integers(0, len(texts), batch)]
                began = time.perf_counter()
                model.predict(drawn)
                spent[batch].append(time.perf_counter() - began)
    return {batch: np.array(seconds) for batch, seconds in spent.items()}


def batch_frame(times: dict[int, np.ndarray]) -> pd.DataFrame:
    """One row a batch size: batch, p50_ms and p95_ms of a call, rows_per_s when calls follow each other."""
    rows = [{"batch": batch, "p50_ms": 1000 * float(np.median(seconds)),
             "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
             "rows_per_s": batch / float(np.mean(seconds))} for batch, seconds in sorted(times.items())]
    return pd.DataFrame(rows)


def knee(frame: pd.DataFrame, p95_ms: float) -> pd.Series | None:
    """The row of the highest throughput whose p95 is within the target, or None where no batch size is."""
    within = frame[frame["p95_ms"] <= p95_ms]
    return within.loc[within["rows_per_s"].idxmax()] if len(within) else None
