"""Serving a language model: prefill and decode with continuous batching, timed by a roofline.

A step of the server takes as long as its arithmetic or its memory traffic, whichever is longer: prefill is
mostly the one, decode the other (Williams et al., 2009; Pope et al., 2023).
"""

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.cloud_distributed.simulator.runs import quantiles
from helpers.lab.errors import InputError
from helpers.lab.money.costs import read_facts

_PEAK_COLUMN = {4.0: "peak_fp32_tflops", 2.0: "peak_bf16_tflops", 1.0: "peak_int8_tops"}


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """The figures of a decoder that its cost depends on; as in a model's config.json.

    `bytes_per_weight` is 4, 2 or 1: it also chooses the peak rate of the hardware.
    """

    parameters: float
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    bytes_per_weight: float = 2.0
    bytes_per_kv: float = 2.0

    @property
    def kv_bytes(self) -> float:
        """Bytes of keys and values that a token leaves in memory."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.bytes_per_kv


LANGUAGE_MODELS = {  # huggingface.co: meta-llama/Meta-Llama-3-8B and -70B, config.json
    "Llama 3 8B": LanguageModel(8.03e9, layers=32, heads=32, kv_heads=8, head_size=128),
    "Llama 3 70B": LanguageModel(70.6e9, layers=80, heads=64, kv_heads=8, head_size=128),
}


@dataclasses.dataclass(frozen=True)
class LlmServer:
    """A model on one or more accelerators.

    Args:
        model: what is served.
        device: a name of helpers/facts/hardware.csv.
        devices: accelerators that share each replica's model (tensor parallel, communication left out).
        replicas: requests are dealt out to them in turn.
        largest_batch: sequences at a time. token_budget: tokens in one step; longer prompts take several.
        memory_share: of the device's memory that weights, keys and values may fill.
        compute_efficiency, bandwidth_efficiency: reached shares of the peaks. These are assumptions: measure yours.
        overhead_s: of each step outside of the arithmetic.

    Raises:
        InputError: no such device, no figure for it, weights that do not fit, or figures that cannot be.
    """

    model: LanguageModel
    device: str = "NVIDIA H100 SXM"
    devices: int = 1
    replicas: int = 1
    largest_batch: int = 256
    token_budget: int = 2048
    memory_share: float = 0.9
    compute_efficiency: float = 0.6
    bandwidth_efficiency: float = 0.8
    overhead_s: float = 0.002

    def __post_init__(self) -> None:
        for name in ("devices", "replicas", "largest_batch", "token_budget"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        for name in ("memory_share", "compute_efficiency", "bandwidth_efficiency"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is a fraction above 0, up to 1, not {getattr(self, name)}.")
        if self.model.bytes_per_weight not in _PEAK_COLUMN:
            raise InputError(f"bytes_per_weight must be 4, 2 or 1, not {self.model.bytes_per_weight}.")
        if self.kv_tokens < 1:
            raise InputError(f"The weights ({self._weight_bytes / 2**30:.1f} GiB) leave no room for keys and values on "
                             f"{self.devices} x {self.device}: take more devices, a larger one, or fewer bytes each.")

    @property
    def kv_tokens(self) -> int:
        """Tokens whose keys and values fit beside the weights."""
        room = self._figure("memory_gib") * 2**30 * self.devices * self.memory_share - self._weight_bytes
        return math.floor(room / self.model.kv_bytes)

    def costs(self) -> tuple[float, float, float, float, float]:
        """Seconds of reading the weights, a step's overhead, computing a token, its attention to one token, reading
        one token of context."""
        model = self.model
        peak = self._figure(_PEAK_COLUMN[model.bytes_per_weight]) * 1e12
        per_flop = 1 / (peak * self.compute_efficiency * self.devices)
        bandwidth = self._figure("memory_bandwidth_gb_s") * 1e9 * self.bandwidth_efficiency * self.devices
        return (self._weight_bytes / bandwidth, self.overhead_s, 2 * model.parameters * per_flop,
                4 * model.layers * model.heads * model.head_size * per_flop, model.kv_bytes / bandwidth)

    @property
    def _weight_bytes(self) -> float:
        return self.model.parameters * self.model.bytes_per_weight

    def _figure(self, column: str) -> float:
        rows = {row["device"]: row for row in read_facts("hardware")}
        if self.device not in rows:
            raise InputError(f"There is no device '{self.device}'. Known: {', '.join(rows)}.")
        if not rows[self.device][column]:
            raise InputError(f"helpers/facts/hardware.csv has no {column} of {self.device}: take another device or "
                             "number format.")
        return float(rows[self.device][column])


@dataclasses.dataclass(frozen=True, eq=False)
class LlmRun:
    """Answers of a language model.

    Attributes:
        arrivals: (n,) float64 seconds.
        ttft_s: (n,) float64, time to the first token; NaN where the request did not fit.
        per_token_s: (n,) float64, mean time of each further token; NaN where there is none.
        latency_s: (n,) float64, time to the last token.
        outcome: (n,) int8: answered, or dropped because it does not fit the memory even alone.
        busy_s: seconds of all steps of all replicas. end_s: when the last token came.
        peak_kv: largest share of the key-value memory in use.
    """

    arrivals: np.ndarray
    ttft_s: np.ndarray
    per_token_s: np.ndarray
    latency_s: np.ndarray
    outcome: np.ndarray
    output_tokens: np.ndarray
    busy_s: float
    end_s: float
    peak_kv: float

    def summary(self) -> dict[str, float]:
        """One row: counts, quantiles, tokens a second."""
        answered = self.outcome == Outcome.ANSWERED
        row = {"requests": len(self.arrivals), "answered": int(answered.sum()), "dropped": int((~answered).sum())}
        for name in ("ttft_s", "per_token_s", "latency_s"):
            found = quantiles(getattr(self, name), (0.5, 0.95, 0.99))
            row |= {f"p{at}_{name}": float(value) for at, value in zip((50, 95, 99), found, strict=True)}
        return row | {"tokens_per_s": float(self.output_tokens[answered].sum()) / self.end_s if self.end_s else 0.0,
                      "peak_kv": self.peak_kv}


def serve_llm(arrivals: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, server: LlmServer) -> LlmRun:
    """Send prompts through a server; all of them are waited for.

    Args:
        arrivals: (n,) seconds, ascending. prompt_tokens, output_tokens: (n,) whole numbers of 1 or more.

    Raises:
        InputError: lengths that do not agree, arrivals out of order, tokens below 1.
    """
    from helpers.cloud_distributed.language_serving.batching import serve_batches
    from helpers.cloud_distributed.simulator.fleet import checked_arrivals

    arrivals = checked_arrivals(arrivals)
    prompt, output = (_checked_tokens(tokens, name, len(arrivals)) for tokens, name in
                      ((prompt_tokens, "prompt_tokens"), (output_tokens, "output_tokens")))
    first_s, done_s = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan)
    outcome = np.full(len(arrivals), Outcome.WAITING, np.int8)
    limits = (server.kv_tokens, server.largest_batch, server.token_budget)
    busy_s, peak = 0.0, 0
    for replica in range(server.replicas):
        own = [np.ascontiguousarray(array[replica::server.replicas])
               for array in (arrivals, prompt, output, first_s, done_s, outcome)]
        seconds, _, used = serve_batches(own[0], own[1], own[2], server.costs(), limits, own[3], own[4], own[5])
        for array, filled in zip((first_s, done_s, outcome), own[3:], strict=True):
            array[replica::server.replicas] = filled
        busy_s, peak = busy_s + seconds, max(peak, used)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_token_s = np.where(output > 1, (done_s - first_s) / (output - 1), np.nan)
    end_s = float(np.nanmax(done_s)) if (outcome == Outcome.ANSWERED).any() else 0.0
    return LlmRun(arrivals, first_s - arrivals, per_token_s, done_s - arrivals, outcome, output, busy_s, end_s,
                  peak / server.kv_tokens)


def _checked_tokens(tokens: ArrayLike, name: str, count: int) -> np.ndarray:
    given = np.asarray(tokens, float)
    if given.shape != (count,):
        raise InputError(f"{name} has the shape {given.shape} for {count} arrivals: give one number for each.")
    if count and not (given.min() >= 1 and (given == np.round(given)).all() and np.isfinite(given.max())):
        raise InputError(f"{name} must be whole numbers of 1 or more.")
    return given.astype(np.int64)
