"""Serving a language model: prefill and decode with continuous batching, each step timed by the model's sheet."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.cloud_distributed.simulator.runs import quantiles
from helpers.lab.errors import InputError
from helpers.lab.language.sheet import DecoderSheet


@dataclasses.dataclass(frozen=True)
class LlmServer:
    """A model on one or more accelerators, timed by its sheet.

    Args:
        sheet: the model, its device and the bits of its weights.
        replicas: requests are dealt out to them in turn.
        max_batch: sequences at a time. token_budget: tokens in one step; longer prompts take several.

    Raises:
        InputError: weights that leave no room for keys and values, or figures that cannot be.
    """

    sheet: DecoderSheet
    replicas: int = 1
    max_batch: int = 256
    token_budget: int = 2048

    def __post_init__(self) -> None:
        for name in ("replicas", "max_batch", "token_budget"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)}.")
        if self.sheet.kv_tokens < 1:
            raise InputError(f"The weights ({self.sheet.weight_bytes / 2**30:.1f} GiB) leave no room for keys and "
                             f"values on {self.sheet.device}: take a larger device, or fewer bits.")

    def costs(self) -> tuple[float, float, float, float, float]:
        """Seconds of reading the weights, a step's overhead, computing a token, its attention to one token, reading
        one token of context: what `DecoderSheet.step_s` is made of, for the compiled loop."""
        sheet = self.sheet
        return sheet.weights_s, sheet.efficiency.overhead_s, sheet.token_s, sheet.attention_s, sheet.context_s


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
            values = quantiles(getattr(self, name), (0.5, 0.95, 0.99))
            row |= {f"p{at}_{name}": float(value) for at, value in zip((50, 95, 99), values, strict=True)}
        return row | {"tokens_per_s": float(self.output_tokens[answered].sum()) / self.end_s if self.end_s else 0.0,
                      "peak_kv": self.peak_kv}


def serve_llm(arrivals: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, server: LlmServer) -> LlmRun:
    """Send prompts through a server; all of them are waited for.

    Args:
        arrivals: (n,) seconds, ascending. prompt_tokens, output_tokens: (n,) whole numbers of 1 or more.

    Raises:
        InputError: lengths that do not agree, arrivals out of order, tokens below 1.

    >>> from helpers.cloud_distributed import LlmServer, serve_llm
    >>> from helpers.lab import DECODERS, DecoderSheet
    >>> server = LlmServer(DecoderSheet(DECODERS["Llama 3.1 8B"], "NVIDIA H100 SXM"))
    >>> run = serve_llm([0.0, 0.1], prompt_tokens=[1000, 200], output_tokens=[50, 80], server=server)
    >>> run.summary()["answered"]
    2
    """
    from helpers.cloud_distributed.language_serving.batching import serve_batches
    from helpers.cloud_distributed.simulator.fleet import checked_arrivals

    arrivals = checked_arrivals(arrivals)
    prompt, output = (_checked_tokens(tokens, name, len(arrivals)) for tokens, name in
                      ((prompt_tokens, "prompt_tokens"), (output_tokens, "output_tokens")))
    first_s, done_s = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan)
    outcome = np.full(len(arrivals), Outcome.WAITING, np.int8)
    limits = (server.sheet.kv_tokens, server.max_batch, server.token_budget)
    busy_s, peak = 0.0, 0
    for replica in range(server.replicas):
        dealt = [np.ascontiguousarray(array[replica::server.replicas])
                 for array in (arrivals, prompt, output, first_s, done_s, outcome)]
        seconds, _, used = serve_batches(*dealt[:3], server.costs(), limits, *dealt[3:])
        for array, filled in zip((first_s, done_s, outcome), dealt[3:], strict=True):
            array[replica::server.replicas] = filled
        busy_s, peak = busy_s + seconds, max(peak, used)
    with np.errstate(divide="ignore", invalid="ignore"):
        per_token_s = np.where(output > 1, (done_s - first_s) / (output - 1), np.nan)
    end_s = float(np.nanmax(done_s)) if (outcome == Outcome.ANSWERED).any() else 0.0
    return LlmRun(arrivals, first_s - arrivals, per_token_s, done_s - arrivals, outcome, output, busy_s, end_s,
                  peak / server.sheet.kv_tokens)


def _checked_tokens(tokens: ArrayLike, name: str, count: int) -> np.ndarray:
    given = np.asarray(tokens, float)
    if given.shape != (count,):
        raise InputError(f"{name} has the shape {given.shape} for {count} arrivals: give one number for each.")
    if count and not (given.min() >= 1 and (given == np.round(given)).all() and np.isfinite(given.max())):
        raise InputError(f"{name} must be whole numbers of 1 or more.")
    return given.astype(np.int64)
