"""Serverless prices of helpers/facts, with how they are counted: what a second and a request cost, and from when on."""

import dataclasses
import functools
import re
from typing import Literal

from helpers.cloud_distributed.costs.limits import require_within
from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts

# Time rows and request row (service, item) of what is billed by request. All else is billed by running instance.
_BY_REQUEST = {
    "AWS Lambda x86_64": ([("Lambda x86_64", "duration")], ("Lambda", "request")),
    "AWS Lambda arm64": ([("Lambda arm64", "duration")], ("Lambda", "request")),
    "GCP Cloud Run": ([("Cloud Run (request-based)", "vCPU"), ("Cloud Run (request-based)", "memory")],
                      ("Cloud Run", "request")),
    "Azure Functions Consumption": ([("Functions Consumption", "duration")], ("Functions Consumption", "execution")),
    "Azure Functions Flex Consumption": ([("Functions Flex Consumption", "duration")],
                                         ("Functions Flex Consumption", "execution")),
}
_BY_INSTANCE = ("Cloud Run GPU", "Inference Endpoints (aws)", "Inference Endpoints (gcp)", "GPU functions",
                "GPU models")
_PROVISIONED = ("provisioned concurrency", "duration while provisioned")  # items
_GRANULARITY_S = {"1 ms": 0.001, "ms": 0.001, "100 ms": 0.1, "per second": 1.0, "per minute": 60.0}
# Who bills the start of an environment too (AWS since 2025-08-01), and where it says so.
_START_IS_BILLED = {"AWS": "https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/",
                    "GCP": "https://cloud.google.com/run/docs/configuring/billing-settings"}


@dataclasses.dataclass(frozen=True)
class Rate:
    """One line of a price list."""

    item: str
    unit: str
    usd: float
    free_per_month: float
    as_of: str
    source_url: str
    note: str


