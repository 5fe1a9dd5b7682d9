"""Tokens by the million, or machines by the hour: what each costs at a volume, and where they cost the same."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from helpers.cloud_distributed.costs.machines import bill
from helpers.cloud_distributed.language_serving.prefix_cache import Prefixes
from helpers.cloud_distributed.language_serving.serving import LlmFleet, LlmRun, serve_llm
from helpers.cloud_distributed.language_serving.split_fleets import SplitRun
from helpers.lab.errors import InputError
from helpers.lab.measuring.intervals import mean_interval
from helpers.lab.money.costs import HOURS_PER_MONTH, ApiPrice, Offer
from helpers.lab.progress import Progress, silent

Served = TypeVar("Served")
# (requests a second, seed) -> arrivals, prompt tokens, output tokens, and prefixes or None.
Traffic = Callable[[float, int], tuple[np.ndarray, np.ndarray, np.ndarray, Prefixes | None]]


def serving_bill(run: LlmRun, machine: Offer) -> dict[str, float]:
    """Dollars of a run on machines that each hold one replica: `usd_month` as of `bill`, and of it for a million
    written tokens and for an answered request, with all that reading takes; NaN where nothing was answered. And
    kilograms of CO2e a month, NaN where the machine's power has no source."""
    return run_bill([(run, machine)], run)


def run_bill(parts: Sequence[tuple[LlmRun, Offer]], run: LlmRun | SplitRun) -> dict[str, float]:
    """The same for a service over several fleets: the run of each and its machine, and the requests of all."""
    bills = [bill(one, machine) for one, machine in parts]
    month = sum(one.usd_month for one in bills)
    share = run.end_s / 3600 / HOURS_PER_MONTH
    answered, written = run.summary()["answered"], run.written
    return {"usd_month": month, "usd_per_million_tokens": month * share / written * 1e6 if written else math.nan,
            "usd_per_request": month * share / answered if answered else math.nan,
            "kg_month": sum(math.nan if one.kg_month is None else one.kg_month for one in bills)}


def fewest_replicas(sent: tuple, fleet: LlmFleet, ttft_s: float, slow: float = 0.05) -> LlmRun:
    """The run of the smallest fixed fleet in which at most `slow` of the requests wait longer for their first token.

    Args:
        sent: arrivals, prompt tokens, output tokens, prefixes.

    Raises:
        InputError: not even max_replicas do.
    """
    run = smallest(lambda count: serve_llm(*sent[:3], dataclasses.replace(fleet, replicas=count, policy=None), sent[3]),
                   fleet.max_replicas, lambda run: run.slow(ttft_s) <= slow)
    if run.slow(ttft_s) > slow:
        raise InputError(f"{fleet.max_replicas} replicas do not hold {ttft_s:g} s to the first token: raise "
                         "max_replicas or the target, or take a faster engine.")
    return run


def smallest(run_of: Callable[[int], Served], most: int, holds: Callable[[Served], bool]) -> Served:
    """The run of the fewest replicas, 1 to `most`, that holds; that of `most` where none does.

    It takes for granted that more replicas hold whatever fewer do.
    """
    low, high, best = 1, 1, run_of(1)
    while not holds(best) and high < most:
        low, high = high + 1, min(2 * high, most)
        best = run_of(high)
    while low < high and holds(best):
        middle = (low + high) // 2
        run = run_of(middle)
        if holds(run):
            best, high = run, middle
        else:
            low = middle + 1
    return best


@dataclasses.dataclass(frozen=True)
class BuyOrRent:
    """`frame`: a row a volume and seed. `break_even`: requests a month (value, low, high); None where machines cost
    more at the largest volume, with one seed at least."""

    frame: pd.DataFrame
    break_even: tuple[float, float, float] | None
    name: str
    machine: str
    seeds: int

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        most, dearer = self.frame["requests_month"].max(), self.frame["own_usd"] > self.frame["hosted_usd"]
        if self.break_even is None and dearer.all():
            return (f"Up to {most:,.0f} requests a month, tokens of {self.name} cost less than own machines "
                    f"({self.machine}).")
        if self.break_even is None:
            cheaper = (~dearer[self.frame["requests_month"] == most]).sum()
            return (f"No break-even up to {most:,.0f} requests a month: there own machines ({self.machine}) cost less "
                    f"than tokens of {self.name} with {cheaper} of {self.seeds} seeds.")
        value, low, high = self.break_even
        if not dearer.any():
            return (f"Already at the smallest volume that was tried ({value:,.0f} requests a month), own machines "
                    f"({self.machine}) cost less than tokens of {self.name}.")
        return (f"From {value:,.0f} requests a month on ({low:,.0f} to {high:,.0f}, 95% over {self.seeds} seeds), own "
                f"machines ({self.machine}) cost less than tokens of {self.name}.")


