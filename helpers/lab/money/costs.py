"""Money, energy and carbon from measured throughput and dated, sourced prices."""

import dataclasses
import functools
from typing import TYPE_CHECKING

from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts
from helpers.lab.money.power import machine_power

if TYPE_CHECKING:
    from helpers.lab.measuring.measurement import Measurement

DEFAULT_OFFER = "AWS m6i.large"  # 2 vCPUs, and one of the few with both a price and power figures
# Anthropic's (platform.claude.com/docs/build-with-claude/batch-processing); for other sellers an assumption.
BATCH_DISCOUNT = 0.5
HOURS_PER_MONTH = 730.0  # 365 days in 12 months; the facts derive their monthly prices with it
DEFAULT_GRID = {"AWS": "AWS us-east-1 / Azure eastus (Virginia, PJM grid)",
                "Azure": "AWS us-east-1 / Azure eastus (Virginia, PJM grid)",
                "GCP": "GCP us-central1 (Iowa)"}


@dataclasses.dataclass(frozen=True)
class Offer:
    """A machine for rent, with so many `accelerators` of one kind. None where no source was found.

    `watts_full` is its power at full use, and `power_source` says what that figure is.
    """

    name: str
    region: str
    vcpus: int | None
    accelerator: str | None
    on_demand_usd_hour: float
    spot_usd_hour: float | None
    watts_full: float | None
    as_of: str
    source_url: str
    note: str
    accelerators: int = 0
    power_source: str = ""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Per million predictions; `wh` and `gco2e` are None where no power figure is sourced."""

    usd: float
    wh: float | None
    gco2e: float | None
    offer: Offer
    share: float
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ApiPrice:
    """A hosted language model that is sold by the token.

    `cached_usd_per_million_tokens` is for tokens that the provider has in its cache: a beginning that requests share,
    from `cache_min_tokens` on, as `cache_source` says. None where no source was found.
    """

    vendor: str
    model: str
    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    as_of: str
    source_url: str
    cached_usd_per_million_tokens: float | None = None
    cache_min_tokens: int | None = None
    cache_source: str = ""

    def caches(self, shared_tokens: float) -> bool:
        """Whether a beginning of so many tokens is known to be cached, at a known price."""
        return None not in (self.cached_usd_per_million_tokens, self.cache_min_tokens) and (
            shared_tokens >= self.cache_min_tokens)

    @property
    def name(self) -> str:
        """'VENDOR MODEL', as it stands in lists."""
        return f"{self.vendor} {self.model}"

    def usd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0, *,
            batched: float = 0.0) -> float:
        """Dollars for so many tokens read and written, `cached_tokens` of those read from the provider's cache.

        Args:
            batched: share of the requests that can wait for a batch, at the price less BATCH_DISCOUNT.

        Raises:
            InputError: no price of cached tokens is known, more are cached than read, or no share.
        """
        if not (0 <= cached_tokens <= input_tokens and 0 <= batched <= 1):
            raise InputError(f"Cached tokens are part of those read, and batched is a share; got {cached_tokens} of "
                             f"{input_tokens}, and {batched}.")
        cached_usd = self.cached_usd_per_million_tokens if cached_tokens else 0.0
        if cached_usd is None:
            raise InputError(f"{self.vendor} {self.model} has no sourced price of cached tokens: count none as cached, "
                             "or choose another model.")
        full = ((input_tokens - cached_tokens) * self.input_usd_per_million_tokens + cached_tokens * cached_usd
                + output_tokens * self.output_usd_per_million_tokens)
        return full / 1e6 * (1 - batched * BATCH_DISCOUNT)


@functools.cache
def api_prices() -> dict[str, ApiPrice]:
    """The hosted models of helpers/facts/apis.csv that are sold by the token, by 'VENDOR MODEL'.

    >>> from helpers.lab.money.costs import api_prices
    >>> round(api_prices()["OpenAI gpt-4o-mini"].usd(input_tokens=1e6, output_tokens=1e6), 2)
    0.75
    """
    terms = {row["vendor"]: row for row in read_facts("api_terms")}
    return {f"{row['vendor']} {row['model']}": ApiPrice(
        row["vendor"], row["model"], float(row["input_usd_per_million_tokens"]),
        float(row["output_usd_per_million_tokens"]), row["as_of"], row["source_url"],
        _number(row["cached_input_usd_per_million_tokens"]), *_cache_of(terms.get(row["vendor"])))
        for row in read_facts("apis") if row["input_usd_per_million_tokens"]}


def _cache_of(terms: dict[str, str] | None) -> tuple[int, str] | tuple[None, str]:
    """From how many tokens on a vendor caches a beginning, and who says so."""
    if terms is None or not terms["cache_min_tokens"]:
        return None, ""
    return int(terms["cache_min_tokens"]), f"{terms['source_url']} ({terms['as_of']})"


@functools.cache
def offers() -> dict[str, Offer]:
    """Every rentable machine of helpers/facts by 'PROVIDER INSTANCE'."""
    by_name = {}
    for row in read_facts("instances"):
        if not row["on_demand_usd_hour"]:
            continue
        name, vcpus = f"{row['provider']} {row['instance']}", int(row["vcpus"]) if row["vcpus"] else None
        accelerator, count = row["accelerator"] or None, int(row["accelerator_count"] or 0)
        power = machine_power(row["instance"], vcpus, accelerator, count)
        by_name[name] = Offer(name, row["region"], vcpus, accelerator, float(row["on_demand_usd_hour"]),
                              _number(row["spot_usd_hour_typical"]), power.watts if power else None, row["as_of"],
                              row["source_url"], row["note"], count, power.source if power else "")
    return by_name


def offer(name: str) -> Offer:
    """One offer by name.

    Raises:
        InputError: no such offer; the message lists those there are.

    >>> from helpers.lab import offer
    >>> offer("AWS m6i.large").vcpus
    2
    """
    try:
        return offers()[name]
    except KeyError:
        raise InputError(f"Unknown offer '{name}'. Choose one of: {', '.join(offers())}.") from None


def api_price(name: str) -> ApiPrice:
    """The hosted model of this name, 'VENDOR MODEL'.

    Raises:
        InputError: an unknown name.
    """
    if name not in api_prices():
        raise InputError(f"Unknown hosted model '{name}'. Choose one of: {', '.join(api_prices())}.")
    return api_prices()[name]


def cost(measurement: "Measurement", offer: Offer) -> Cost:
    """Cost of a million of these predictions on a rented machine.

    The measured throughput used `measurement.threads` cores; the same share of the offer's vCPUs
    is billed, at the same speed per core. The error of that assumption is the difference between
    the two CPUs, which no price list tells.
    """
    share = measurement.threads / offer.vcpus if offer.vcpus and not offer.accelerator else 1.0
    hours = 1e6 / measurement.throughput_per_s / 3600
    wh, gco2e = energy_of(offer, hours * share)
    sources = [f"{offer.source_url} ({offer.as_of})"]
    if wh is not None:
        grid = grid_of(offer)
        sources += filter(None, (f"{grid['carbon_source_url']} ({grid['year']})", offer.power_source))
    return Cost(hours * share * offer.on_demand_usd_hour, wh, gco2e, offer, share, tuple(sources))


def compute_usd(cpu_seconds: float) -> float:
    """Dollars of so many seconds of one processor of the default offer's machine.

    >>> from helpers.lab.money.costs import compute_usd
    >>> round(compute_usd(3600), 3)
    0.048
    """
    rented = offer(DEFAULT_OFFER)
    return cpu_seconds / 3600 * rented.on_demand_usd_hour / (rented.vcpus or 1)


def energy_of(offer: Offer, hours: float) -> tuple[float, float] | tuple[None, None]:
    """Watt-hours of so many hours at full power, with the building's overhead, and their grams of CO2e.

    (None, None) where no power is sourced.

    >>> from helpers.lab.money.costs import energy_of, offer
    >>> round(energy_of(offer("AWS m6i.large"), hours=10.0)[0], 1)
    186.3
    """
    if offer.watts_full is None:
        return None, None
    grid = grid_of(offer)
    wh = hours * offer.watts_full * float(grid["pue"])
    return wh, wh / 1000 * float(grid["gco2e_per_kwh"])


def break_even(reference: "Measurement", candidate: "Measurement", offer: Offer,
               hours_of_work: float = 0.0, usd_per_hour_of_work: float = 0.0) -> float | None:
    """After how many predictions the candidate has repaid the compute and the hours that made it.

    None where it never does: it costs as much as the reference, or more, for each prediction.
    """
    saved = (cost(reference, offer).usd - cost(candidate, offer).usd) / 1e6
    if saved <= 0:
        return None
    share = cost(candidate, offer).share
    extra_s = max(0.0, candidate.made_in_s - reference.made_in_s)  # the reference was made in any case
    spent = extra_s / 3600 * offer.on_demand_usd_hour * share + hours_of_work * usd_per_hour_of_work
    return spent / saved


def grid_of(offer: Offer) -> dict[str, str]:
    """The row of helpers/facts/grid.csv for the region of the offer's provider."""
    region = DEFAULT_GRID[offer.name.split()[0]]
    return next(row for row in read_facts("grid") if row["region"] == region)


def _number(text: str) -> float | None:
    return float(text) if text else None
