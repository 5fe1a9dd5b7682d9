"""A trace on a serverless platform: which requests start cold, and the bill, item by item."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import pandas as pd

from helpers.cloud_distributed.costs.limits import platform_limits, require_within
from helpers.cloud_distributed.costs.serverless_prices import Rate, ServerlessOffer
from helpers.lab.errors import InputError
from helpers.lab.money.costs import HOURS_PER_MONTH

MONTH_S = HOURS_PER_MONTH * 3600


@dataclasses.dataclass(frozen=True)
class Pool:
    """Outcome of each request, and the times of each instance.

    `begin_s`, `finish_s`, `latency_s` (n,) float64 and `cold` (n,) bool by request, `instance` (n,) int64 its number;
    `start_s`, `end_s` (k,) float64 by instance, cut at the end of the trace.
    """

    begin_s: np.ndarray
    finish_s: np.ndarray
    latency_s: np.ndarray
    cold: np.ndarray
    instance: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray


@dataclasses.dataclass(frozen=True)
class Item:
    """One line of a month's bill: the rate, how many units are used, and the dollars for units that are not free."""

    rate: Rate
    quantity: float
    usd: float


@dataclasses.dataclass(frozen=True)
class ServerlessBill:
    """A month of the trace's traffic on an offer, in its steady state.

    `pool` has the requests as they come again with what is warm from the time before; `startup_usd` is what their
    first time, which begins with nothing warm, costs beyond that, once.
    """

    offer: ServerlessOffer
    items: tuple[Item, ...]
    pool: Pool
    span_s: float
    startup_usd: float

    @property
    def usd_month(self) -> float:
        """All items together."""
        return sum(item.usd for item in self.items)


def serve(arrivals: np.ndarray, service: np.ndarray, offer: ServerlessOffer, *, memory_gib: float = 2.0,
          vcpus: float = 1.0, cold_start_s: float | None = None, keep_warm_s: float | None = None,
          concurrency: int = 1, max_instances: int | None = None, span_s: float | None = None) -> ServerlessBill:
    """Run a trace on an offer and write the bill for a month of such traffic.

    Args:
        arrivals: (n,) seconds since the trace's start, ascending.
        service: (n,) seconds of work, measured with this memory and these vCPUs.
        cold_start_s: from the start of an instance until it can answer, loading the model included. Default: the
            offer's, where one is sourced.
        keep_warm_s: an instance without work for so long is taken down (math.inf: never). Default likewise.
        concurrency: requests that an instance works on at a time.
        max_instances: requests beyond wait in line; the platform's limit by default, where one is sourced.
        span_s: the trace's length (default: up to its last arrival). Usage is scaled from it to 730 hours, and the
            free tier, which is monthly, is taken off once.

    The trace is run twice in a row and its second time is billed: a month is many such stretches, and only the first
    of them begins with nothing warm. Else the cold starts of a short trace would be paid again and again.

    Raises:
        InputError: a trace or a number that makes no sense, a default that has no source, or more memory, time,
            instances or requests at a time than the platform has.
    """
    cold_start_s, keep_warm_s = offer.cold_start(cold_start_s), offer.keep_warm(keep_warm_s)
    arrivals, service = np.asarray(arrivals, float), np.asarray(service, float)
    require_trace(arrivals, service, span_s)
    span_s = float(arrivals[-1]) if span_s is None else span_s
    require_within(offer.name, {"memory": memory_gib, "vCPUs": vcpus, "time": float(service.max()),
                                "instances": max_instances or 1, "requests at a time": concurrency})
    limit = platform_limits().get(offer.name, {}).get("instances")
    most = int(limit) if max_instances is None and limit else max_instances
    rules = cold_start_s, keep_warm_s, concurrency, most
    once = run_pool(arrivals, service, *rules, span_s)
    twice = run_pool(np.append(arrivals, arrivals + span_s), np.append(service, service), *rules, 2 * span_s)
    first = billed_seconds(once, service, offer, cold_start_s, span_s)
    again = billed_seconds(twice, np.append(service, service), offer, cold_start_s, 2 * span_s) - first
    seconds = again * MONTH_S / span_s
    items = [_item(rate, seconds * offer.units_per_second(rate, memory_gib, vcpus)) for rate in offer.time]
    if offer.request:
        items.append(_item(offer.request, len(arrivals) * MONTH_S / span_s))
    return ServerlessBill(offer, tuple(items), second_time(twice, len(arrivals), span_s), span_s,
                          (first - again) * offer.usd_per_second(memory_gib, vcpus))


