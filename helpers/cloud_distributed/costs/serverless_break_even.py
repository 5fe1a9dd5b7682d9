"""Serverless or dedicated: the duty cycle at which both cost the same, in closed form and on a trace."""

import dataclasses
import math

import numpy as np
from scipy.optimize import brentq

from helpers.cloud_distributed.costs.limits import require_within
from helpers.cloud_distributed.costs.serverless import MONTH_S, require_trace, round_up, serve
from helpers.cloud_distributed.costs.serverless_prices import ServerlessOffer
from helpers.lab.errors import InputError
from helpers.lab.money.costs import HOURS_PER_MONTH, Offer

_MIN_DUTY, _MAX_DUTY = 1e-9, 1.0  # of the search


@dataclasses.dataclass(frozen=True)
class BreakEven:
    """Below `duty`, the share of its time that the dedicated machine works, serverless is the cheaper one.

    `duty` and `requests_per_s` are math.inf where serverless is cheaper at any load that the machine can carry, and 0
    where it is cheaper at none: an instance that is never taken down is paid all month, however rarely it works.
    """

    offer: ServerlessOffer
    machine: Offer
    duty: float
    requests_per_s: float
    method: str


def break_even(offer: ServerlessOffer, machine: Offer, service: np.ndarray, *, memory_gib: float = 2.0,
               vcpus: float = 1.0, cold_start_s: float | None = None, keep_warm_s: float | None = None,
               places: int = 1) -> BreakEven:
    """The duty cycle at which a month costs the same on both, in closed form.

    Args:
        machine: an offer of helpers/facts, rented all month.
        service: (n,) seconds of work a request, the same on both.
        cold_start_s, keep_warm_s: of what is billed by instance; the offer's by default, where they are sourced.
        places: requests that the machine works on at a time.

    What is billed by request: dollars grow in straight pieces with the requests, bent where a free tier ends; the
    piece that reaches the machine's price is solved for. Cold starts are left out (they depend on the traffic's
    pattern), so that where they are billed the duty cycle is an upper bound.
    What is billed by instance: `billed_share` for Poisson arrivals on one instance, which takes a root to solve.

    Raises:
        InputError: a number that makes no sense, or a default that has no source.

    >>> from helpers.cloud_distributed import break_even, serverless_offer
    >>> from helpers.lab import offer
    >>> round(break_even(serverless_offer("AWS Lambda x86_64"), offer("AWS m6i.large"), [0.1]).duty, 2)
    0.83
    """
    service = _require_service(service)
    if places < 1 or min(memory_gib, vcpus) <= 0:
        raise InputError("A machine works on one request at a time at least, and memory and vCPUs are above 0.")
    require_within(offer.name, {"time": float(service.max())})
    target = machine.on_demand_usd_hour * HOURS_PER_MONTH
    if offer.billed == "requests":
        each = float(round_up(service, offer.granularity_s).mean())
        used = [(rate.usd, each * offer.units_per_second(rate, memory_gib, vcpus), rate.free_per_month)
                for rate in offer.time] + [(offer.request.usd, 1.0, offer.request.free_per_month)]
        rate = _requests_for(target, used) / MONTH_S
    else:
        rate = _rate_of_instance(offer, target, float(service.mean()),
                                 offer.cold_start(cold_start_s), offer.keep_warm(keep_warm_s))
    duty = rate * float(service.mean()) / places
    if duty > 1:
        duty = rate = math.inf
    return BreakEven(offer, machine, duty, rate, "closed form")


