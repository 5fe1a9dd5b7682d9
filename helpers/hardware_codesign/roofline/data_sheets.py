"""Accelerators on paper: the same two numbers from their data sheets."""

import functools

from helpers.hardware_codesign.roofline.peaks import Ceilings
from helpers.lab.errors import InputError
from helpers.lab.money.costs import read_facts

_COLUMNS = {"fp32": "peak_fp32_tflops", "bf16": "peak_bf16_tflops", "int8": "peak_int8_tops"}


@functools.cache
def devices() -> dict[str, Ceilings]:
    """The accelerators of helpers/facts/hardware.csv with a peak rate and a bandwidth, by name."""
    found = {}
    for row in read_facts("hardware"):
        flops = {name: float(row[column]) * 1e12 for name, column in _COLUMNS.items() if row[column]}
        if flops and row["memory_bandwidth_gb_s"]:
            found[row["device"]] = Ceilings(row["device"], flops, float(row["memory_bandwidth_gb_s"]) * 1e9,
                                            provenance="simulated")
    return found


def device_ceilings(name: str) -> Ceilings:
    """One accelerator's ceilings as its vendor states them.

    Raises:
        InputError: no such device.
    """
    try:
        return devices()[name]
    except KeyError:
        raise InputError(f"There is no device '{name}'. Known: {', '.join(devices())}.") from None


def device_bytes(name: str) -> float:
    """Bytes of the device's memory."""
    row = next((row for row in read_facts("hardware") if row["device"] == name and row["memory_gib"]), None)
    if row is None:
        raise InputError(f"No memory size is known for the device '{name}'.")
    return float(row["memory_gib"]) * 2**30


def device_of(accelerator: str) -> str | None:
    """The data sheet's name for an offer's accelerator: 'NVIDIA H100 80GB' is 'NVIDIA H100 SXM'.

    None where there is no such sheet: each word but the memory's size must be in the sheet's name.
    """
    wanted = set(accelerator.split())
    names = [name for name in devices() if all(word in name.split() or word.endswith("GB") for word in wanted)]
    return max(names, key=lambda name: len(wanted & set(name.split())), default=None)
