"""Convolutions on paper, for pages that must not import torch."""

import pandas as pd

from helpers.lab.errors import InputError

DESIGNS = ("standard", "separable", "inverted residual", "inverted residual, squeeze-excite")
CONFIGURED = ("MobileNetV2", "ResNet")  # transformers' own, cut to size


def separable_ratio(c_out: int, kernel: int) -> float:
    """Multiplications of a depthwise-separable convolution over a standard one: 1/C_out + 1/K^2.

    Howard et al., arXiv 1704.04861, section 3.1; it depends on neither the image nor the channels in.
    """
    if c_out < 1 or kernel < 1:
        raise InputError(f"A convolution has at least one channel out and a filter of 1, not {c_out} and {kernel}.")
    return 1 / c_out + 1 / kernel**2


def explain_separable(times: pd.DataFrame) -> str:
    """Why fewer multiplications are not as many times faster, in one sentence computed from convolution_times."""
    rows = times.set_index("part")
    fewer = rows.macs["standard"] / rows.macs["separable"]
    faster = rows.seconds["standard"] / rows.seconds["separable"]
    halves = rows.loc[["depthwise half", "pointwise half"]]
    share = halves.macs / halves.macs.sum()
    spent = halves.seconds / halves.seconds.sum()
    return (f"{fewer:.1f} times fewer multiplications are {faster:.1f} times faster: the depthwise half has "
            f"{share['depthwise half']:.0%} of them and takes {spent['depthwise half']:.0%} of the time, at "
            f"{rows.gmacs_per_s['depthwise half']:.1f} billion a second against "
            f"{rows.gmacs_per_s['standard']:.1f} in the standard convolution, with "
            f"{rows.macs_per_byte['depthwise half']:.2g} multiplications for each byte moved against "
            f"{rows.macs_per_byte['standard']:.2g}.")
