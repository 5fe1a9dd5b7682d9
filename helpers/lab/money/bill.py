"""A month's bill of one model on whole machines, on paper: Erlang's formula, a measured latency, a sourced price."""

import dataclasses
import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from helpers.lab.errors import InputError
from helpers.lab.money.costs import HOURS_PER_MONTH, cost
from helpers.lab.money.scenario import Scenario

if TYPE_CHECKING:
    from helpers.lab.measuring.measurement import Measurement

MAX_WAITING = 0.05  # share of requests that may wait longer than the latency target leaves
MIN_WAIT_S = 0.01  # the wait that a fleet is sized for where a model alone takes as long as the target, or longer


@dataclasses.dataclass(frozen=True)
class Range:
    """A figure with its 95 % interval; without one, low and high are the figure."""

    value: float
    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """The sum; its bounds are the sums of the bounds, which is rather too wide than too narrow."""
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def scaled(self, factor: float) -> "Range":
        """A positive multiple."""
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclasses.dataclass(frozen=True)
class Serving:
    """A month of one model for a scenario.

    Attributes:
        machines: whole ones, as many as the hours of traffic need.
        always_usd: they run day and night; this is what is paid.
        in_hours_usd: they run in the hours of traffic only.
        busy_usd: the seconds in which they work, if one could rent just those, as `lab.cost` counts.
        gco2e: grams of those busy seconds; None where no power figure is sourced.
        p95_ms: one answer alone, as measured. At most 5 % of the requests wait longer than the target leaves beside the
            mean; a model whose p95 alone is over the target misses it with any fleet.
    """

    machines: int
    always_usd: Range
    in_hours_usd: Range
    busy_usd: Range
    gco2e: Range | None
    p95_ms: float


def mean_service_s(p50_ms: float, p95_ms: float) -> float:
    """Mean seconds of a lognormal law through a median and a 95th percentile.

    >>> from helpers.lab.money.bill import mean_service_s
    >>> round(mean_service_s(10.0, 20.0), 6)
    0.010929
    """
    spread = math.log(p95_ms / p50_ms) / NormalDist().inv_cdf(0.95)
    return p50_ms / 1e3 * math.exp(spread**2 / 2)


def places_needed(per_second: float, mean_s: float, wait_s: float) -> int:
    """The fewest servers with which at most 5 % of the requests of a Poisson stream wait longer than `wait_s`.

    Erlang's C formula by the recursion of his B formula; the wait of those who wait is exponential.

    >>> from helpers.lab.money.bill import places_needed
    >>> places_needed(per_second=80.0, mean_s=0.1, wait_s=0.15)
    10
    """
    if not (per_second > 0 and mean_s > 0 and wait_s > 0):
        raise InputError(f"Requests a second, their seconds and the wait are above 0; got {per_second}, {mean_s} and "
                         f"{wait_s}.")
    offered, blocked, servers = per_second * mean_s, 1.0, 0
    while True:
        servers += 1
        blocked = offered * blocked / (servers + offered * blocked)
        if servers > offered:
            waiting = blocked / (1 - offered / servers * (1 - blocked))
            if waiting * math.exp(-(servers / mean_s - per_second) * wait_s) <= MAX_WAITING:
                return servers


def serving(record: "Measurement", scenario: Scenario) -> Serving:
    """What a month of the scenario costs with this model.

    A machine works on as many requests at a time as the model's `threads` go into its cores. The interval is that of
    the speed-up: a model that is so much faster or slower takes its time divided by that.
    """
    machine = scenario.machine
    places = max(1, (machine.vcpus or 1) // record.threads)
    slower = {name: record.speedup / bound for name, bound in (
        ("value", record.speedup), ("low", record.speedup_high), ("high", record.speedup_low))}
    mean_s, target_s = mean_service_s(record.p50_ms, record.p95_ms), scenario.deadline_ms / 1e3
    counts = {name: math.ceil(places_needed(scenario.per_second, mean_s * times,
                                            max(target_s - mean_s * times, MIN_WAIT_S)) / places)
              for name, times in slower.items()}
    of_one = HOURS_PER_MONTH * machine.on_demand_usd_hour
    always = Range(*(counts[name] * of_one for name in ("value", "low", "high")))
    busy, times = cost(record, machine), Range(**slower).scaled(scenario.volume / 1e6)
    return Serving(counts["value"], always, always.scaled(scenario.traffic_hours / 24),
                   times.scaled(busy.usd), None if busy.gco2e is None else times.scaled(busy.gco2e), record.p95_ms)


def hosted_usd(scenario: Scenario, cached: bool = False) -> float:
    """What a month of the scenario costs by the token; `cached`: what all requests begin with comes from the cache.

    >>> from helpers.lab.money.bill import hosted_usd
    >>> from helpers.lab.money.scenario import Scenario
    >>> round(hosted_usd(Scenario(volume=1e6, api="OpenAI gpt-4o-mini", tokens_in=100, tokens_out=10)), 2)
    21.0
    """
    return scenario.volume * scenario.hosted.usd(scenario.tokens_in, scenario.tokens_out,
                                                 scenario.tokens_shared if cached else 0.0)


def repaid_in(spent_usd: float, saved_usd: float) -> float | None:
    """Months until a monthly saving has paid back what was spent; None where it never does."""
    return spent_usd / saved_usd if saved_usd > 0 else None
