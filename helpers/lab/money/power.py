"""The power of a rented machine: its own figure, its accelerators' data sheet, or other machines' watts a core."""

import dataclasses
import statistics

from helpers.lab.facts import device_of, read_facts

CPU_ONLY = ("c5", "c5a", "c6g", "m5", "m6g", "m6i", "t3")  # families of instance_power.csv without an accelerator


@dataclasses.dataclass(frozen=True)
class MachinePower:
    """Watts at full use, without the building's overhead, and where they are from."""

    watts: float
    source: str


def machine_power(instance: str, vcpus: int | None, accelerator: str | None, accelerators: int) -> MachinePower | None:
    """Full power of a machine for rent; None where nothing is sourced that says it.

    Its own measured figure where there is one. Else its accelerators at the power of their data sheet, without the host
    beside them: too little for the machine, and more than they take on average. Else the median of the measured
    machines without accelerators, for each of its vCPUs.

    >>> from helpers.lab.money.power import machine_power
    >>> machine_power("m6i.large", 2, None, 0).watts
    16.2
    """
    measured = {row["instance"]: row for row in read_facts("instance_power")}
    if row := measured.get(instance):
        return MachinePower(float(row["watts_100pct"]), f"{row['source_url']} ({row['as_of']})")
    if accelerator:
        return _of_data_sheet(accelerator, accelerators)
    if not vcpus:
        return None
    each = [float(row["watts_100pct"]) / float(row["vcpus"]) for name, row in measured.items()
            if name.split(".")[0] in CPU_ONLY]
    source = next(iter(measured.values()))
    return MachinePower(vcpus * statistics.median(each),
                        f"estimate: {statistics.median(each):.3g} W a vCPU ({min(each):.3g} to {max(each):.3g}), the "
                        f"median of {len(each)} other machines, {source['source_url']} ({source['as_of']})")


def _of_data_sheet(accelerator: str, count: int) -> MachinePower | None:
    device = device_of(accelerator)
    row = next((row for row in read_facts("hardware") if row["device"] == device), None)
    if row is None or not row["tdp_watts"]:
        return None
    return MachinePower(count * float(row["tdp_watts"]), f"{count} x {device} at the power of the data sheet, without "
                                                         f"the host: {row['source_url']}")
