"""Which machine to rent: a model's measured time here and the data sheets of the others give latency and money."""

import dataclasses
import math

import numpy as np
import pandas as pd

from helpers.hardware_codesign.roofline.data_sheets import device_ceilings, device_of
from helpers.hardware_codesign.roofline.time_model import TimeModel
from helpers.lab.errors import InputError
from helpers.lab.money.costs import DEFAULT_GRID, Offer, offers, read_facts

COLUMNS = ["offer", "device", "batch", "p95_ms", "rows_per_s", "usd", "usd_low", "usd_high", "wh", "gco2e", "limit",
           "as_of", "provenance"]
_LARGEST = 4096
_LAUNCHES_S = 0.001  # of a small encoder's some hundred kernels on a GPU, without CUDA graphs: an assumption
# A request that finds the server busy waits for the rest of a batch, then its own: uniformly 1 to 2 batch times.
_P95_BATCHES = 1.95


@dataclasses.dataclass(frozen=True)
class Here:
    """What was measured on this machine, and is carried over to others.

    Args:
        times: seconds of a call with all of `cores`.
        tokenize_s: seconds of one core to tokenize one text; a GPU's host has to do that as well.
        reached: share of the arithmetic ceiling that long runs reached here; a GPU is taken to reach as much.
        error: relative error of the time model, its 90th percentile: the band of every prediction.
    """

    times: TimeModel
    cores: int
    tokenize_s: float
    reached: float
    error: float


def place_on_offers(here: Here, length: int, target_ms: float, *, precision: str = "bf16") -> pd.DataFrame:
    """Every offer of helpers/facts at its best batch size under a p95 target: COLUMNS, cheapest first.

    CPUs are taken to be as fast per core as this one, a batch on as many cores as were used here. Accelerators
    follow the roofline of their data sheet, in `precision` (fp32 where the sheet has no such figure), at the
    share of the roof reached here. Dollars, Wh and grams are per million texts on a machine that is always
    busy; usd_low and usd_high carry the error seen here. An offer that cannot hold the target is left out.

    Raises:
        InputError: a target or length that is not positive.
    """
    if target_ms <= 0 or length < 1:
        raise InputError("A placement needs a positive target in milliseconds and a length of at least one token.")
    rows = []
    for one in offers().values():
        device = device_of(one.accelerator) if one.accelerator else None
        if device is None and (one.accelerator or not one.vcpus):
            continue
        found = _on_device(here, one, device, length, target_ms / 1000, precision) if device else _on_cpu(
            here, one, length, target_ms / 1000)
        if found:
            rows.append(_priced(one, device, here, *found))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("usd", ignore_index=True)


def busy_to_pay(frame: pd.DataFrame) -> pd.DataFrame:
    """How busy each accelerator must be to cost less than the cheapest CPU, which is rented by the whole as well.

    Returns:
        Columns: offer, rows_per_s (above which it pays), busy (share of its own throughput; above 1: never).
    """
    cpus = frame[frame["device"] == ""]
    if cpus.empty:
        raise InputError("No CPU offer holds this target, so there is nothing to compare the accelerators with.")
    cheapest = cpus.loc[cpus["usd"].idxmin()]
    hourly = {name: offers()[name].on_demand_usd_hour for name in frame["offer"]}
    rows = []
    for gpu in frame[frame["device"] != ""].itertuples():
        # CPU machines are rented one by one: so many cost as much as this one accelerator.
        machines = hourly[gpu.offer] / hourly[cheapest["offer"]]
        pays_at = math.floor(machines) * cheapest["rows_per_s"]
        rows.append({"offer": gpu.offer, "rows_per_s": pays_at, "busy": pays_at / gpu.rows_per_s})
    return pd.DataFrame(rows, columns=["offer", "rows_per_s", "busy"]).sort_values("busy", ignore_index=True)


def _on_cpu(here: Here, one: Offer, length: int, target_s: float) -> tuple[int, float, float, str] | None:
    """(batch, seconds of a batch, texts a second, what limits) with a replica for each `here.cores` cores."""
    replicas = max(1.0, one.vcpus / here.cores)

    def seconds(batch: int) -> float:
        return here.times.seconds(batch, length) + batch * here.tokenize_s / here.cores
    batch = _largest_batch(seconds, target_s)
    return (batch, seconds(batch), replicas * batch / seconds(batch), "its cores") if batch else None


def _on_device(here: Here, one: Offer, device: str, length: int, target_s: float,
               precision: str) -> tuple[int, float, float, str] | None:
    ceilings = device_ceilings(device)
    kind = precision if precision in ceilings.flops else next(iter(ceilings.flops))
    work = here.times.work.iloc[-1]
    scale = length / work["length"]
    flops = work["linear"] * scale + work["attention"] * scale**2
    shrink = {"fp32": 1.0, "bf16": 0.5, "int8": 0.25}[kind]
    moved, weights = work["activation_bytes"] * scale * shrink, work["weight_bytes"] * shrink

    def seconds(batch: int) -> float:
        return _LAUNCHES_S + max(batch * flops / ceilings.rate(kind),
                                 (batch * moved + weights) / ceilings.bandwidth) / here.reached
    batch = _largest_batch(seconds, target_s)
    if not batch:
        return None
    count = int(next(row["accelerator_count"] for row in read_facts("instances")
                     if f"{row['provider']} {row['instance']}" == one.name) or 1)
    fastest = count * batch / seconds(batch)
    host = one.vcpus / here.tokenize_s if one.vcpus else math.inf
    memory = (batch * moved + weights) / ceilings.bandwidth > batch * flops / ceilings.rate(kind)
    limit = "the host's tokenizing" if host < fastest else "memory" if memory else "arithmetic"
    return batch, seconds(batch), min(fastest, host), limit


def _largest_batch(seconds, target_s: float) -> int:
    """The largest power of two whose batches hold the target; 0 where not even single texts do."""
    sizes = [2**power for power in range(int(math.log2(_LARGEST)) + 1)]
    return max((size for size in sizes if _P95_BATCHES * seconds(size) <= target_s), default=0)


def _priced(one: Offer, device: str | None, here: Here, batch: int, seconds: float, rate: float, limit: str) -> dict:
    hours = 1e6 / rate / 3600
    usd = hours * one.on_demand_usd_hour
    watts = one.watts_full
    grid = next(row for row in read_facts("grid") if row["region"] == DEFAULT_GRID[one.name.split()[0]])
    wh = hours * watts * float(grid["pue"]) if watts is not None else np.nan
    return {"offer": one.name, "device": device or "", "batch": batch, "p95_ms": 1000 * _P95_BATCHES * seconds,
            "rows_per_s": rate, "usd": usd, "usd_low": usd * (1 - here.error), "usd_high": usd * (1 + here.error),
            "wh": wh, "gco2e": wh / 1000 * float(grid["gco2e_per_kwh"]), "limit": limit, "as_of": one.as_of,
            "provenance": "simulated"}
