"""Instances that a serverless platform keeps ready: who still starts cold, and what that costs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.cloud_distributed.costs.limits import platform_limits, require_within
from helpers.cloud_distributed.costs.serverless import (
    MONTH_S,
    Item,
    Pool,
    ServerlessBill,
    require_trace,
    round_up,
    run_pool,
    second_time,
    serve,
)
from helpers.cloud_distributed.costs.serverless_prices import Rate, ServerlessOffer
from helpers.lab.errors import InputError


def pays_from(offer: ServerlessOffer) -> float:
    """The share of its time that a provisioned instance must work, so that it costs less than on demand.

    What keeping it ready costs, over what each second of work costs less then. Free tiers are left out.

    Raises:
        InputError: no price of provisioned instances is sourced.

    >>> from helpers.cloud_distributed import pays_from, serverless_offer
    >>> round(pays_from(serverless_offer("AWS Lambda x86_64")), 2)
    0.6
    """
    ready, working = _rates(offer)
    return ready.usd / (offer.time[0].usd - working.usd)


def provision(arrivals: np.ndarray, service: np.ndarray, offer: ServerlessOffer,
              slots: Sequence[int] = (0, 1, 2, 4), **settings: Any) -> pd.DataFrame:
    """Compute what keeping instances ready all month costs, and how many requests it spares a cold start.

    Columns slots, usd_month, cold_share, p50_s, p99_s, working (share of their time that they work; NaN without one).
    `settings` are memory_gib, vcpus, cold_start_s, keep_warm_s and span_s of `serve`.

    Raises:
        InputError: as `serve`, or no price of provisioned instances is sourced.
    """
    rows = []
    for count in slots:
        bill = serve_provisioned(arrivals, service, offer, count, **settings) if count else serve(
            arrivals, service, offer, **settings)
        p50, p99 = np.quantile(bill.pool.latency_s, [0.5, 0.99])
        busy = float(np.asarray(service, float)[bill.pool.instance < count].sum())
        rows.append((count, bill.usd_month, bill.pool.cold.mean(), p50, p99,
                     busy / count / bill.span_s if count else np.nan))
    return pd.DataFrame(rows, columns=["slots", "usd_month", "cold_share", "p50_s", "p99_s", "working"])


def serve_provisioned(arrivals: np.ndarray, service: np.ndarray, offer: ServerlessOffer, slots: int, *,
                      memory_gib: float = 2.0, vcpus: float = 1.0, cold_start_s: float | None = None,
                      keep_warm_s: float | None = None, span_s: float | None = None) -> ServerlessBill:
    """As `serve`, with so many instances kept ready all month; what they cannot take is served on demand.

    No tier is free then. Instances take one request at a time, as at Lambda.

    Raises:
        InputError: as `serve`, less than one instance, or no price of provisioned instances is sourced.
    """
    ready, working = _rates(offer)
    if slots < 1:
        raise InputError(f"Keep at least one instance ready, not {slots}.")
    cold_start_s, keep_warm_s = offer.cold_start(cold_start_s), offer.keep_warm(keep_warm_s)
    arrivals, service = np.asarray(arrivals, float), np.asarray(service, float)
    require_trace(arrivals, service, span_s)
    span_s = float(arrivals[-1]) if span_s is None else span_s
    require_within(offer.name, {"memory": memory_gib, "vCPUs": vcpus, "time": float(service.max()), "instances": slots})
    limit = platform_limits().get(offer.name, {}).get("instances")
    twice = run_pool(np.append(arrivals, arrivals + span_s), np.append(service, service), cold_start_s, keep_warm_s, 1,
                     int(limit) if limit else None, 2 * span_s, slots)
    count = len(arrivals)
    again = second_time(twice, count, span_s)

    def items(pool: Pool, until: int) -> list[Item]:
        billed = round_up(service + np.where(pool.cold[:until] & offer.start_is_billed, cold_start_s, 0.0),
                          offer.granularity_s) * MONTH_S / span_s
        on_provisioned, units = pool.instance[:until] < slots, offer.units_per_second(ready, memory_gib, vcpus)
        return [_paid(rate, quantity) for rate, quantity in (
            (ready, slots * MONTH_S * units), (working, billed[on_provisioned].sum() * units),
            (offer.time[0], billed[~on_provisioned].sum() * units), (offer.request, count * MONTH_S / span_s))]

    first, later = (sum(item.usd for item in items(pool, count)) for pool in (twice, again))
    return ServerlessBill(offer, tuple(items(again, count)), again, span_s, (first - later) * span_s / MONTH_S)


def _rates(offer: ServerlessOffer) -> tuple[Rate, Rate]:
    if offer.provisioned is None:
        raise InputError(f"{offer.name} has no sourced price of instances that are kept ready: choose another offer.")
    return offer.provisioned


def _paid(rate: Rate, quantity: float) -> Item:
    return Item(dataclasses.replace(rate, free_per_month=0.0), float(quantity), float(quantity) * rate.usd)
