"""Placing counted and timed layers under a roof, and what can be read from it. No torch is imported here."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.hardware_codesign.roofline.peaks import Ceilings


def grouped(frame: pd.DataFrame, ceilings: Ceilings, precision: str = "fp32") -> pd.DataFrame:
    """The rows of `place` summed over layers that differ in their number only, longest first."""
    names = frame["layer"].map(lambda name: re.sub(r"\b\d+\b", "*", name))
    sums = frame.groupby(names, sort=False).agg(
        kind=("kind", "first"), flops=("flops", "sum"), bytes=("bytes", "sum"), weight_bytes=("weight_bytes", "sum"),
        calls=("calls", "sum"), measured_s=("measured_s", "sum")).reset_index()
    return with_roof(sums, ceilings, precision).sort_values("measured_s", ascending=False, ignore_index=True)


def with_roof(frame: pd.DataFrame, ceilings: Ceilings, precision: str) -> pd.DataFrame:
    """The columns of `operators` and measured_s with those that `place` adds."""
    arithmetic = frame["flops"] / ceilings.rate(precision)
    memory = frame["bytes"] / ceilings.bandwidth
    return frame.assign(
        intensity=frame["flops"] / frame["bytes"].clip(lower=1), paper_s=np.maximum(arithmetic, memory),
        bound=np.where(arithmetic >= memory, "arithmetic", "memory"),
        share=frame["measured_s"] / frame["measured_s"].sum(),
        reached=np.maximum(arithmetic, memory) / frame["measured_s"].where(frame["measured_s"] > 0))


def roof_points(ceilings: Ceilings, precision: str = "fp32", low: float = 0.05, high: float = 1000.0) -> pd.DataFrame:
    """The roof as a line to draw: columns intensity, flops_per_s, device, provenance."""
    ridge = ceilings.ridge(precision)
    at = np.unique([low, min(max(ridge, low), high), high])
    return pd.DataFrame({"intensity": at, "flops_per_s": np.minimum(at * ceilings.bandwidth, ceilings.rate(precision)),
                         "device": ceilings.name, "provenance": ceilings.provenance})


def intensities(work: pd.DataFrame, ceilings: Ceilings, batches: Sequence[int], precision: str = "fp32",
                bytes_per_number: float = 4.0) -> pd.DataFrame:
    """A whole model's operations a byte over batch and length, and what limits it there.

    Args:
        work: of `encoder_work`, a row a length.
        bytes_per_number: 4 in fp32, 2 in bf16, 1 in int8.
    """
    rows = []
    for one in work.itertuples():
        for batch in batches:
            flops = batch * (one.linear + one.attention)
            moved = (batch * one.activation_bytes + one.weight_bytes) * bytes_per_number / 4
            rows.append({"batch": batch, "length": one.length, "intensity": flops / moved,
                         "bound": "arithmetic" if flops / moved >= ceilings.ridge(precision) else "memory",
                         "paper_s": ceilings.seconds(flops, moved, precision)})
    return pd.DataFrame(rows)


def why_slow(placed: pd.DataFrame) -> str:
    """What takes the time, what limits it, and how much of the roof is reached: one sentence from `grouped`."""
    top = placed.sort_values("measured_s", ascending=False).iloc[0]
    products = placed.loc[placed["kind"] != "elementwise", "share"].sum()
    whole = placed["paper_s"].sum() / placed["measured_s"].sum()
    return (f"{products:.0%} of the time are products and attention; {top['layer']} alone takes {top['share']:.0%} "
            f"and is limited by {top['bound']} ({top['intensity']:.1f} operations a byte). The whole runs at "
            f"{whole:.0%} of what the roof allows.")