def buy_or_rent(traffic: Traffic, fleet: LlmFleet, machine: Offer, price: ApiPrice, *, volumes: Sequence[float],
                ttft_s: float = 1.0, seeds: int = 5, cached: float = 0.0, batched: float = 0.0,
                progress: Progress = silent) -> BuyOrRent:
    """Own machines against tokens, over volumes: the fewest replicas that meet the target at 95% of the requests.

    Args:
        traffic: (requests a second, seed) -> requests: their burstiness decides how many machines idle.
        volumes: requests a month, ascending. ttft_s: the target of the time to the first token.
        cached: share of the read tokens that requests begin with alike: the seller's cache has them where a price is
            known, and where they are enough for it (see `ApiPrice.caches`). batched: share that can wait for a batch.

    Returns:
        `frame` with requests_month, seed, replicas, own_usd, hosted_usd, ttft_p95_s, usd_per_million_tokens. Where
        the lines of a seed cross, by their logarithms, is its break-even; the value is the mean over seeds, on the
        scale of logarithms, with Student's interval. A seed whose lines do not cross leaves the answer open: None.

    Raises:
        InputError: volumes that do not ascend or bring no request, too few seeds, or a target that no fleet holds.
        Cancelled: the caller of `progress` wants an end.
    """
    volumes = np.asarray(volumes, float)
    if len(volumes) < 2 or volumes[0] <= 0 or (np.diff(volumes) <= 0).any() or seeds < 2:
        raise InputError("Give two volumes or more, ascending from above 0, and two seeds or more.")
    rows = []
    for place, (seed, volume) in enumerate((seed, volume) for seed in range(seeds) for volume in volumes):
        progress(place / (seeds * len(volumes)), f"{volume:,.0f} requests a month, seed {seed}")
        sent = traffic(volume / HOURS_PER_MONTH / 3600, seed)
        if not len(sent[0]):
            raise InputError(f"No request came at {volume:,.0f} a month: let the traffic last longer.")
        run = fewest_replicas(sent, fleet, ttft_s)
        read, written = (float(np.mean(tokens)) for tokens in (run.prompt_tokens, run.output_tokens))
        bill, cached_tokens = serving_bill(run, machine), cached * read if price.caches(cached * read) else 0.0
        rows.append({"requests_month": volume, "seed": seed, "replicas": run.launches, "own_usd": bill["usd_month"],
                     "hosted_usd": volume * price.usd(read, written, cached_tokens, batched=batched),
                     "ttft_p95_s": run.summary()["p95_ttft_s"],
                     "usd_per_million_tokens": bill["usd_per_million_tokens"]})
    frame = pd.DataFrame(rows)
    meetings = [_meeting(part["requests_month"].to_numpy(), part["own_usd"].to_numpy(), part["hosted_usd"].to_numpy())
                for _, part in frame.groupby("seed")]
    crossing = None if None in meetings else tuple(map(math.exp, mean_interval(np.log(meetings))))
    return BuyOrRent(frame, crossing, price.name, machine.name, seeds)


def _meeting(volumes: np.ndarray, own: np.ndarray, hosted: np.ndarray) -> float | None:
    """The volume from which machines cost no more up to the largest one; None where they do there."""
    dearer = np.flatnonzero(own > hosted)
    if not len(dearer):
        return float(volumes[0])  # or below it
    k = int(dearer[-1])
    if k + 1 == len(volumes):
        return None
    gap = np.log(own[k:k + 2] / hosted[k:k + 2])  # above 0, then 0 or below
    share = gap[0] / (gap[0] - gap[1])
    return float(math.exp(math.log(volumes[k]) + share * math.log(volumes[k + 1] / volumes[k])))