@dataclasses.dataclass(frozen=True)
class ServerlessOffer:
    """How one provider counts.

    `billed` says whether time is counted while requests are worked on, or while instances run.
    `one_at_a_time`: each request pays for its own time (Lambda, Functions), else the instance does, once for all that
    it works on. `provisioned`: what an instance costs that is kept ready, and its time while it works. None where
    nothing is sourced.
    """

    name: str
    billed: Literal["requests", "instances"]
    one_at_a_time: bool
    time: tuple[Rate, ...]
    request: Rate | None
    granularity_s: float
    start_is_billed: bool
    cold_start_s: float | None
    keep_warm_s: float | None
    memory_step_gib: float | None
    provisioned: tuple[Rate, Rate] | None = None

    def units_per_second(self, rate: Rate, memory_gib: float, vcpus: float) -> float:
        """How many units of a time rate one billed second uses up.

        Raises:
            InputError: the platform has no such memory, or not so many vCPUs.
        """
        require_within(self.name, {"memory": memory_gib, "vCPUs": vcpus})
        if self.memory_step_gib:
            memory_gib = -(-memory_gib // self.memory_step_gib) * self.memory_step_gib
        kind, period = rate.unit.rsplit("-", 1)
        amount = {"GB": memory_gib, "GiB": memory_gib, "vCPU": vcpus}.get(kind, 1.0)
        return amount / (3600 if period == "hour" else 1)

    def cold_start(self, given_s: float | None) -> float:
        """Return the user's value, else the sourced one; InputError where there is neither."""
        return self._sourced(given_s, self.cold_start_s, "cold_start_s=, the seconds until a started instance with "
                                                         "your model answers")

    def keep_warm(self, given_s: float | None) -> float:
        """Likewise."""
        return self._sourced(given_s, self.keep_warm_s, "keep_warm_s=, the idle seconds after which an instance is "
                                                        "taken down (math.inf: never)")

    def _sourced(self, given: float | None, sourced: float | None, what: str) -> float:
        if given is None and sourced is None:
            raise InputError(f"{self.name} has no sourced figure here: give {what}.")
        return sourced if given is None else given

    def usd_per_second(self, memory_gib: float, vcpus: float) -> float:
        """Dollars for one billed second beyond the free tier."""
        return sum(rate.usd * self.units_per_second(rate, memory_gib, vcpus) for rate in self.time)


@functools.cache
def serverless_offers() -> dict[str, ServerlessOffer]:
    """Every offer of helpers/facts/serverless.csv whose price is fully sourced, by name."""
    complete = {}
    for name in (*_BY_REQUEST, *_instance_rows()):
        try:
            complete[name] = serverless_offer(name)
        except InputError:  # serverless_offer says of each what is missing
            continue
    return complete


def serverless_offer(name: str) -> ServerlessOffer:
    """One offer by name.

    Raises:
        InputError: no such offer, or a price or the way of counting has no source.
    """
    if name in _BY_REQUEST:
        time, request = _BY_REQUEST[name]
        provider = name.split()[0]
        rows = [_row(name, provider, *key) for key in (*time, request)]
        return _offer(name, "requests", rows[:-1], rows[-1])
    if name in _instance_rows():
        return _offer(name, "instances", [_instance_rows()[name]], None)
    raise InputError(f"Unknown serverless offer '{name}'. Choose one of: {', '.join(serverless_offers())}.")


def _instance_rows() -> dict[str, dict[str, str]]:
    return {f"{row['provider']} {row['service']} {row['item']}": row for row in read_facts("serverless")
            if row["service"] in _BY_INSTANCE}


def _row(name: str, provider: str, service: str, item: str) -> dict[str, str]:
    for row in read_facts("serverless"):
        if (row["provider"], row["service"], row["item"]) == (provider, service, item) and row["price_usd"]:
            return row
    raise InputError(f"{name} has no sourced price per {item}: add one with its source to "
                     "helpers/facts/serverless.csv, or choose another offer.")


def _offer(name: str, billed: Literal["requests", "instances"], time: list[dict[str, str]],
           request: dict[str, str] | None) -> ServerlessOffer:
    first = time[0]
    counting, starting = first["billing_granularity"], first["cold_start_typical"]
    granularity_s = next((seconds for words, seconds in _GRANULARITY_S.items()
                          if re.match(rf"{words}\b", counting)), None)
    if granularity_s is None or not first["price_usd"]:
        raise InputError(f"{name} has no sourced {'billing granularity' if first['price_usd'] else 'price'}: add one "
                         "with its source to helpers/facts/serverless.csv, or choose another offer.")
    idle_h = _number(r"idle ([\d.]+) h\b", starting)
    step_mb = _number(r"memory rounded up to (\d+) MB", counting)
    return ServerlessOffer(
        name, billed, billed == "requests" and first["provider"] != "GCP", tuple(_rate(row) for row in time),
        _rate(request) if request else None, granularity_s,
        start_is_billed=billed == "instances" or first["provider"] in _START_IS_BILLED,
        cold_start_s=_number(r"([\d.]+) s\b", starting),
        keep_warm_s=idle_h * 3600 if idle_h else None, memory_step_gib=step_mb / 1024 if step_mb else None,
        provisioned=_provisioned(first["provider"], first["service"]))


def _provisioned(provider: str, service: str) -> tuple[Rate, Rate] | None:
    rates = {row["item"]: _rate(row) for row in read_facts("serverless")
             if (row["provider"], row["service"]) == (provider, service)}
    return tuple(rates[item] for item in _PROVISIONED) if set(_PROVISIONED) <= set(rates) else None


def _rate(row: dict[str, str]) -> Rate:
    free = _number(r"([\d.]+)", row["free_tier_monthly"]) or 0.0
    return Rate(row["item"], row["unit"], float(row["price_usd"]), free, row["as_of"], row["source_url"], row["note"])


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return float(match[1]) if match else None