def break_even_on_trace(arrivals: np.ndarray, service: np.ndarray, offer: ServerlessOffer, machine: Offer, *,
                        places: int = 1, **settings: float) -> BreakEven:
    """The duty cycle at which the simulated bill of a trace, stretched in time, reaches the machine's price.

    `settings` are those of `serve`. Stretching keeps the pattern of the traffic and its service times,
    and changes only how often requests come.

    Raises:
        InputError: as `serve`, or less than one place.
    """
    arrivals, service = np.asarray(arrivals, float), _require_service(service)
    span_s = settings.pop("span_s", None)
    require_trace(arrivals, service, span_s)
    if places < 1:
        raise InputError(f"A machine works on one request at a time at least, not {places}.")
    target = machine.on_demand_usd_hour * HOURS_PER_MONTH
    span_s = float(arrivals[-1]) if span_s is None else span_s
    base = float(service.sum()) / span_s / places

    def dearer_by(log_duty: float) -> float:
        stretch = base / math.exp(log_duty)
        bill = serve(arrivals * stretch, service, offer, span_s=span_s * stretch, **settings)
        return bill.usd_month - target

    low, high = math.log(_MIN_DUTY), math.log(_MAX_DUTY)
    if dearer_by(high) < 0:
        return BreakEven(offer, machine, math.inf, math.inf, "simulated on the trace")
    if dearer_by(low) >= 0:
        return BreakEven(offer, machine, 0.0, 0.0, "simulated on the trace")
    duty = math.exp(brentq(dearer_by, low, high, xtol=1e-4))
    return BreakEven(offer, machine, duty, duty * places / float(service.mean()), "simulated on the trace")


def billed_share(requests_per_s: float, service_s: float, cold_start_s: float, keep_warm_s: float,
                 granularity_s: float = 0.0) -> float:
    """Share of all time for which an instance that scales to zero is billed, for Poisson arrivals.

    One instance, one request at a time, general service times of mean `service_s`: an M/G/1 queue with a set-up
    time and a delayed switching-off. A cycle is off for 1/rate; on: the first busy stretch, which also works off
    what came during the start, (cold + service) / (1 - load); then idle stretches, each ended by the
    keep-warm time with chance q = exp(-rate * keep_warm), else by a request and its busy stretch. The mean
    idle stretch is (1 - q) / rate and 1/q of them are needed. Rounding up adds half a step a cycle on average.
    All is taken q times, which stays finite where an instance is hardly ever, or never, taken down.

    Raises:
        InputError: the instance cannot carry the load.
    """
    load = requests_per_s * service_s
    if not 0 < load < 1:
        raise InputError(f"One instance cannot carry {requests_per_s:g} requests a second of {service_s:g} s each.")
    busy = service_s / (1 - load)
    taken_down = math.exp(-requests_per_s * keep_warm_s)  # q
    on = (taken_down * ((cold_start_s + service_s) / (1 - load) + granularity_s / 2)
          + (1 - taken_down) * (1 / requests_per_s + busy))
    return on / (on + taken_down / requests_per_s)


def _requests_for(target: float, used: list[tuple[float, float, float]]) -> float:
    """Requests n with sum of usd * max(0, n * units - free) = target: the first piece that reaches it."""
    bends = sorted({free / units for _, units, free in used if units > 0})
    for bend, following in zip([0.0, *bends], [*bends, math.inf], strict=True):
        paying = [(usd, units, free) for usd, units, free in used if units > 0 and free / units <= bend]
        slope = sum(usd * units for usd, units, _ in paying)
        if slope > 0:
            requests = (target + sum(usd * free for usd, _, free in paying)) / slope
            if requests <= following:
                return requests
    return math.inf


def _rate_of_instance(offer: ServerlessOffer, target: float, service_s: float, cold_start_s: float,
                      keep_warm_s: float) -> float:
    always = offer.usd_per_second(1.0, 1.0) * MONTH_S
    if always <= target:
        return math.inf

    def dearer_by(log_duty: float) -> float:
        share = billed_share(math.exp(log_duty) / service_s, service_s, cold_start_s, keep_warm_s, offer.granularity_s)
        return share * always - target

    low, high = math.log(_MIN_DUTY), math.log(_MAX_DUTY - 1e-9)
    return math.exp(brentq(dearer_by, low, high, xtol=1e-10)) / service_s if dearer_by(low) < 0 else 0.0


def _require_service(service: np.ndarray) -> np.ndarray:
    service = np.asarray(service, float)
    if service.ndim != 1 or not len(service) or not np.isfinite(service).all() or not service.mean() > 0:
        raise InputError("Service times are needed: (n,) finite seconds, with a mean above 0.")
    return service
