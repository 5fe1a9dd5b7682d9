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
        """Whether a run holds both."""
        slow = float(np.count_nonzero(run.per_token_s > self.per_token_s)) / max(1, len(run.per_token_s))
        return run.slow(self.ttft_s) <= _SLOW and slow <= _SLOW


@dataclasses.dataclass(frozen=True)
class FleetChoice:
    """`frame`: a row a setting, cheapest first, with fleet, kind, holds, quantiles of both times and dollars.

    `bound_usd_month`: what a fleet that knew all requests beforehand and paid for busy seconds alone would pay at
    least, on the cheapest of the machines for that.
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
                f"tokens. No fleet can cost less than ${self.bound_usd_month:,.0f}.")


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
    rows, tried = [], _Search(sent, machines, policies, targets, kv_bytes, link).settings()
    for place, (name, kind, serve) in enumerate(tried):
        progress(place / len(tried), name)
        rows.append(_row(name, kind, *serve(), targets))
    frame = pd.DataFrame(rows).sort_values("usd_month", kind="stable", ignore_index=True)
    bound = min(least_usd_month(sent, fleet, machine) for fleet, machine in machines.values())
    return FleetChoice(frame, bound, targets)


def least_usd_month(sent: tuple, fleet: LlmFleet, machine: Offer) -> float:
    """Dollars a month below which no fleet of this engine comes, whatever its policy knows: its busy seconds alone.

    All arithmetic has to be done, and all steps together take at least that long. A token of an answer needs its
    sequence's place in a step, of `max_batch` places, and each step reads the weights. Prompts that caches hold would
    need less; the bound is for requests that share nothing.
    """
    arrivals, prompt, output = (np.asarray(one, float) for one in sent[:3])
    fits = prompt + output <= fleet.engine.kv_tokens
    prompt, output = prompt[fits], output[fits]
    a, t, wrote = fleet.engine.arithmetic, fleet.engine.traffic, float((output - 1).sum())
    context = float(((output - 1) * prompt + (output - 1) * (output - 2) / 2).sum())  # from P tokens on
    attended = context + float((prompt * (prompt + 1) / 2).sum())
    steps = max(float(output.max(initial=0)), wrote / fleet.max_batch)
    taken_on = np.count_nonzero(output > 1)  # by a pool that writes: there it counts as a token of a prompt
    arithmetic_s, traffic_s = (
        one[1] * prompt.sum() + one[2] * (wrote - taken_on) + min(one[1], one[2]) * taken_on + one[3] * pairs
        + one[0] * steps for one, pairs in ((a, attended), (t, context)))
    busy_s = max(arithmetic_s, traffic_s) + steps * fleet.engine.overhead_s
    return busy_s / max(float(arrivals[-1]), 1e-9) * HOURS_PER_MONTH * machine.on_demand_usd_hour


Served = tuple[LlmRun | SplitRun, list[tuple[int | None, Offer]]]  # a run; of each part its replicas and its offer


@dataclasses.dataclass(frozen=True)
class _Search:
    """What `cheapest_fleet` was given, and the ways to serve it."""

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
