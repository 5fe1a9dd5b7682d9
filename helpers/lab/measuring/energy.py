"""Joules of a prediction: a meter's watts where there is one, else a sourced estimate by the cores' use, in a band."""

import dataclasses
import functools
import logging
import time
import warnings
from collections.abc import Callable

import numpy as np

from helpers.lab.facts import read_facts
from helpers.lab.measuring.timing import settle
from helpers.lab.money.costs import DEFAULT_OFFER
from helpers.lab.money.power import CPU_ONLY

_POINTS = {"watts_idle": 0.0, "watts_10pct": 0.1, "watts_50pct": 0.5, "watts_100pct": 1.0}
_METERS = {"intel_rapl", "intel_power_gadget", "apple_powermetrics", "powermetrics", "GPU"}
_METER_ERROR = 0.1


@dataclasses.dataclass(frozen=True)
class Power:
    """Watts while predicting, with a band and the name of the method.

    low: what the work adds to an idle machine; mid: the machine at this use; high: the hungriest one that it may be.
    """

    low: float
    mid: float
    high: float
    method: str


def measure_power(work: Callable[[], object], threads: int, seconds: float = 1.0) -> Power:
    """Watts while `work` is repeated for some seconds on so many threads.

    With a meter (RAPL, NVML; read by codecarbon) the middle is its reading, the low end that less the idle machine's,
    the high end 10% more. Without one see `estimated_power`.
    """
    settle()
    if not meter():
        return estimated_power(_use(work, seconds) / threads, threads)
    idle, busy = _metered(lambda: time.sleep(0.1), seconds), _metered(work, seconds)
    return Power(busy - idle, busy, (1 + _METER_ERROR) * busy, f"codecarbon ({meter()})")


def estimated_power(use: float, threads: int) -> Power:
    """Watts of so many cores of a rented machine at a use between 0 (idle) and 1.

    The same figures as in every bill of this project: helpers/facts/instance_power.csv, of DEFAULT_OFFER, as watts over
    use. Low: less the idle machine; high: the hungriest of the table's CPU-only machines, all of its cores at work.

    >>> from helpers.lab.measuring.energy import estimated_power
    >>> power = estimated_power(use=1.0, threads=2)
    >>> round(power.low, 1), round(power.mid, 1), round(power.high, 1)
    (11.6, 16.2, 20.0)
    """
    machines = {row["instance"]: row for row in read_facts("instance_power")}
    rented = machines[DEFAULT_OFFER.split()[1]]
    share = threads / float(rented["vcpus"])
    mid = share * float(np.interp(use, list(_POINTS.values()), [float(rented[point]) for point in _POINTS]))
    hungriest = max((row for row in machines.values() if row["instance"].split(".")[0] in CPU_ONLY),
                    key=lambda row: float(row["watts_100pct"]) / float(row["vcpus"]))
    high = threads * float(hungriest["watts_100pct"]) / float(hungriest["vcpus"])
    return Power(mid - share * float(rented["watts_idle"]), mid, high,
                 f"estimate, no meter: {rented['instance']} at this use of its cores (Teads, {rented['as_of'][:4]})")


def energy_scores() -> str:
    """Quote AI Energy Score's measurement of text classification, in a sentence to stand beside our watt-hours."""
    rows = read_facts("energy_score")
    figures = ", ".join(f"{row['model']} {float(row['wh_per_1000']):g}" for row in rows)
    return (f"AI Energy Score, {rows[0]['task']}, Wh per 1,000 queries on one {rows[0]['gpu']} (the GPU alone, "
            f"{rows[0]['as_of']}): {figures}.")


def _use(work: Callable[[], object], seconds: float) -> float:
    """Cores that this process keeps busy, on average."""
    began, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        work()
    return (time.process_time() - used) / (time.perf_counter() - began)


def _tracker() -> object:
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return OfflineEmissionsTracker(country_iso_code="USA", measure_power_secs=1, save_to_file=False,
                                       log_level="critical", allow_multiple_runs=True)


@functools.cache
def meter() -> str:
    """The machine's meters by the names that codecarbon gives them; empty where it would estimate."""
    parts = getattr(_tracker(), "_hardware", [])
    modes = {str(getattr(part, "_mode", None) or type(part).__name__) for part in parts}
    return ", ".join(sorted(modes & _METERS))


def _metered(work: Callable[[], object], seconds: float) -> float:
    tracker = _tracker()
    tracker.start()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
    tracker.stop()
    data = tracker.final_emissions_data
    return data.energy_consumed * 3.6e6 / data.duration
