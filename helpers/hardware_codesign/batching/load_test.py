"""The batcher held against its own prediction: the highest rate it should bear, sent to it for real."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.hardware_codesign.batching.batcher import DynamicBatcher, Load, open_loop
from helpers.hardware_codesign.batching.batcher_model import (
    Times,
    best_delay,
    highest_rate,
    p95_of,
    simulate_batcher,
    slowed,
)
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.models.model import Model

COLUMNS = ["target_ms", "rate", "largest", "delay_ms", "predicted_p95_ms", "p95_ms", "answered_per_s", "mean_batch",
           "fixed_batch", "fixed_rate", "note"]
_PILOTS = 3  # loads, each half as long, until one holds the target
_STEP_DOWN = 0.9  # of the rate, at least, after a load that missed


def load_frame(model: Model, texts: Sequence[str], times: Times, targets_ms: Sequence[float], *, seconds: float = 8.0,
               progress: Callable[[float | None, str], None] = lambda *_: None) -> pd.DataFrame:
    """For each p95 target: the highest rate that the simulation bears, and a real open-loop load of that rate.

    Args:
        times: of `batch_times` of this model with these texts. Up to three shorter loads say how much slower calls
            are beside those who send: the rate is chosen anew with times corrected by all of their calls, lower by
            a tenth at least after a miss, and the first that holds the target ends them. The load that is told is
            another one.

    Returns:
        COLUMNS: `fixed_batch` and `fixed_rate` are the best fixed batch under the same target, on paper; `note`
        says where the target cannot be held at all.
    """
    if not len(targets_ms) or min(targets_ms) <= 0:
        raise InputError("A load test needs at least one positive target in milliseconds.")
    rows = []
    for number, target in enumerate(targets_ms):
        progress(number / len(targets_ms), f"load for a target of {target:g} ms")
        rows.append(_loaded(model, texts, times, target / 1000, seconds))
    return pd.DataFrame(rows, columns=COLUMNS)


def _loaded(model: Model, texts: Sequence[str], times: Times, target_s: float, seconds: float) -> dict:
    rate, largest = _bearable(times, target_s)
    alone, calls = times, []
    for _ in range(_PILOTS):
        if not rate:
            break
        pilot, _ = _under_load(model, texts, times, rate, largest, target_s, seconds / 2)
        calls += pilot.calls
        times = slowed(alone, calls)
        tried = rate
        rate, largest = _bearable(times, target_s)
        if pilot.p95_s() <= target_s:
            break
        rate = min(rate, _STEP_DOWN * tried)
    fixed_rate, fixed_batch = _bearable(times, target_s, fixed=True)
    row = {"target_ms": 1000 * target_s, "rate": rate, "largest": largest, "fixed_batch": fixed_batch,
           "fixed_rate": fixed_rate, "note": ""}
    if not rate:
        return row | {"note": "On paper no rate holds this target: a single text takes too long."}
    load, delay = _under_load(model, texts, times, rate, largest, target_s, seconds)
    predicted = p95_of(simulate_batcher(times, rate, delay, largest, seed=1))
    return row | {"delay_ms": 1000 * delay, "predicted_p95_ms": 1000 * predicted, "p95_ms": 1000 * load.p95_s(),
                  "answered_per_s": load.answered_per_s, "mean_batch": load.mean_batch()}


def _bearable(times: Times, target_s: float, *, fixed: bool = False) -> tuple[float, int]:
    """The highest rate, and its limit of rows: where larger batches are no quicker, small ones serve better."""
    return max((highest_rate(times, size, target_s, fixed=fixed)[0], size) for size in times)


def _under_load(model: Model, texts: Sequence[str], times: Times, rate: float, largest: int, target_s: float,
                seconds: float) -> tuple[Load, float]:
    """A real load, and the delay with which its batches were gathered."""
    delay, _ = best_delay(times, rate, largest, target_s)
    with timing_turn(), DynamicBatcher(model.predict, largest, delay) as batcher:
        batcher.submit(texts[0]).result()
        return open_loop(batcher, texts, rate, seconds), delay


def times_of(frame: pd.DataFrame) -> dict[int, np.ndarray]:
    """Batch times back from rows of batch and seconds."""
    return {int(batch): group.to_numpy(float) for batch, group in frame.groupby("batch")["seconds"]}
