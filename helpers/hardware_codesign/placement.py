"""Which machine to rent: latency and money of an encoder or a language model on every offer.

An encoder's times were measured on a CPU and on a GPU and are carried over; a language model's come from data sheets.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from helpers.hardware_codesign.roofline.time_model import DeviceModel, TimeModel, least_s
from helpers.lab.errors import InputError
from helpers.lab.facts import device_of, device_peaks, devices
from helpers.lab.language.sheet import BITS, Decoder, DecoderSheet
from helpers.lab.money.costs import Offer, api_prices, energy_of, offers

COLUMNS = ["offer", "device", "batch", "p95_ms", "rows_per_s", "usd", "usd_low", "usd_high", "wh", "gco2e", "limit",
           "as_of", "provenance"]
TOKEN_COLUMNS = ["offer", "device", "bits", "batch", "first_token_s", "token_ms", "tokens_per_s", "usd_per_million",
                 "as_of"]
_MAX_BATCH, _MAX_SEQUENCES = 4096, 512  # texts of an encoder, and sequences of a language model, at a time
# A request that finds the server busy waits for the rest of a batch, then its own: uniformly 1 to 2 batch times.
_P95_BATCHES = 1.95


@dataclasses.dataclass(frozen=True)
class MeasuredMachine:
    """Measurements on one machine, to be extrapolated to others.

    Args:
        times: seconds of a call with all of `cores`.
        tokenize_s: seconds of one core to tokenize one text; a GPU's host has to do that as well.
        error: relative error of the time model, its 90th percentile: the band of every prediction for a CPU.
        accelerator: how much of its roofline an accelerator reached, and with which error.
    """

    times: TimeModel
    cores: int
    tokenize_s: float
    error: float
    accelerator: DeviceModel


def rank_offers(machine: MeasuredMachine, length: int, target_ms: float, *, precision: str = "bf16") -> pd.DataFrame:
    """Every offer of helpers/facts at its best batch size under a p95 target, cheapest first.

    CPUs are taken to be as fast per core as the measured one, a batch on as many cores as were used there.
    Accelerators follow the roofline of their data sheet, in `precision` (fp32 where the sheet has no such figure),
    at the share of it that `machine.accelerator` reached.

    Returns:
        COLUMNS. Dollars, Wh and grams are per million texts on a machine that is always busy; usd_low and usd_high
        carry the error of the CPU's or the accelerator's model. An offer that cannot meet the target is left out.

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
        speed = _on_device(machine, one, device, length, target_ms / 1000, precision) if device else _on_cpu(
            machine, one, length, target_ms / 1000)
        if speed:
            rows.append(_priced(one, device, machine, *speed))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("usd", ignore_index=True)


def break_even_utilization(frame: pd.DataFrame) -> pd.DataFrame:
    """How busy each accelerator must be to cost less than the cheapest CPU, which is rented by the whole as well.

    Args:
        frame: of `rank_offers`.

    Returns:
        Columns: offer, rows_per_s (above which it pays), utilization (share of its throughput; above 1: never).
    """
    cpus = frame[frame["device"] == ""]
    if cpus.empty:
        raise InputError("No CPU offer meets this target, so there is nothing to compare the accelerators with.")
    cheapest = cpus.loc[cpus["usd"].idxmin()]
    hourly = {name: offers()[name].on_demand_usd_hour for name in frame["offer"]}
    rows = []
    for gpu in frame[frame["device"] != ""].itertuples():
        # CPU machines are rented one by one: so many cost as much as this one accelerator.
        machines = hourly[gpu.offer] / hourly[cheapest["offer"]]
        pays_at = math.floor(machines) * cheapest["rows_per_s"]
        rows.append({"offer": gpu.offer, "rows_per_s": pays_at, "utilization": pays_at / gpu.rows_per_s})
    columns = ["offer", "rows_per_s", "utilization"]
    return pd.DataFrame(rows, columns=columns).sort_values("utilization", ignore_index=True)


def _on_cpu(machine: MeasuredMachine, one: Offer, length: int,
            target_s: float) -> tuple[int, float, float, str] | None:
    """(batch, seconds of a batch, texts a second, what limits) with a replica for each `machine.cores` cores."""
    replicas = max(1.0, one.vcpus / machine.cores)

    def seconds(batch: int) -> float:
        return machine.times.seconds(batch, length) + batch * machine.tokenize_s / machine.cores
    batch = _max_batch(seconds, target_s)
    return (batch, seconds(batch), replicas * batch / seconds(batch), "its cores") if batch else None


