"""Joules of a prediction: codecarbon's power, inside an honest band."""

import dataclasses
import logging
import time
from collections.abc import Callable

from helpers.lab.facts import read_facts


@dataclasses.dataclass(frozen=True)
class Power:
    """Watts drawn while predicting, with a band and the name of the method."""

    low: float
    mid: float
    high: float
    method: str


def measure_power(work: Callable[[], object], threads: int, seconds: float = 2.0) -> Power | None:
    """Watts while `work` is repeated for some seconds; None where codecarbon cannot tell.

    With a meter (RAPL, NVML) the band is ±10 %. Without one codecarbon estimates from the CPU's
    thermal design power; the band then spans what comparable cloud servers draw for as many cores
    (helpers/facts/instance_power.csv, at full load).
    """
    from codecarbon import OfflineEmissionsTracker

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    tracker = OfflineEmissionsTracker(country_iso_code="USA", measure_power_secs=1, save_to_file=False,
                                      log_level="critical", allow_multiple_runs=True)
    tracker.start()
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        work()
    tracker.stop()
    data = tracker.final_emissions_data
    if not data or not data.energy_consumed or not data.duration:
        return None
    watts = data.energy_consumed * 3.6e6 / data.duration
    method = _method(tracker)
    if "estimate" not in method:
        return Power(0.9 * watts, watts, 1.1 * watts, method)
    per_core = [float(row["watts_100pct"]) / float(row["vcpus"]) for row in read_facts("instance_power")
                if row["instance"].split(".")[0] in _CPU_ONLY]
    return Power(min(watts, threads * min(per_core)), watts, max(watts, threads * max(per_core)), method)


_CPU_ONLY = ("c5", "c5a", "c6g", "m5", "m6g", "m6i", "t3")


def _method(tracker: object) -> str:
    modes = {getattr(part, "_mode", None) or type(part).__name__ for part in getattr(tracker, "_hardware", [])}
    name = f"codecarbon ({', '.join(sorted(str(mode) for mode in modes))})"
    metered = {"intel_rapl", "intel_power_gadget", "apple_powermetrics", "powermetrics", "GPU"}
    return name if modes & metered else f"{name}: an estimate, no meter found"
