"""How long an engine's steps take: two straight lines, of arithmetic and of traffic, of which the longer counts."""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.training.communication import Link, ring_allreduce_s
from helpers.lab.errors import InputError
from helpers.lab.facts import device_memory
from helpers.lab.language.sheet import DecoderSheet, Efficiency

_BYTES_PER_VALUE = 2  # of what accelerators exchange
REDUCTIONS = 2  # in each layer: after attention, and after the feed-forward part
# 450 GB/s each way is the theoretical figure; 380 were measured (github.com/NVIDIA/nccl/issues/1264).
NVLINK = Link.given(3e-6, 450e9, "NVLink 4: 450 GB/s each way in theory, 3 us a message assumed")
# Between these, servers were seen to lie: shares of peak arithmetic and bandwidth, and overhead. They are assumptions,
# which a test holds against the recorded H100.
_FASTEST, _SLOWEST = Efficiency(0.75, 0.95, overhead_s=0.0005), Efficiency(0.45, 0.65, overhead_s=0.004)


@dataclasses.dataclass(frozen=True)
class ServingEngine:
    """An engine on its machine: seconds of a step, and how many tokens of keys and values fit.

    A step reads tokens of prompts and writes one token for each sequence that decodes. It takes the longer of

        arithmetic[0] + arithmetic[1] * prompt + arithmetic[2] * batch + arithmetic[3] * attended
        traffic[0] + traffic[1] * prompt + traffic[2] * batch + traffic[3] * read

    and `overhead_s`: with data sheets it is the roofline, with one of the two all zero the usual linear fit.

    Args:
        kv_tokens: of all sequences together.
        source: where the figures are from.

    Raises:
        InputError: a figure below 0, no time at all, or no room for keys and values.
    """

    arithmetic: tuple[float, float, float, float]
    traffic: tuple[float, float, float, float]
    overhead_s: float
    kv_tokens: int
    source: str = "given"

    def __post_init__(self) -> None:
        figures = self.figures
        if figures.shape != (9,) or not (np.isfinite(figures).all() and figures.min() >= 0 and figures.max() > 0):
            raise InputError("An engine has four figures of arithmetic, four of traffic and an overhead: seconds of 0 "
                             f"or more, not all 0; got {figures.tolist()}.")
        if self.kv_tokens < 1:
            raise InputError(f"No token's keys and values fit beside the weights ({self.source}): take a larger "
                             "device, more of them, or fewer bits.")

    @property
    def figures(self) -> np.ndarray:
        """(9,) float64, as the compiled loop takes them."""
        return np.array([*self.arithmetic, *self.traffic, self.overhead_s], float)

    def step_s(self, prompt: ArrayLike, batch: ArrayLike, attended: ArrayLike, read: ArrayLike) -> np.ndarray:
        """Seconds of steps.

        Args:
            prompt: tokens of prompts that are read. batch: sequences that decode.
            attended: pairs of a token and one that it attends to. read: tokens whose keys and values are fetched.
        """
        a, t = self.arithmetic, self.traffic
        return np.maximum(a[0] + a[1] * np.asarray(prompt) + a[2] * np.asarray(batch) + a[3] * np.asarray(attended),
                          t[0] + t[1] * np.asarray(prompt) + t[2] * np.asarray(batch) + t[3] * np.asarray(read)
                          ) + self.overhead_s


def paper_engine(sheet: DecoderSheet, accelerators: int = 1, link: Link = NVLINK) -> ServingEngine:
    """An engine by its data sheet, cut over several accelerators (tensor parallel; Shoeybi et al., Megatron-LM, 2019).

    Weights, keys, values and arithmetic are divided; in each layer two ring all-reduces sum up each token's hidden
    values. On four accelerators that alone makes a 70B model some 20% slower than a quarter of the work.

    Args:
        link: between neighbours: seconds a message and bytes a second.

    Raises:
        InputError: heads that cannot be divided so, or weights that leave no room.

    >>> from helpers.cloud_distributed import paper_engine
    >>> from helpers.lab import DECODERS, DecoderSheet
    >>> engine = paper_engine(DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM"))
    >>> f"{1000 * engine.step_s(prompt=0, batch=1, attended=1000, read=1000):.1f} ms a token"
    '8.0 ms a token'
    """
    model = sheet.model
    if accelerators < 1 or model.heads % accelerators:
        raise InputError(f"{model.heads} heads cannot be divided over {accelerators} accelerators: take a divisor.")
    room = accelerators * device_memory(sheet.device) * sheet.efficiency.memory - sheet.weight_bytes
    copies = max(1.0, accelerators / model.kv_heads)  # a head of keys and values is not cut
    calls, hidden = REDUCTIONS * model.layers, hidden_bytes(sheet)
    start_s = calls * ring_allreduce_s(0, accelerators, link.latency_s, link.bytes_per_s) if accelerators > 1 else 0.0
    sent_s = calls * ring_allreduce_s(hidden, accelerators, 0.0, link.bytes_per_s) if accelerators > 1 else 0.0
    token_s = sheet.token_s / accelerators + sent_s
    return ServingEngine(
        (0.0, token_s, token_s, sheet.attention_s / accelerators),
        (sheet.weights_s / accelerators, sent_s, sent_s, sheet.context_s * copies / accelerators),
        sheet.efficiency.overhead_s + start_s, max(0, math.floor(room / (model.kv_bytes * copies))),
        f"on paper: {accelerators} x {sheet.device}, {sheet.bits} bits")


def hidden_bytes(sheet: DecoderSheet) -> int:
    """Bytes of a token's hidden values, which go from layer to layer and from device to device."""
    return sheet.model.heads * sheet.model.head_size * _BYTES_PER_VALUE


def paper_band(sheet: DecoderSheet, accelerators: int = 1, link: Link = NVLINK) -> dict[str, ServingEngine]:
    """The band that a data sheet leaves open: the fastest, the assumed and the slowest engine, by shares of the peaks.

    75, 60 and 45% of the arithmetic, 95, 80 and 65% of the bandwidth, 0.5, 2 and 4 ms of overhead; the middle is
    `sheet.efficiency`.
    """
    return {name: paper_engine(dataclasses.replace(sheet, efficiency=dataclasses.replace(
        efficiency, memory=sheet.efficiency.memory)), accelerators, link)
        for name, efficiency in (("fastest", _FASTEST), ("assumed", sheet.efficiency), ("slowest", _SLOWEST))}
