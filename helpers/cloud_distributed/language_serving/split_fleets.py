"""Two fleets for one service: prompts read on some machines and answers written on others, or long prompts apart."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from helpers.cloud_distributed.language_serving.serving import LlmFleet, LlmRun, Requests, run_requests, serve_llm
from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.cloud_distributed.simulator.runs import quantiles
from helpers.cloud_distributed.training.communication import Link
from helpers.lab.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class SplitRun:
    """One service over two fleets.

    Attributes:
        parts: the run of each fleet by its name, with its own hours.
        ttft_s, per_token_s, latency_s: (n,) float64 by request as sent; NaN where nothing came.
        output_tokens: (n,) int64. answered: (n,) bool.
    """

    parts: Mapping[str, LlmRun]
    ttft_s: np.ndarray
    per_token_s: np.ndarray
    latency_s: np.ndarray
    output_tokens: np.ndarray
    answered: np.ndarray

    @property
    def end_s(self) -> float:
        """When the last fleet stopped."""
        return max(run.end_s for run in self.parts.values())

    @property
    def written(self) -> int:
        """Tokens of all answers."""
        return int(self.output_tokens[self.answered].sum())

    def slow(self, ttft_s: float) -> float:
        """Fraction of all requests whose first token did not come within so many seconds."""
        return 1.0 - float(np.count_nonzero(self.ttft_s <= ttft_s)) / max(1, len(self.ttft_s))

    def summary(self) -> dict[str, float]:
        """One row: counts, quantiles of the three times, hours of both fleets."""
        row = {"requests": len(self.ttft_s), "answered": int(self.answered.sum())}
        for name in ("ttft_s", "per_token_s", "latency_s"):
            values = quantiles(getattr(self, name), (0.5, 0.95, 0.99))
            row |= {f"p{at}_{name}": float(value) for at, value in zip((50, 95, 99), values, strict=True)}
        return row | {"replica_hours": sum(sum(run.replica_hours.values()) for run in self.parts.values())}


def serve_pools(arrivals: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, reading: LlmFleet,
                writing: LlmFleet, kv_bytes: float, link: Link) -> SplitRun:
    """Read prompts on one pool of replicas and write answers on another: no answer waits behind a long prompt.

    Args:
        kv_bytes: keys and values of a token, which go over the `link` from the one pool to the other.

    The reading pool gives the first token; the keys and values of prompt and first token follow over the link, all at
    once, and the writing pool goes on (Zhong et al., DistServe, OSDI 2024; Patel et al., Splitwise, ISCA 2024).

    Left out: links that several answers share, and sending layer by layer while the prompt is still read.

    Raises:
        InputError: as `serve_llm`; or bytes of 0 or less.

    >>> from helpers.cloud_distributed import LlmFleet, ServingEngine
    >>> from helpers.cloud_distributed.language_serving.split_fleets import serve_pools
    >>> from helpers.cloud_distributed.training.communication import Link
    >>> fleet = LlmFleet(ServingEngine((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), 0.0, 10_000))
    >>> serve_pools([0.0], [9], [3], fleet, fleet, 1.0, Link.given(0.5, 20.0, "by hand")).latency_s.tolist()
    [4.0]
    """
    if not kv_bytes > 0:
        raise InputError(f"A token's keys and values have more than 0 bytes, not {kv_bytes}.")
    prompt, output = np.asarray(prompt_tokens, float), np.asarray(output_tokens, float)
    read = serve_llm(arrivals, prompt, np.minimum(output, 1), reading)
    goes_on = np.flatnonzero((read.outcome == Outcome.ANSWERED) & (output > 1))
    there_s = read.arrivals + read.latency_s + link.latency_s + (prompt + 1) * kv_bytes / link.bytes_per_s
    order = goes_on[np.argsort(there_s[goes_on], kind="stable")]
    written = run_requests(Requests(there_s[order], prompt[order].astype(np.int64) + 1,
                                    output[order].astype(np.int64) - 1, np.zeros(len(order), np.int64), loaded=True),
                           writing)
    answered, last_s = read.outcome == Outcome.ANSWERED, read.arrivals + read.latency_s
    answered[order], last_s[order] = written.outcome == Outcome.ANSWERED, there_s[order] + written.latency_s
    with np.errstate(divide="ignore", invalid="ignore"):
        per_token_s = np.where(output > 1, (last_s - read.arrivals - read.ttft_s) / (output - 1), np.nan)
    return SplitRun({"reading": read, "writing": written}, read.ttft_s, per_token_s, last_s - read.arrivals,
                    output.astype(np.int64), answered)


def serve_by_length(arrivals: ArrayLike, prompt_tokens: ArrayLike, output_tokens: ArrayLike, limit: int,
                    short: LlmFleet, long: LlmFleet) -> SplitRun:
    """Two kinds of machine behind one router: prompts of up to `limit` tokens to the one, longer ones to the other.

    A cheap machine is often the cheaper one for short requests, and too slow for long ones (Griggs et al., Melange,
    arXiv 2404.14527, 2024).

    Raises:
        InputError: as `serve_llm`; or all prompts are on one side of the limit.

    >>> from helpers.cloud_distributed import LlmFleet, ServingEngine
    >>> from helpers.cloud_distributed.language_serving.split_fleets import serve_by_length
    >>> fleet = LlmFleet(ServingEngine((0.0,) * 4, (1.0, 0.0, 0.0, 0.0), 0.0, 10_000))
    >>> serve_by_length([0.0, 0.0], [9, 900], [1, 2], 100, fleet, fleet).latency_s.tolist()
    [1.0, 2.0]
    """
    arrivals, prompt, output = (np.asarray(one, float) for one in (arrivals, prompt_tokens, output_tokens))
    sides = {"short": prompt <= limit, "long": prompt > limit}
    if not all(side.any() for side in sides.values()):
        raise InputError(f"All prompts are on one side of {limit} tokens: choose a limit between the shortest and the "
                         "longest of them.")
    times, answered = np.full((3, len(arrivals)), np.nan), np.zeros(len(arrivals), bool)
    parts = {}
    for (name, side), fleet in zip(sides.items(), (short, long), strict=True):
        run = parts[name] = serve_llm(arrivals[side], prompt[side], output[side], fleet)
        times[:, side] = run.ttft_s, run.per_token_s, run.latency_s
        answered[side] = run.outcome == Outcome.ANSWERED
    return SplitRun(parts, *times, output.astype(np.int64), answered)
