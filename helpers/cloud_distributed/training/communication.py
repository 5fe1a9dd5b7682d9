"""Cost of communication: a ring all-reduce on paper, calibrated here, extrapolated to many workers."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.cloud_distributed.training.workers import run_workers, worker_device
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import bootstrap_draws, percentile_interval
from helpers.lab.measuring.timing import timing_turn

SIZES = tuple(2**power for power in range(12, 25, 2))  # 4 KB to 16 MB of fp32 gradients
MAX_WORKERS = 1024
# PyTorch DDP sends gradients in buckets: a first one of 1 MiB, so that sending starts early, then of 25 MiB.
FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20
BACKWARD_SHARE = 2 / 3  # of a step's products: forward is one for each weight, backward two
_RESAMPLES = 500


@dataclasses.dataclass(frozen=True)
class Link:
    """How fast two neighbours of the ring talk: seconds before the first byte, and bytes a second after that.

    `draws` (k, 2) float64 holds equally likely pairs of the two; one row where they are given, not measured.
    """

    latency_s: float
    bytes_per_s: float
    draws: np.ndarray
    source: str

    @classmethod
    def given(cls, latency_s: float, bytes_per_s: float, source: str) -> "Link":
        """A link from a data sheet or a guess, such as Link.given(50e-6, 1.25e9, "10 Gbit/s Ethernet, nominal")."""
        if not (latency_s >= 0 and bytes_per_s > 0):
            raise InputError(f"A link has a latency of 0 s or more and some bandwidth; got {latency_s}, {bytes_per_s}.")
        return cls(latency_s, bytes_per_s, np.array([[latency_s, bytes_per_s]]), source)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A measured link, and the measurements: columns bytes, measured_ms, low_ms, high_ms, model_ms."""

    link: Link
    frame: pd.DataFrame

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        low, high = percentile_interval(self.link.draws, axis=0)
        worst = (self.frame["model_ms"] / self.frame["measured_ms"] - 1).abs().max()
        return (f"{self.link.source}: {self.link.latency_s * 1e6:,.0f} us a message ({low[0] * 1e6:,.0f} to "
                f"{high[0] * 1e6:,.0f}) and {self.link.bytes_per_s / 1e9:.2f} GB/s ({low[1] / 1e9:.2f} to "
                f"{high[1] / 1e9:.2f}); off by {worst:.0%} at the worst size.")


def ring_allreduce_s(count: float, workers: int, latency_s: float, bytes_per_s: float, calls: int = 1) -> float:
    """Seconds until all workers hold the sum of `count` bytes, in `calls` pieces one after the other.

    In a ring each worker sends 2 (n - 1) messages of count / n bytes: 2 (n - 1) / n of the bytes over the bandwidth and
    2 (n - 1) latencies a call (Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms", JPDC 69, 2009).
    """
    _require_workers(workers)
    if count < 0 or calls < 1:
        raise InputError(f"Bytes are 0 or more and calls 1 or more; got {count} and {calls}.")
    return 2 * (workers - 1) * calls * latency_s + 2 * (workers - 1) / workers * count / bytes_per_s


def ddp_calls(count: float) -> int:
    """Into how many all-reduces DDP's buckets cut `count` bytes of gradients."""
    return 1 + max(0, math.ceil((count - FIRST_BUCKET) / BUCKET))


def fit_link(sizes: Sequence[float], seconds: np.ndarray, workers: int, source: str) -> Link:
    """Latency and bandwidth from measured all-reduces.

    Args:
        sizes: (k,) bytes.
        seconds: (rounds, k) float64, measured in rounds.

    Medians over the rounds are fitted by least squares of relative errors, with neither figure below 0, so that small
    messages count as much as large ones. The draws are bootstrap resamples of whole rounds.

    Raises:
        InputError: fewer than two sizes or rounds, or fewer than two workers.
    """
    seconds = np.asarray(seconds, float)
    if workers < 2 or seconds.ndim != 2 or seconds.shape[1] != len(sizes) or min(seconds.shape) < 2:
        raise InputError("A link needs two workers, two sizes and two rounds at least: (rounds, sizes) seconds; got "
                         f"{workers} workers and {seconds.shape} for {len(sizes)} sizes.")
    middle = np.median(seconds, axis=0)
    latency_s, bytes_per_s = _fit(sizes, middle, workers)
    if not math.isfinite(bytes_per_s) or middle.min() <= 0:
        raise InputError("The measured times do not grow with the bytes: measure larger messages, more rounds, or on a "
                         "machine that does nothing else.")
    medians = bootstrap_draws(np.median, seconds, draws=_RESAMPLES)  # (sizes, draws)
    return Link(latency_s, bytes_per_s, np.array([_fit(sizes, drawn, workers) for drawn in medians.T]), source)


def calibrate(workers: int = 2, sizes: Sequence[int] = SIZES, rounds: int = 15, compress: bool = False) -> Calibration:
    """Measure all-reduces of PyTorch between processes of this machine, in rounds over all sizes.

    Args:
        sizes: bytes that are sent.
        compress: fp32 gradients of twice the size are sent as bf16; turning them to and fro is part of the time.

    Raises:
        InputError: as `fit_link`.
    """
    with timing_turn():
        measured = run_workers(lambda: time_allreduces(sizes, rounds, compress), workers)
    seconds = np.max([one["seconds"] for one in measured], axis=0)  # a round is over when its last worker is done
    source = f"{measured[0]['backend']} all-reduce{' in bf16' * compress} between {workers} processes here"
    link = fit_link(sizes, seconds, workers, source)
    low, middle, high = np.quantile(seconds, [0.025, 0.5, 0.975], axis=0) * 1e3
    model = [ring_allreduce_s(size, workers, link.latency_s, link.bytes_per_s) * 1e3 for size in sizes]
    return Calibration(link, pd.DataFrame({"bytes": sizes, "measured_ms": middle, "low_ms": low, "high_ms": high,
                                           "model_ms": model}))


