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
SPEEDUPS_TRIED = 64  # inside a speed-up's interval; bills of whole machines move in steps


@dataclasses.dataclass(frozen=True)
class Range:
    """A figure with its 95% interval; without one, low and high are the figure."""

    value: float
    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """The sum; its bounds are the sums of the bounds, which is rather too wide than too narrow."""
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def __sub__(self, other: "Range") -> "Range":
        """The difference of two figures that vary apart: its bounds are as far apart as theirs allow."""
        return Range(self.value - other.value, self.low - other.high, self.high - other.low)

    @property
    def holds_zero(self) -> bool:
        """Whether the interval of a difference leaves open which of the two is larger."""
        return self.low <= 0 <= self.high

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
        p95_ms: one answer alone, as measured. At most 5% of the requests wait longer than the target leaves beside the
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
    """The fewest servers with which at most 5% of the requests of a Poisson stream wait longer than `wait_s`.

    Erlang's C formula by the recursion of his B formula; the wait of waiting requests is exponential.

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
    """Bill a month of the scenario with this model.

    A machine works on as many requests at a time as the model's `threads` go into its cores, times how many it
    answers together (`settings["slots"]`), whose latencies are those in company. The interval is that of
    the speed-up: a model that is so much faster or slower takes its time divided by that.
    """
    slower = Range(*(record.speedup / bound for bound in (record.speedup, record.speedup_high, record.speedup_low)))
    counts = Range(*(_machines(record, scenario, times) for times in (slower.value, slower.low, slower.high)))
    always = counts.scaled(_usd_per_machine(scenario))
    busy, times = cost(record, scenario.machine), slower.scaled(scenario.volume / 1e6)
    return Serving(int(counts.value), always, always.scaled(scenario.traffic_hours / 24),
                   times.scaled(busy.usd), None if busy.gco2e is None else times.scaled(busy.gco2e), record.p95_ms)


def serving_change(record: "Measurement", before: Scenario, after: Scenario) -> tuple[Range, Range]:
    """Difference of a model's monthly dollars, `after` less `before`: day and night, in hours of traffic.

    The model's speed-up is not known exactly, but it is the same in both: so the two are held against each other at the
    same speed-up, over all of its interval, which tells differences that lie inside either bill's own interval.

    >>> from helpers import app
    >>> from helpers.lab.money.bill import serving_change
    >>> from helpers.lab.money.scenario import Scenario
    >>> model = app.recorded("1_model_optimization_together")[-1]
    >>> serving_change(model, Scenario(), Scenario())[0]
    Range(value=0.0, low=0.0, high=0.0)
    """
    ends = [record.speedup / record.speedup_high, record.speedup / record.speedup_low]
    tried = [1.0, *ends, *(ends[0] * (ends[1] / ends[0]) ** (step / SPEEDUPS_TRIED) for step in range(SPEEDUPS_TRIED))]
    always = [[_machines(record, one, times) * _usd_per_machine(one) for one in (before, after)] for times in tried]
    hours = [one.traffic_hours / 24 for one in (before, after)]
    return (_spread([new - old for old, new in always]),
            _spread([new * hours[1] - old * hours[0] for old, new in always]))


def _spread(tried: list[float]) -> Range:
    """The first of some figures, between the least and the largest of them."""
    return Range(tried[0], min(tried), max(tried))


def _usd_per_machine(scenario: Scenario) -> float:
    return HOURS_PER_MONTH * scenario.machine.on_demand_usd_hour


def _machines(record: "Measurement", scenario: Scenario, slower: float) -> int:
    """Whole machines for a model that takes `slower` times the recorded seconds."""
    places = max(1, (scenario.machine.vcpus or 1) // record.threads) * record.settings.get("slots", 1)
    mean_s = mean_service_s(record.p50_ms, record.p95_ms) * slower
    wait_s = max(scenario.deadline_ms / 1e3 - mean_s, MIN_WAIT_S)
    return math.ceil(places_needed(scenario.per_second, mean_s, wait_s) / places)


def hosted_usd(scenario: Scenario, cached: bool = False) -> float:
    """Bill a month of the scenario by the token; `cached`: the common beginning of requests comes from the cache.

    Raises:
        InputError: with `cached`, where that beginning is too short to be cached, or no price of it is known.

    >>> from helpers.lab.money.bill import hosted_usd
    >>> from helpers.lab.money.scenario import Scenario
    >>> round(hosted_usd(Scenario(volume=1e6, api="OpenAI gpt-4o-mini", tokens_in=100, tokens_out=10)), 2)
    21.0
    """
    if cached and scenario.tokens_shared and (why := why_uncached(scenario)):
        raise InputError(f"{scenario.api}: {why}. Count none of the tokens as cached.")
    return scenario.volume * scenario.hosted.usd(scenario.tokens_in, scenario.tokens_out,
                                                 scenario.tokens_shared if cached else 0.0)


def why_uncached(scenario: Scenario) -> str:
    """Why what all requests begin with does not come from the provider's cache; empty where it does.

    >>> from helpers.lab.money.bill import why_uncached
    >>> from helpers.lab.money.scenario import Scenario
    >>> why_uncached(Scenario(api="OpenAI gpt-5.4-mini", tokens_in=1000, tokens_shared=900))
    'a beginning is cached from 1,024 tokens on, and this one has 900'
    """
    hosted, shared = scenario.hosted, scenario.tokens_shared
    if hosted.caches(shared):
        return ""
    if not shared:
        return "requests that begin alike would pay less: say with how many tokens"
    if hosted.cached_usd_per_million_tokens is None:
        return "no price of cached tokens is known"
    if hosted.cache_min_tokens is None:
        return "it is not known from how many tokens on a beginning is cached"
    return f"a beginning is cached from {hosted.cache_min_tokens:,} tokens on, and this one has {shared:,.12g}"


def repaid_in(spent_usd: float, saved_usd: float) -> float | None:
    """Months until a monthly saving has paid back what was spent; None where it never does."""
    return spent_usd / saved_usd if saved_usd > 0 else None
