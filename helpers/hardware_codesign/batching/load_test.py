"""A model under load: throughput and latency over the batch size, and the batcher held against its prediction."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.hardware_codesign.batching.batcher import DynamicBatcher, LoadResult, open_loop
from helpers.hardware_codesign.batching.batcher_model import (
    Times,
    best_delay,
    max_rate,
    p95_of,
    simulate_batcher,
    slowed,
)
from helpers.hardware_codesign.options import BATCHES
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.models.model import Model
from helpers.lab.progress import Progress, silent

COLUMNS = ["target_ms", "rate", "max_batch", "delay_ms", "predicted_p95_ms", "p95_ms", "answered_per_s", "mean_batch",
           "fixed_batch", "fixed_rate", "note"]
_PILOTS = 3  # loads, each half as long, until one meets the target
_STEP_DOWN = 0.9  # of the rate, at least, after a load that missed


def batch_times(model: Model, texts: Sequence[str], batches: Sequence[int] = BATCHES, *, calls: int = 12,
                progress: Progress = silent) -> dict[int, np.ndarray]:
    """Seconds of `calls` calls with randomly drawn texts for each batch size, in turns, tokenizing included.

    Raises:
        InputError: no texts, or a batch size below 1.
        Cancelled: `progress` cancelled the work.
    """
    if not len(texts) or min(batches) < 1:
        raise InputError("Batch times need at least one text and batch sizes of at least 1.")
    rng = np.random.default_rng(0)

    def call_of(batch: int) -> Callable[[], object]:
        drawn = iter([[texts[row] for row in rng.integers(0, len(texts), batch)] for _ in range(2 * (calls + 1))])
        return lambda: model.predict(next(drawn))

    with timing_turn(progress):
        return seconds_in_turns({batch: call_of(batch) for batch in batches}, calls, progress=progress)


def batch_frame(times: Times) -> pd.DataFrame:
    """One row a batch size: batch, p50_ms and p95_ms of a call, rows_per_s when calls follow each other."""
    rows = [{"batch": batch, "p50_ms": 1000 * float(np.median(seconds)),
             "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
             "rows_per_s": batch / float(np.mean(seconds))} for batch, seconds in sorted(times.items())]
    return pd.DataFrame(rows)


def knee(frame: pd.DataFrame, p95_ms: float) -> pd.Series | None:
    """The row of the highest throughput whose p95 is within the target, or None where no batch size is."""
    within = frame[frame["p95_ms"] <= p95_ms]
    return within.loc[within["rows_per_s"].idxmax()] if len(within) else None


def compare_with_load(model: Model, texts: Sequence[str], times: Times, targets_ms: Sequence[float], *,
                      seconds: float = 8.0, progress: Progress = silent) -> pd.DataFrame:
    """For each p95 target: the highest rate that the simulation sustains, and a real open-loop load of that rate.

    Args:
        times: of `batch_times` of this model with these texts. Up to three shorter loads show how much slower calls
            are beside their senders: the rate is chosen again with times corrected by all of their calls, lower by
            a tenth at least after a miss, and the first that meets the target ends them. The load that is reported
            is another one.
        seconds: of that load.

    Returns:
        COLUMNS: `fixed_batch` and `fixed_rate` are the best fixed batch under the same target, on paper; `note`
        says where the target cannot be met at all.

    Raises:
        InputError: no target, or one that is not positive.
        Cancelled: `progress` cancelled the work; asked before each load.
    """
    if not len(targets_ms) or min(targets_ms) <= 0:
        raise InputError("A load test needs at least one positive target in milliseconds.")
    rows = []
    for number, target in enumerate(targets_ms):
        part = progress.part(number / len(targets_ms), (number + 1) / len(targets_ms))
        rows.append(_load_test(model, texts, times, target / 1000, seconds, part))
    return pd.DataFrame(rows, columns=COLUMNS)


def _load_test(model: Model, texts: Sequence[str], times: Times, target_s: float, seconds: float,
               progress: Progress) -> dict:
    rate, max_batch = _sustainable(times, target_s)
    alone, calls = times, []
    for number in range(_PILOTS):
        if not rate:
            break
        progress(number / (_PILOTS + 2), f"short load {number + 1} for a target of {1000 * target_s:g} ms")
        pilot, _ = _under_load(model, texts, times, rate, max_batch, target_s, seconds / 2, progress)
        calls += pilot.calls
        times = slowed(alone, calls)
        tried = rate
        rate, max_batch = _sustainable(times, target_s)
        if pilot.p95_s() <= target_s:
            break
        rate = min(rate, _STEP_DOWN * tried)
    fixed_rate, fixed_batch = _sustainable(times, target_s, fixed=True)
    row = {"target_ms": 1000 * target_s, "rate": rate, "max_batch": max_batch, "fixed_batch": fixed_batch,
           "fixed_rate": fixed_rate, "note": ""}
    if not rate:
        return row | {"note": "On paper no rate meets this target: a single text takes too long."}
    progress(_PILOTS / (_PILOTS + 2), f"load for a target of {1000 * target_s:g} ms")
    load, delay = _under_load(model, texts, times, rate, max_batch, target_s, seconds, progress)
    predicted = p95_of(simulate_batcher(times, rate, delay, max_batch, seed=1))
    return row | {"delay_ms": 1000 * delay, "predicted_p95_ms": 1000 * predicted, "p95_ms": 1000 * load.p95_s(),
                  "answered_per_s": load.answered_per_s, "mean_batch": load.mean_batch()}


def _sustainable(times: Times, target_s: float, *, fixed: bool = False) -> tuple[float, int]:
    """The highest rate, and its limit of rows: where larger batches are no quicker, small ones serve better."""
    return max((max_rate(times, size, target_s, fixed=fixed)[0], size) for size in times)


def _under_load(model: Model, texts: Sequence[str], times: Times, rate: float, max_batch: int, target_s: float,
                seconds: float, progress: Progress) -> tuple[LoadResult, float]:
    """A real load, and the delay with which its batches were gathered."""
    delay, _ = best_delay(times, rate, max_batch, target_s)
    with timing_turn(progress), DynamicBatcher(model.predict, max_batch, delay) as batcher:
        batcher.submit(texts[0]).result()
        return open_loop(batcher, texts, rate, seconds), delay