def time_allreduces(sizes: Sequence[int], rounds: int, compress: bool) -> dict:
    """In a worker: seconds (rounds, sizes) of an all-reduce of gradients, after one round to warm up."""
    import time

    import torch
    import torch.distributed as dist

    width = 2 if compress else 4
    gradients = [torch.zeros(max(1, size // width), device=worker_device()) for size in sizes]
    seconds = np.zeros((rounds + 1, len(sizes)))
    for row in seconds:
        for place, one in enumerate(gradients):
            dist.barrier()
            started = time.perf_counter()
            if compress:
                half = one.to(torch.bfloat16)
                dist.all_reduce(half)
                one.copy_(half)
            else:
                dist.all_reduce(one)
            if one.is_cuda:
                torch.cuda.synchronize()
            row[place] = time.perf_counter() - started
    return {"seconds": seconds[1:], "backend": dist.get_backend()}


def step_s(compute_s: float, gradient_bytes: float, workers: int, link: Link, overlap: float = 0.0,
           calls: int | None = None) -> tuple[float, float, float]:
    """Seconds of a data-parallel step on paper: (middle, low, high), the interval from the link's draws.

    Args:
        compute_s: forward, backward and optimizer on one worker's rows, without exchange.
        gradient_bytes: that each worker contributes (half as many when sent as bf16).
        overlap: share of the exchange that runs behind the backward pass, at most 1; it never hides more than that
            pass, BACKWARD_SHARE of the computation, lasts. Below 0 where sending takes cores away from computing,
            and copies add to it: `measured_overlap` measures it.
        calls: all-reduces a step; DDP's buckets by default.

    Not in the model: stragglers, and links that other traffic or the next level of switches makes slower.
    """
    if not (compute_s > 0 and overlap <= 1):
        raise InputError(f"Computing takes time and overlap is 1 at most; got {compute_s} s and {overlap}.")
    calls = ddp_calls(gradient_bytes) if calls is None else calls

    def total(latency_s: float, bytes_per_s: float) -> float:
        exchange = ring_allreduce_s(gradient_bytes, workers, latency_s, bytes_per_s, calls)
        return compute_s + max(exchange * (1 - overlap), exchange - BACKWARD_SHARE * compute_s)

    low, high = percentile_interval([total(*draw) for draw in link.draws])
    return total(link.latency_s, link.bytes_per_s), float(low), float(high)


def scaling(compute_s: float, gradient_bytes: float, link: Link, workers: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128,
            256, 512, MAX_WORKERS), overlap: float = 0.0) -> pd.DataFrame:
    """How much n workers do in the time of one, each with its own rows: columns workers, step_s, step_low_s,
    step_high_s, speedup, speedup_low, speedup_high, efficiency. One worker exchanges nothing."""
    rows = []
    for count in workers:
        middle, low, high = step_s(compute_s, gradient_bytes, count, link, overlap)
        rows.append({"workers": count, "step_s": middle, "step_low_s": low, "step_high_s": high,
                     "speedup": count * compute_s / middle, "speedup_low": count * compute_s / high,
                     "speedup_high": count * compute_s / low, "efficiency": compute_s / middle})
    return pd.DataFrame(rows)


def slowest_useful_link(compute_s: float, gradient_bytes: float) -> float:
    """Bytes a second below which two workers do less than one, latency and overlap left aside.

    Two do as much as one when the exchange lasts as long as the computation: 2 (n - 1) / n = 1 times the bytes.

    >>> from helpers.cloud_distributed import slowest_useful_link
    >>> slowest_useful_link(compute_s=0.5, gradient_bytes=100e6)
    200000000.0
    """
    if not (compute_s > 0 and gradient_bytes > 0):
        raise InputError("A step takes time and has gradients: both must be above 0.")
    return gradient_bytes / compute_s


def _fit(sizes: Sequence[float], seconds: np.ndarray, workers: int) -> tuple[float, float]:
    """(latency, bytes a second); an infinite bandwidth where noise hides that bytes take time."""
    from scipy.optimize import nnls

    seconds = np.maximum(seconds, 1e-7)  # differences of noisy times may be below 0; no exchange is faster than this
    messages, share = np.full(len(sizes), 2.0 * (workers - 1)), 2 * (workers - 1) / workers
    terms = np.stack([messages, share * np.asarray(sizes, float)], axis=1) / seconds[:, None]
    scale = terms.max(axis=0)  # seconds and seconds a byte differ by orders of magnitude
    (latency_s, s_per_byte), _ = nnls(terms / scale, np.ones(len(sizes)))
    return latency_s / scale[0], scale[1] / s_per_byte if s_per_byte > 0 else math.inf


def _require_workers(workers: int) -> None:
    if workers < 1:
        raise InputError(f"Workers are counted from 1; got {workers}.")