def scale_to_zero(arrivals: np.ndarray, service: np.ndarray, offer: ServerlessOffer,
                  keep_warm_s: Sequence[float] = (0.0, 60.0, 300.0, 900.0, 3600.0, math.inf),
                  **settings: Any) -> pd.DataFrame:
    """Compare times to wait before an instance is taken down: their cost, and the cold starts that they spare.

    Columns keep_warm_s, usd_month, cold_share, p50_s, p99_s. math.inf never scales to zero. `settings` are those of
    `serve`.
    """
    rows = []
    for seconds in keep_warm_s:
        bill = serve(arrivals, service, offer, keep_warm_s=seconds, **settings)
        p50, p99 = np.quantile(bill.pool.latency_s, [0.5, 0.99])
        rows.append((seconds, bill.usd_month, bill.pool.cold.mean(), p50, p99))
    return pd.DataFrame(rows, columns=["keep_warm_s", "usd_month", "cold_share", "p50_s", "p99_s"])


def run_pool(arrivals: np.ndarray, service: np.ndarray, cold_start_s: float, keep_warm_s: float, concurrency: int = 1,
             max_instances: int | None = None, span_s: float | None = None, provisioned: int = 0) -> Pool:
    """Which instance works on which request, from when to when. Arguments as for `serve`.

    Args:
        provisioned: instances, the first ones by number, that are ready from the start on and never taken down.

    A request goes to a provisioned instance with a free place where there is one. Else it goes
    to the most recently used other instance with a free place (so that the others can be taken down), else
    to one that is just starting and has a place left, else it starts a new one; at the limit it waits for
    the first place to become free, first come, first served.
    """
    arrivals, service = np.ascontiguousarray(arrivals, float), np.ascontiguousarray(service, float)
    require_trace(arrivals, service, span_s)
    if not (0 <= cold_start_s < math.inf and keep_warm_s >= 0 and concurrency >= 1
            and (max_instances is None or max_instances >= 1) and provisioned >= 0):
        raise InputError("Seconds must not be negative, and an instance and a request at a time is the least: got "
                         f"cold_start_s={cold_start_s}, keep_warm_s={keep_warm_s}, concurrency={concurrency}, "
                         f"max_instances={max_instances}, provisioned={provisioned}.")
    end = arrivals[-1] if span_s is None else span_s
    begin, instance, cold, start, stop = _assign(arrivals, service, cold_start_s, keep_warm_s, concurrency,
                                                 max_instances or len(arrivals) + provisioned, provisioned)
    finish = begin + service
    idle_from = np.zeros(len(start))
    np.maximum.at(idle_from, instance, finish)
    return Pool(begin, finish, finish - arrivals, cold, instance, start,
                np.minimum(stop, np.maximum(end, idle_from)))


def second_time(pool: Pool, count: int, span_s: float) -> Pool:
    """The requests of a trace as they came again, on its own clock."""
    return Pool(pool.begin_s[count:] - span_s, pool.finish_s[count:] - span_s, pool.latency_s[count:],
                pool.cold[count:], pool.instance[count:], pool.start_s - span_s, pool.end_s - span_s)


def billed_seconds(pool: Pool, service: np.ndarray, offer: ServerlessOffer, cold_start_s: float,
                   span_s: float) -> float:
    """Seconds that the provider counts during the trace, each stretch rounded up to the granularity.

    An instance that runs on beyond the trace's end `span_s` is counted as far as it goes.
    """
    if offer.billed == "instances":
        lengths = pool.end_s - pool.start_s
        return float(np.where(pool.end_s < span_s, round_up(lengths, offer.granularity_s), lengths).sum())
    started = np.where(pool.cold & offer.start_is_billed, cold_start_s, 0.0)
    if offer.one_at_a_time:
        return float(round_up(service + started, offer.granularity_s).sum())
    return float(round_up(_busy_stretches(pool.instance, pool.begin_s - started, pool.finish_s, len(pool.start_s)),
                          offer.granularity_s).sum())


def round_up(seconds: np.ndarray | float, granularity_s: float) -> np.ndarray:
    """To whole steps; a billionth of a step too much is rounding error, not use."""
    return np.ceil(np.asarray(seconds) / granularity_s - 1e-9) * granularity_s


@numba.njit(cache=True)
def _take_down(alive, running, free_at, stop, keep_warm_s, now):
    """End what has been idle for too long: (how many stay, when to look again)."""
    staying, next_look = 0, np.inf
    for row in range(alive):
        end = free_at[row].max() + keep_warm_s
        if end <= now:
            stop[running[row]] = end
            continue
        next_look = min(next_look, end)
        running[staying] = running[row]
        free_at[staying] = free_at[row]
        staying += 1
    return staying, next_look


