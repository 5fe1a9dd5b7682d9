"""A model's layers under the roofline: what limits each, the least time it can take, and the time it takes.

PyTorch is imported by `layer_roofline` only, so that a page draws recorded layers without it.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.hardware_codesign.roofline.peaks import torch_threads
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.measuring.timing import settle, timing_turn
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:
    from torch import Tensor, nn


def layer_roofline(module: "nn.Module", inputs: Sequence["Tensor"], peaks: Peaks, *, rounds: int = 9,
                   progress: Progress = silent) -> pd.DataFrame:
    """Each part's operations, bytes, least time under the roofline, and measured time in PyTorch eager.

    Returns:
        The columns of `operators`, and intensity (operations a byte), bound ('arithmetic' or 'memory'),
        paper_s, measured_s, share (of the measured time), reached (paper over measured: the share of the
        roofline; above 1 where data stayed in a cache). `attrs["precision"]` is the weights'.

    Raises:
        InputError: weights that are neither float32, bfloat16 nor float16, or inputs that the module refuses.
        Cancelled: `progress` cancelled the work.

    >>> import torch
    >>> from helpers.hardware_codesign import layer_roofline, measure_peaks
    >>> layers = layer_roofline(torch.nn.Linear(64, 32), [torch.rand(8, 64)], measure_peaks(1, seconds=0.01))
    >>> layers[["kind", "flops"]].to_dict("records")
    [{'kind': 'product', 'flops': 32768}]
    """
    from helpers.hardware_codesign.roofline.counting import layer_seconds, operators

    precision = _precision(module)
    with timing_turn(progress), torch_threads(peaks.threads or 1):
        settle()
        seconds = layer_seconds(module, *inputs, rounds=rounds, progress=progress)
    frame = operators(module, *inputs)
    frame["measured_s"] = [seconds.get(name, 0.0) for name in frame["layer"]]
    return _under_roofline(frame, peaks, precision)


def group_layers(frame: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    """The rows of `layer_roofline` summed over layers that differ in their number only, longest first."""
    names = frame["layer"].map(lambda name: re.sub(r"\b\d+\b", "*", name))
    sums = frame.groupby(names, sort=False).agg(
        kind=("kind", "first"), flops=("flops", "sum"), bytes=("bytes", "sum"), weight_bytes=("weight_bytes", "sum"),
        calls=("calls", "sum"), measured_s=("measured_s", "sum")).reset_index()
    grouped = _under_roofline(sums, peaks, frame.attrs["precision"])
    return grouped.sort_values("measured_s", ascending=False, ignore_index=True)


def roofline_points(peaks: Peaks, precision: str = "fp32", low: float = 0.05, high: float = 1000.0) -> pd.DataFrame:
    """The roofline as a line to draw: columns intensity, flops_per_s, device, provenance."""
    ridge = peaks.ridge(precision)
    at = np.unique([low, min(max(ridge, low), high), high])
    return pd.DataFrame({"intensity": at, "flops_per_s": np.minimum(at * peaks.bandwidth, peaks.rate(precision)),
                         "device": peaks.name, "provenance": peaks.provenance})


def intensities(work: pd.DataFrame, peaks: Peaks, batches: Sequence[int]) -> pd.DataFrame:
    """A whole fp32 model's operations a byte over batch and length, and what limits it there.

    Args:
        work: of `encoder_work`, a row a length.

    Returns:
        Columns: batch, length, intensity, bound, paper_s.
    """
    rows = []
    for one in work.itertuples():
        for batch in batches:
            flops = batch * (one.linear + one.attention)
            moved = batch * one.activation_bytes + one.weight_bytes
            rows.append({"batch": batch, "length": one.length, "intensity": flops / moved,
                         "bound": "arithmetic" if flops / moved >= peaks.ridge() else "memory",
                         "paper_s": peaks.seconds(flops, moved)})
    return pd.DataFrame(rows)


def why_slow(layers: pd.DataFrame) -> str:
    """Name what takes the time, what limits it, and the share of the roofline that is reached; of `group_layers`."""
    top = layers.sort_values("measured_s", ascending=False).iloc[0]
    products = layers.loc[layers["kind"] != "elementwise", "share"].sum()
    whole = layers["paper_s"].sum() / layers["measured_s"].sum()
    return (f"{products:.0%} of the time are products and attention; {top['layer']} alone takes {top['share']:.0%} "
            f"and is limited by {top['bound']} ({top['intensity']:.1f} operations a byte). The whole runs at "
            f"{whole:.0%} of what the roofline allows.")


def _under_roofline(frame: pd.DataFrame, peaks: Peaks, precision: str) -> pd.DataFrame:
    """The columns of `operators` and measured_s, plus the ones that `layer_roofline` adds."""
    arithmetic = frame["flops"] / peaks.rate(precision)
    memory = frame["bytes"] / peaks.bandwidth
    frame.attrs["precision"] = precision
    return frame.assign(
        intensity=frame["flops"] / frame["bytes"].where(frame["bytes"] > 0), paper_s=np.maximum(arithmetic, memory),
        bound=np.where(arithmetic >= memory, "arithmetic", "memory"),
        share=frame["measured_s"] / frame["measured_s"].sum(),
        reached=np.maximum(arithmetic, memory) / frame["measured_s"].where(frame["measured_s"] > 0))


def _precision(module: "nn.Module") -> str:
    name = str(next(module.parameters()).dtype).removeprefix("torch.")
    precisions = {"float32": "fp32", "bfloat16": "bf16", "float16": "bf16"}
    if name not in precisions:
        raise InputError(f"The model's weights are {name}; its roofline needs one of: {', '.join(precisions)}.")
    return precisions[name]
