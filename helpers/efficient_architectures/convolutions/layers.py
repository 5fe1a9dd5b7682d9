"""Convolutions of several designs, counted and timed."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.efficient_architectures.options import DESIGNS
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_interval
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn

EXPANSION = 4  # how many times wider an inverted residual is inside


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole image holds (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.squeeze = nn.Conv2d(channels, inner, 1)
        self.excite = nn.Conv2d(inner, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, height, width) to the same."""
        means = images.mean((2, 3), keepdim=True)
        return images * torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))


class InvertedResidual(nn.Module):
    """Widen, filter each channel alone, narrow, and add (Sandler et al., arXiv 1801.04381)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, squeeze: bool) -> None:
        super().__init__()
        wide = EXPANSION * c_in
        self.body = nn.Sequential(
            nn.Conv2d(c_in, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6(),
            nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False), nn.BatchNorm2d(wide),
            nn.ReLU6(), SqueezeExcite(wide) if squeeze else nn.Identity(),
            nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out))
        self.adds = c_in == c_out

    def forward(self, images: Tensor) -> Tensor:
        """(n, c_in, height, width) to (n, c_out, height, width)."""
        return images + self.body(images) if self.adds else self.body(images)


def conv_block(design: str, c_in: int, c_out: int, kernel: int = 3) -> nn.Module:
    """One block of a design, images of the same height and width in and out.

    Args:
        design: one of DESIGNS.
        kernel: odd side of the filter.

    Raises:
        InputError: an unknown design, or numbers that make no block.

    >>> from helpers.efficient_architectures import conv_block, counted_macs
    >>> counted_macs(conv_block("separable", 64, 64), (64, 32, 32))
    4784128
    """
    if design not in DESIGNS:
        raise InputError(f"Unknown convolution '{design}'. Choose one of: {', '.join(DESIGNS)}.")
    if min(c_in, c_out) < 1 or kernel < 1 or kernel % 2 == 0:
        raise InputError("A block needs at least one channel in and out and an odd filter, not "
                         f"{c_in}, {c_out} and {kernel}.")
    if design == "standard":
        return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(c_out),
                             nn.ReLU())
    if design == "separable":
        return nn.Sequential(*depthwise(c_in, kernel), *pointwise(c_in, c_out))
    return InvertedResidual(c_in, c_out, kernel, squeeze=design.endswith("squeeze-excite"))


def depthwise(channels: int, kernel: int) -> nn.Sequential:
    """Each channel filtered alone."""
    return nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
                         nn.BatchNorm2d(channels), nn.ReLU())


def pointwise(c_in: int, c_out: int) -> nn.Sequential:
    """Each pixel's channels mixed alone: a matrix product."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


@torch.inference_mode()
def counted_macs(module: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions and matrix products, counted while one input of `shape` runs through."""
    was_training = module.training
    module.eval()
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, *shape))
    module.train(was_training)
    return counter.get_total_flops() // 2


def convolution_times(c_in: int = 64, c_out: int = 64, kernel: int = 3, size: int = 32, batch: int = 8,
                      rounds: int = 15) -> pd.DataFrame:
    """A standard and a separable block and the latter's two halves, counted and timed in turns.

    Returns:
        One row a part (standard, separable, depthwise half, pointwise half): part, macs (of the batch),
        bytes (weights, images read and images written once, float32), macs_per_byte, seconds (median),
        low, high (95%, bootstrap of the median), gmacs_per_s.

    Raises:
        InputError: numbers that make no block.
    """
    if min(size, batch, rounds) < 1:
        raise InputError(f"Size, batch and rounds are 1 or more, not {size}, {batch} and {rounds}.")
    parts = {"standard": conv_block("standard", c_in, c_out, kernel),
             "separable": conv_block("separable", c_in, c_out, kernel),
             "depthwise half": depthwise(c_in, kernel), "pointwise half": pointwise(c_in, c_out)}
    images = torch.randn(batch, c_in, size, size, generator=torch.Generator().manual_seed(0))
    with timing_turn(), torch.inference_mode():
        times = seconds_in_turns({name: partial(module.eval(), images) for name, module in parts.items()}, rounds)
    rows = []
    for name, module in parts.items():
        macs = batch * counted_macs(module, images.shape[1:])
        moved = 4 * (sum(weight.numel() for weight in module.parameters())
                     + batch * size**2 * (c_in + (c_in if name.startswith("depthwise") else c_out)))
        moved += 2 * 4 * batch * size**2 * c_in if name == "separable" else 0  # the image between the halves
        median, low, high = bootstrap_interval(np.median, times[name])
        rows.append({"part": name, "macs": macs, "bytes": moved, "macs_per_byte": macs / moved, "seconds": median,
                     "low": low, "high": high, "gmacs_per_s": macs / median / 1e9})
    return pd.DataFrame(rows)
