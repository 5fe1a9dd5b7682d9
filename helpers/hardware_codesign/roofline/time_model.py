"""How long an encoder takes for a batch: a few measured points give it for all batches and lengths."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.progress import Progress, silent

# Points to fit on: the corners and the middle of the range. All others validate the fit.
FITTED_ON = ((1, 16), (1, 256), (2, 64), (4, 32), (8, 128), (16, 16), (64, 32), (16, 256))
_PATIENCE_S = 1.0  # at each point of the grid, beyond two turns, shared by the calls
_VOCABULARY = 1000  # token ids are drawn below it


@dataclasses.dataclass(frozen=True)
class TimeModel:
    """seconds = fixed + linear work / linear rate + attention work / attention rate.

    `fixed`: seconds of each call (launching operators, fetching the weights). The two others: operations a
    second that are reached by the products of the layers, with all that is done for each token, and by
    attention, whose work grows with the square of the length. Infinite where it costs nothing.
    """

    fixed: float
    linear_rate: float
    attention_rate: float
    work: pd.DataFrame

    def seconds(self, batch: float, length: int) -> float:
        """Predicted seconds of one call.

        Raises:
            InputError: a batch below 1, or a length for which no work was counted.
        """
        if batch < 1:
            raise InputError(f"A batch has at least one row, not {batch}.")
        linear, attention = _work_at(self.work, length)
        return self.fixed + batch * (linear / self.linear_rate + attention / self.attention_rate)

    def reached(self, peaks: Peaks, precision: str = "fp32") -> float:
        """Share of the arithmetic peak that long runs of tokens reach."""
        return self.linear_rate / peaks.rate(precision)


@dataclasses.dataclass(frozen=True)
class DeviceModel:
    """An accelerator's seconds = launching + the least time under its roofline / the share of it that is reached.

    Fitted on one accelerator, and carried over to others by their data sheets.

    Args:
        launch_s: of each call, whatever its size.
        efficiency: share of the roofline that large calls reach.
        error: relative, its 90th percentile at lengths that the fit has not seen: the band of what is carried over.
    """

    launch_s: float
    efficiency: float
    error: float

    def seconds(self, least_s: float) -> float:
        """Seconds of a call with so long a least time under the roofline."""
        return self.launch_s + least_s / self.efficiency


def least_s(work: pd.DataFrame, peaks: Peaks, precision: str, batch: int, length: int) -> tuple[float, float]:
    """Least seconds of a call's arithmetic, and of its memory traffic; the longer one is the roofline's.

    Args:
        work: of `encoder_work`, counted in fp32; fewer bits move fewer bytes.
    """
    last, bits = work.iloc[-1], {"fp32": 1.0, "bf16": 0.5, "int8": 0.25}[precision]
    flops = batch * sum(_work_at(work, length))
    moved = bits * (batch * last["activation_bytes"] * length / last["length"] + last["weight_bytes"])
    return flops / peaks.rate(precision), float(moved) / peaks.bandwidth


def fit_device(points: pd.DataFrame, work: pd.DataFrame, peaks: Peaks) -> DeviceModel:
    """Fit launching and efficiency to an encoder's measured times on an accelerator.

    Args:
        points: columns precision, batch, length, seconds; repeated points count as their median, and of several
            ways to launch (a column launched) the faster one.
        work: of `encoder_work` for the same shape.
        peaks: of the accelerator's data sheet.

    Raises:
        InputError: fewer than two lengths: one has to be left out for the error.
    """
    at = ["precision", "batch", "length"]
    points = points.groupby([*at, *(["launched"] if "launched" in points else [])])["seconds"].median()
    points = points.groupby(at).min().reset_index()
    if points["length"].nunique() < 2:
        raise InputError("An accelerator's model needs points of at least two lengths.")
    least = np.array([max(least_s(work, peaks, row.precision, row.batch, row.length)) for row in points.itertuples()])
    seconds, lengths = points["seconds"].to_numpy(), points["length"].to_numpy()

    def fit(kept: np.ndarray) -> np.ndarray:
        columns = np.column_stack([np.ones(kept.sum()), least[kept]])
        return nnls(columns / seconds[kept, None], np.ones(kept.sum()))[0]

    errors = []
    for length in np.unique(lengths):
        launch, per_least = fit(lengths != length)
        unseen = lengths == length
        errors.extend(np.abs((launch + per_least * least[unseen]) / seconds[unseen] - 1))
    launch, per_least = fit(np.ones(len(points), bool))
    return DeviceModel(float(launch), float(1 / per_least), float(np.quantile(errors, 0.9)))


def encoder_work(module: object, lengths: Sequence[int]) -> pd.DataFrame:
    """Operations and bytes of one row: columns length, linear, attention, activation_bytes, weight_bytes.

    Args:
        module: `(input_ids, attention_mask) -> anything`.
    """
    import torch

    from helpers.hardware_codesign.roofline.counting import operators

    rows = []
    for length in sorted(set(lengths)):
        ids = torch.randint(0, _VOCABULARY, (1, length))
        counts = operators(module, ids, torch.ones_like(ids))
        flops = counts.groupby("kind")["flops"].sum()
        weights = int(counts["weight_bytes"].sum())
        rows.append({"length": length, "linear": int(flops.get("product", 0)),
                     "attention": int(flops.get("attention", 0)),
                     "activation_bytes": int(counts["bytes"].sum()) - weights, "weight_bytes": weights})
    return pd.DataFrame(rows)


def time_grid(calls: dict[str, Callable[[np.ndarray, np.ndarray], object]], batches: Iterable[int],
              lengths: Iterable[int], *, rounds: int = 7, max_tokens: int = 2**14,
              progress: Progress = silent) -> pd.DataFrame:
    """Median seconds of each call over batches and lengths, in turns: columns name, batch, length, seconds.

    Args:
        calls: name -> function of (n, length) int64 ids and mask.
        rounds: turns at each point; long calls get fewer, two at least.
        max_tokens: in a call; a point above is left out (memory and patience).

    Raises:
        InputError: no point within `max_tokens`.
        Cancelled: `progress` cancelled the work.
    """
    points = [(batch, length) for batch in batches for length in lengths if batch * length <= max_tokens]
    if not points:
        raise InputError(f"No point of the grid has at most {max_tokens} tokens; give smaller batches or lengths.")
    rng = np.random.default_rng(0)
    works = {}
    for point in points:
        ids = rng.integers(1, _VOCABULARY, point)
        for name, call in calls.items():
            works[name, *point] = functools.partial(call, ids, np.ones_like(ids))
    with timing_turn(progress):
        # In another order each time, so that what slows the machine for a while hits points here and there.
        seconds = seconds_in_turns(works, rounds, seed=0, patience_s=_PATIENCE_S / max(1, len(calls)),
                                   progress=progress)
    return pd.DataFrame([{"name": name, "batch": batch, "length": length, "seconds": float(np.median(spent))}
                         for (name, batch, length), spent in seconds.items()])


def fit_times(points: pd.DataFrame, work: pd.DataFrame) -> TimeModel:
    """Fit the three numbers to measured points by non-negative least squares of the relative errors.

    Args:
        points: columns batch, length, seconds; at least three.

    Raises:
        InputError: too few points, or seconds that are not positive.
    """
    if len(points) < 3 or (points["seconds"] <= 0).any():
        raise InputError("A time model needs at least three measured points with positive seconds.")
    seconds = points["seconds"].to_numpy(float)
    counts = np.array([_work_at(work, int(length)) for length in points["length"]])
    columns = np.column_stack([np.ones(len(points)), points["batch"].to_numpy(float)[:, None] * counts])
    scale = columns.max(axis=0)
    scale[scale == 0] = 1.0
    weights, _ = nnls(columns / scale / seconds[:, None], np.ones(len(points)))
    fixed, per_linear, per_attention = weights / scale
    return TimeModel(float(fixed), 1 / per_linear if per_linear else float("inf"),
                     1 / per_attention if per_attention else float("inf"), work)


def fit_and_validate(points: pd.DataFrame, work: pd.DataFrame,
                     fitted_on: Iterable[tuple[int, int]] = FITTED_ON) -> tuple[TimeModel, pd.DataFrame]:
    """Fit the model to some points and predict all of them.

    Args:
        points: columns batch, length, seconds.
        fitted_on: (batch, length) of the points to fit; all others validate.

    Returns:
        The model, and the points with predicted_s, error (relative) and fitted (whether the fit has seen them).
    """
    chosen = set(fitted_on)
    is_fitted = np.array([(batch, length) in chosen for batch, length in
                          zip(points["batch"], points["length"], strict=True)], bool)
    model = fit_times(points[is_fitted], work)
    predicted = [model.seconds(row.batch, row.length) for row in points.itertuples()]
    return model, points.assign(predicted_s=predicted, error=np.array(predicted) / points["seconds"] - 1,
                                fitted=is_fitted)


def _work_at(work: pd.DataFrame, length: int) -> tuple[float, float]:
    """Linear and attention operations of a row, between the counted lengths by their laws: L and L squared."""
    last = work.iloc[-1]
    if length < 1:
        raise InputError(f"A length is at least one token, not {length}.")
    return float(last["linear"]) * length / last["length"], float(last["attention"]) * (length / last["length"])**2


def tokenize_seconds(model: object, texts: Sequence[str]) -> float:
    """Seconds of one core to turn one text into token ids, each text for the first time.

    Raises:
        InputError: fewer than ten texts; the first tenth warms up.

    A second pass over the same texts takes less than half of the time: the tokenizer remembers words.
    """
    warm = len(texts) // 10
    if not warm:
        raise InputError(f"Tokenizing is timed on at least ten texts, not {len(texts)}.")
    model.encoder.encode(texts[:warm])
    began = time.process_time()  # of all threads: the tokenizer uses several
    model.encoder.encode(texts[warm:])
    return (time.process_time() - began) / (len(texts) - warm)