@numba.njit(cache=True)
def _assign(arrivals, service, cold_start_s, keep_warm_s, concurrency, most, provisioned):
    n = len(arrivals)
    begin, instance, cold = np.empty(n), np.empty(n, np.int64), np.zeros(n, np.bool_)
    start, ready, stop = np.zeros(n + provisioned), np.zeros(n + provisioned), np.full(n + provisioned, np.inf)
    provisioned_until = np.zeros((provisioned, concurrency))  # when the places of provisioned instances are free
    free_at = np.empty((16, concurrency))  # by row of a running instance
    running = np.empty(16, np.int64)  # its number; kept in the order of last use
    alive, started, next_look = 0, provisioned, np.inf  # nobody can be taken down before next_look
    for i in range(n):
        now = arrivals[i]
        soonest = 0
        for row in range(1, provisioned):
            if provisioned_until[row].min() < provisioned_until[soonest].min():
                soonest = row
        if provisioned and provisioned_until[soonest].min() <= now:
            begin[i], instance[i] = now, soonest
            provisioned_until[soonest, provisioned_until[soonest].argmin()] = now + service[i]
            continue
        if now >= next_look:
            alive, next_look = _take_down(alive, running, free_at, stop, keep_warm_s, now)
        chosen, when = -1, np.inf
        for row in range(alive - 1, -1, -1):
            at = max(now, free_at[row].min())
            starting = ready[running[row]] > now and free_at[row].min() <= ready[running[row]]
            if at <= now or (starting and at < when):
                chosen, when = row, at
                if at <= now:
                    break
        if chosen < 0 and alive + provisioned < most:
            if alive == len(running):
                running = np.append(running, np.empty_like(running))
                free_at = np.concatenate((free_at, np.empty_like(free_at)))
            running[alive] = started
            start[started], ready[started] = now, now + cold_start_s
            stop[started] = np.inf
            free_at[alive] = now + cold_start_s
            chosen, when = alive, now + cold_start_s
            started += 1
            alive += 1
            cold[i] = True
        elif chosen < 0:
            for row in range(alive):
                if free_at[row].min() < when:
                    chosen, when = row, free_at[row].min()
            if provisioned and provisioned_until[soonest].min() < when:
                begin[i], instance[i] = provisioned_until[soonest].min(), soonest
                provisioned_until[soonest, provisioned_until[soonest].argmin()] += service[i]
                continue
        place = free_at[chosen].argmin()
        begin[i], instance[i] = when, running[chosen]
        number, places = running[chosen], free_at[chosen].copy()
        places[place] = when + service[i]
        next_look = min(next_look, places.max() + keep_warm_s)
        for row in range(chosen, alive - 1):  # the last used comes last
            running[row] = running[row + 1]
            free_at[row] = free_at[row + 1]
        running[alive - 1] = number
        free_at[alive - 1] = places
    for row in range(alive):
        stop[running[row]] = free_at[row].max() + keep_warm_s
    return begin, instance, cold, start[:started].copy(), stop[:started].copy()


@numba.njit(cache=True)
def _busy_stretches(instance, begin, finish, instances):
    """Lengths of the stretches in which an instance works on at least one request: (at most n,) seconds."""
    since, until = np.zeros(instances), np.full(instances, -1.0)
    lengths = np.zeros(len(instance) + instances)
    count = 0
    for i in range(len(instance)):
        k = instance[i]
        if begin[i] > until[k]:
            if until[k] >= 0:
                lengths[count] = until[k] - since[k]
                count += 1
            since[k] = begin[i]
        until[k] = max(until[k], finish[i])
    for k in range(instances):
        lengths[count] = until[k] - since[k]
        count += 1
    return lengths[:count]


def _item(rate: Rate, quantity: float) -> Item:
    return Item(rate, quantity, max(0.0, quantity - rate.free_per_month) * rate.usd)


def require_trace(arrivals: np.ndarray, service: np.ndarray, span_s: float | None) -> None:
    """Refuse what is no trace, or one that goes on beyond its span."""
    if arrivals.ndim != 1 or arrivals.shape != service.shape or not len(arrivals):
        raise InputError("A trace needs one arrival and one service time for each request, and one request at least; "
                         f"got {arrivals.shape} arrivals and {service.shape} service times.")
    if not (np.isfinite(arrivals).all() and np.isfinite(service).all() and (service >= 0).all() and arrivals[0] >= 0):
        raise InputError("Arrivals and service times must be finite seconds, and not negative.")
    if (np.diff(arrivals) < 0).any():
        raise InputError("The arrivals are out of order: sort the requests by time.")
    if not (arrivals[-1] if span_s is None else span_s) > 0 or (span_s is not None and span_s < arrivals[-1]):
        raise InputError("The trace's length span_s must be above 0 and reach to the last arrival.")