def _on_device(machine: MeasuredMachine, one: Offer, device: str, length: int, target_s: float,
               precision: str) -> tuple[int, float, float, str] | None:
    peaks = device_peaks(device)
    kind = precision if precision in peaks.flops else next(iter(peaks.flops))

    def least(batch: int) -> tuple[float, float]:
        return least_s(machine.times.work, peaks, kind, batch, length)

    def seconds(batch: int) -> float:
        return machine.accelerator.seconds(max(least(batch)))
    batch = _max_batch(seconds, target_s)
    if not batch:
        return None
    fastest = one.accelerators * batch / seconds(batch)
    host = one.vcpus / machine.tokenize_s if one.vcpus else math.inf
    arithmetic, memory = least(batch)
    limit = "the host's tokenizing" if host < fastest else "memory" if memory > arithmetic else "arithmetic"
    return batch, seconds(batch), min(fastest, host), limit


def _max_batch(seconds: Callable[[int], float], target_s: float) -> int:
    """The largest power of two whose batches meet the target; 0 where not even single texts do."""
    sizes = [2**power for power in range(int(math.log2(_MAX_BATCH)) + 1)]
    return max((size for size in sizes if _P95_BATCHES * seconds(size) <= target_s), default=0)


def _priced(one: Offer, device: str | None, machine: MeasuredMachine, batch: int, seconds: float, rate: float,
            limit: str) -> dict:
    hours = 1e6 / rate / 3600
    usd = hours * one.on_demand_usd_hour
    wh, grams = energy_of(one, hours)
    error = machine.accelerator.error if device else machine.error
    return {"offer": one.name, "device": device or "", "batch": batch, "p95_ms": 1000 * _P95_BATCHES * seconds,
            "rows_per_s": rate, "usd": usd, "usd_low": usd * (1 - error), "usd_high": usd * (1 + error),
            "wh": np.nan if wh is None else wh, "gco2e": np.nan if grams is None else grams, "limit": limit,
            "as_of": one.as_of, "provenance": "simulated"}


def token_costs(model: Decoder, *, prompt: int = 1000, output: int = 250, bits: Sequence[int] = BITS,
                token_ms: float = 50.0) -> pd.DataFrame:
    """Each single-accelerator offer and number of bits: tokens a second, dollars per million, at most `token_ms` each.

    A device alternates between reading as many prompts as a batch has, one by one, each giving its answer's first
    token, and writing the others together.

    Returns:
        TOKEN_COLUMNS: tokens_per_s are those written, usd_per_million counts tokens read and written, in the given
        mix. An offer where the weights do not fit, or one sequence alone is slower than `token_ms`, is left out.

    Raises:
        InputError: a length or time that is not positive.

    >>> from helpers.hardware_codesign import token_costs
    >>> from helpers.lab import DECODERS
    >>> cheapest = token_costs(DECODERS["Llama 3.1 8B"]).iloc[0]
    >>> float(cheapest["token_ms"]) <= 50
    True
    """
    if prompt < 1 or output < 1 or token_ms <= 0:
        raise InputError("A prompt and its output have a token at least, and milliseconds a token must be positive.")
    rows = []
    for one in offers().values():
        device = device_of(one.accelerator) if one.accelerators == 1 else None
        if device is None or "bf16" not in devices()[device].flops:
            continue
        for width in bits:
            sheet, context = DecoderSheet(model, device, width), prompt + output // 2
            batch = _batch_in_time(sheet, context, token_ms / 1000)
            if batch:
                step, prefill = sheet.decode_s(batch, context), sheet.prefill_s(prompt)
                answers_per_s = batch / (batch * prefill + (output - 1) * step)
                usd = one.on_demand_usd_hour / 3600 / (answers_per_s * (prompt + output)) * 1e6
                rows.append((one.name, device, width, batch, prefill, 1000 * step, answers_per_s * output, usd,
                             one.as_of))
    return pd.DataFrame(rows, columns=TOKEN_COLUMNS).sort_values("usd_per_million", ignore_index=True)


def _batch_in_time(sheet: DecoderSheet, context: int, token_s: float) -> int:
    """The most sequences that fit into memory and get each token in time; 0 where not even one does."""
    fitting = min(_MAX_SEQUENCES, sheet.kv_tokens // context)
    return max((batch for batch in range(1, fitting + 1) if sheet.decode_s(batch, context) <= token_s), default=0)


def hosted_prices(prompt: int = 1000, output: int = 250) -> pd.DataFrame:
    """List API prices for the same mix of tokens: columns vendor, model, as_of, usd_per_million; cheapest first."""
    rows = [{"vendor": price.vendor, "model": price.model, "as_of": price.as_of,
             "usd_per_million": 1e6 * price.usd(prompt, output) / (prompt + output)} for price in api_prices().values()]
    return pd.DataFrame(rows).sort_values("usd_per_million", ignore_index=True)
