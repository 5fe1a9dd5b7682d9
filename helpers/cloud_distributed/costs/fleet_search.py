"""The cheapest fleet that holds two latency targets: machines, scaling policies, and two kinds of machine at once."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from helpers.cloud_distributed.costs.buying import run_bill, smallest
from helpers.cloud_distributed.language_serving.serving import LlmFleet, LlmRun, serve_llm
from helpers.cloud_distributed.language_serving.split_fleets import SplitRun, serve_by_length, serve_pools
from helpers.cloud_distributed.simulator.policies import Policy
from helpers.cloud_distributed.training.communication import Link
from helpers.lab.errors import InputError
from helpers.lab.money.costs import HOURS_PER_MONTH, Offer
from helpers.lab.progress import Progress, silent

Machines = Mapping[str, tuple[LlmFleet, Offer]]
_SLOW = 0.05  # of the requests may be: targets are for the 95th percentile
_WEIGHTS = np.linspace(0, 1, 21)  # of arithmetic beside traffic; each gives a bound
_LIMITS = (0.5, 0.9)  # quantiles of the prompts' lengths at which a fleet is cut in two


@dataclasses.dataclass(frozen=True)
class Targets:
    """At the 95th percentile: seconds to the first token, and for each further one."""

    ttft_s: float
    per_token_s: float = math.inf

    def __post_init__(self) -> None:
        if not (self.ttft_s > 0 and self.per_token_s > 0):
            raise InputError(f"Latency targets are above 0 s; got {self.ttft_s} and {self.per_token_s}.")

    def held(self, run: LlmRun | SplitRun) -> bool:
        """Whether a run holds both; answers of one token have no further one to be late."""
        per_token_s = run.per_token_s[run.output_tokens > 1]
        slow = float(np.count_nonzero(~(per_token_s <= self.per_token_s))) / max(1, len(per_token_s))
        return run.slow(self.ttft_s) <= _SLOW and slow <= _SLOW


@dataclasses.dataclass(frozen=True)
class FleetChoice:
    """`frame`: a row a setting, cheapest first, with fleet, kind, holds, quantiles of both times and dollars.

    `bound_usd_month`: what a fleet of these machines, of one kind or mixed, that knew all requests beforehand and paid
    for busy seconds alone would pay at least.
    """

    frame: pd.DataFrame
    bound_usd_month: float
    targets: Targets

    @property
    def best(self) -> pd.Series | None:
        """The cheapest setting that holds the targets; None where none does."""
        holding = self.frame[self.frame["holds"]]
        return holding.iloc[0] if len(holding) else None

    def sentence(self) -> str:
        """The finding, computed from the figures."""
        per_token_ms = 1e3 * self.targets.per_token_s
        further = f" and {per_token_ms:g} ms a further token" if math.isfinite(per_token_ms) else ""
        target = f"{self.targets.ttft_s:g} s to the first token{further} (p95)"
        best, holding = self.best, self.frame[self.frame["holds"]]
        if best is None:
            return f"None of {len(self.frame)} settings holds {target}: allow more replicas, or a later answer."
        fixed = holding[holding["kind"] == "fixed"]
        beside = (f", beside ${fixed['usd_month'].iloc[0]:,.0f} for the cheapest fixed fleet of one kind"
                  if len(fixed) and best["kind"] != "fixed" else "")
        return (f"{len(holding)} of {len(self.frame)} settings hold {target}. Cheapest: {best['fleet']}, "
                f"${best['usd_month']:,.0f} a month{beside}; ${best['usd_per_million_tokens']:.2f} a million written "
                f"tokens. No fleet of these machines can cost less than ${self.bound_usd_month:,.0f}.")


def cheapest_fleet(sent: tuple, machines: Machines, policies: Mapping[str, Policy], targets: Targets, *,
                   kv_bytes: float, link: Link, progress: Progress = silent) -> FleetChoice:
    """Try fleets on the same requests, each as small as holds the targets, and compare their bills.

    Args:
        sent: (n,) arrivals, prompt tokens, output tokens.
        machines: name -> a fleet of it, of which engine, start-up time and limits are taken, and its offer.
        policies: name -> scaling policy. Each starts from the machine's smallest fixed fleet.
        kv_bytes, link: as `serve_pools`.

    Tried are, for each machine, a fixed fleet and each policy; for each pair of machines, two kinds at once, cut by
    the length of the prompt, and pools that read and that write, of the same machine too. Where not even
    max_replicas hold the targets, the row says so. The choice is made on the same requests that it is judged on.

    Raises:
        InputError: no machine, or as `serve_llm`.
        Cancelled: the caller of `progress` wants an end.
    """
    if not machines:
        raise InputError("Give one machine or more: a name, its fleet and its offer.")
    rows, ends_s, tried = [], [], _Search(sent, machines, policies, targets, kv_bytes, link).settings()
    for place, (name, kind, serve) in enumerate(tried):
        progress(place / len(tried), name)
        run, parts = serve()
        rows.append(_row(name, kind, run, parts, targets))
        ends_s.append(run.end_s)
    frame = pd.DataFrame(rows).assign(end_s=ends_s)
    longest_s = (frame[frame["holds"]] if frame["holds"].any() else frame)["end_s"].max()  # each bill is for its run
    bound = least_usd(sent, list(machines.values())) / max(longest_s, 1e-9) * 3600 * HOURS_PER_MONTH
    frame = frame.drop(columns="end_s").sort_values("usd_month", kind="stable", ignore_index=True)
    return FleetChoice(frame, bound, targets)


def least_usd(sent: tuple, machines: Sequence[tuple[LlmFleet, Offer]]) -> float:
    """Dollars below which no fleet of these machines serves the requests, whatever its policy knows: busy seconds.

    Args:
        sent: (n,) arrivals, prompt tokens, output tokens.
        machines: each engine and its price; a fleet may mix them, and read a prompt on one and answer on another.

    All steps of a machine take at least as long as all their arithmetic, and as all their traffic, and so as any
    weighting of both: for each weight, each prompt and each answer goes where it costs least, and the largest of these
    sums is the bound. A token of an answer needs a place in a step, of `max_batch`. The longest answer alone is one
    more bound: its steps come one after another. Prompts that caches hold would need less; the bound is for requests
    that share nothing, and counts only blocks that fit in the memory of each machine.
    """
    prompt, output = (np.asarray(one, float) for one in sent[1:3])
    fits = prompt + output <= min(fleet.engine.kv_tokens for fleet, _ in machines)
    prompt, output = prompt[fits], output[fits]
    prices = np.array([machine.on_demand_usd_hour / 3600 for _, machine in machines])  # (machines,) dollars a second
    each_s = np.array([_busy_s(prompt, output, fleet) for fleet, _ in machines])  # (machines, 2, 2, n)
    step_s = np.array([fleet.engine.overhead_s + max(fleet.engine.arithmetic[0], fleet.engine.traffic[0])
                       for fleet, _ in machines])
    usd = prices[:, None, None, None] * each_s
    weighted = (share * usd[:, 0] + (1 - share) * usd[:, 1] for share in _WEIGHTS)
    return max(float(output.max(initial=0)) * float((prices * step_s).min()),
               *(float(one.min(axis=0).sum()) for one in weighted))


def _busy_s(prompt: np.ndarray, output: np.ndarray, fleet: LlmFleet) -> np.ndarray:
    """(2, 2, n) seconds of arithmetic and of traffic, to read each prompt and to write each answer, at least."""
    wrote = output - 1
    taken_on = output > 1  # by a pool that writes: there it counts as a token of a prompt
    context = wrote * prompt + wrote * (wrote - 1) / 2  # from P tokens on
    steps = wrote / fleet.max_batch
    return np.array([
        [one[1] * prompt + one[3] * pairs, one[2] * (wrote - taken_on) + min(one[1], one[2]) * taken_on
         + one[3] * context + (one[0] + fleet.engine.overhead_s) * steps]
        for one, pairs in ((fleet.engine.arithmetic, prompt * (prompt + 1) / 2), (fleet.engine.traffic, 0.0))])


Served = tuple[LlmRun | SplitRun, list[tuple[int | None, Offer]]]  # a run; of each part its replicas and its offer


@dataclasses.dataclass(frozen=True)
class _Search:
    """Arguments of `cheapest_fleet`, with the ways to serve that they allow."""

    sent: tuple
    machines: Machines
    policies: Mapping[str, Policy]
    targets: Targets
    kv_bytes: float
    link: Link
    replicas: dict[str, int] = dataclasses.field(default_factory=dict)  # of each machine's smallest fixed fleet

    def settings(self) -> list[tuple[str, str, Callable[[], Served]]]:
        """Name, kind and what serves; the fixed fleets first, which the scaled ones start from."""
        part, names = functools.partial, list(self.machines)
        return [
            *((name, "fixed", part(self.fixed, name)) for name in names),
            *((f"{name}, scaled on {rule}", "scaled", part(self.scaled, name, policy))
              for name in names for rule, policy in self.policies.items()),
            *((f"{one} up to {limit:,} tokens, {other} beyond", "two kinds", part(self.by_length, limit, one, other))
              for one, other in itertools.permutations(names, 2) for limit in _limits(self.sent[1])),
            *((f"prompts on {one}, answers on {other}", "pools", part(self.pools, one, other))
              for one, other in itertools.product(names, repeat=2))]

    def fixed(self, name: str) -> Served:
        """The smallest fleet of one machine."""
        run = self._smallest(name, self.sent)
        self.replicas[name] = run.launches
        return run, self._each([run.launches], name)

    def scaled(self, name: str, policy: Policy) -> Served:
        """The same, with a policy."""
        fleet, machine = self.machines[name]
        run = serve_llm(*self.sent, dataclasses.replace(fleet, replicas=self.replicas[name], policy=policy))
        return run, [(None, machine)]

    def by_length(self, limit: int, one: str, other: str) -> Served:
        """Each side of the limit on the smallest fleet that holds the targets for it, and so for all."""
        short = np.asarray(self.sent[1]) <= limit
        counts = [self._smallest(name, tuple(np.asarray(part)[side] for part in self.sent)).launches
                  for name, side in ((one, short), (other, ~short))]
        fleets = [self._fleet(name, count) for name, count in zip((one, other), counts, strict=True)]
        return serve_by_length(*self.sent, limit, *fleets), self._each(counts, one, other)

    def pools(self, one: str, other: str) -> Served:
        """The fewest readers that hold the target of the first token, then the fewest writers."""
        readers = smallest(lambda count: serve_llm(*self.sent[:2], np.ones(len(self.sent[0])), self._fleet(one, count)),
                           self.machines[one][0].max_replicas, lambda run: run.slow(self.targets.ttft_s) <= _SLOW)
        reading = self._fleet(one, readers.launches)
        run = smallest(lambda count: serve_pools(*self.sent, reading, self._fleet(other, count), self.kv_bytes,
                                                 self.link), self.machines[other][0].max_replicas, self.targets.held)
        return run, self._each([readers.launches, run.parts["writing"].launches], one, other)

    def _smallest(self, name: str, sent: tuple) -> LlmRun:
        return smallest(lambda count: serve_llm(*sent, self._fleet(name, count)), self.machines[name][0].max_replicas,
                        self.targets.held)

    def _fleet(self, name: str, count: int) -> LlmFleet:
        return dataclasses.replace(self.machines[name][0], replicas=count, policy=None)

    def _each(self, counts: Sequence[int], *names: str) -> list[tuple[int | None, Offer]]:
        return [(count, self.machines[name][1]) for count, name in zip(counts, names, strict=True)]


def _row(name: str, kind: str, run: LlmRun | SplitRun, parts: list[tuple[int | None, Offer]],
         targets: Targets) -> dict[str, object]:
    runs = run.parts.values() if isinstance(run, SplitRun) else [run]
    money = run_bill(list(zip(runs, (machine for _, machine in parts), strict=True)), run)
    counts = " + ".join(str(count) for count, _ in parts if count)
    figures = {key: value for key, value in run.summary().items() if "ttft" in key or "per_token" in key}
    return {"fleet": f"{name} ({counts})" if counts else name, "kind": kind, "holds": targets.held(run), **figures,
            **money}


def _limits(prompt: np.ndarray) -> list[int]:
    """Lengths that cut the prompts in two, with some on each side."""
    limits = sorted({int(limit) for limit in np.quantile(prompt, _LIMITS)})
    return [limit for limit in limits if np.min(prompt) <= limit < np.max(prompt)]
