"""Sourced facts that ship with the package: helpers/facts/*.csv, and the data sheets of accelerators among them."""

import csv
import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping

from helpers.lab.errors import InputError

_PEAK_COLUMNS = {"fp32": "peak_fp32_tflops", "bf16": "peak_bf16_tflops", "int8": "peak_int8_tops"}


def read_facts(name: str) -> list[dict[str, str]]:
    """The rows of helpers/facts/NAME.csv as they stand; an empty cell means: no source found."""
    with (importlib.resources.files("helpers") / "facts" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Peak rates of a machine: the two numbers of its roofline.

    Args:
        flops: precision -> operations a second; a multiply-add is two.
        bandwidth: bytes a second to and from main memory; `cached`, while everything fits into the caches.
        threads: with which they were measured; None for a data sheet.
    """

    name: str
    flops: Mapping[str, float]
    bandwidth: float
    cached: float | None = None
    threads: int | None = None
    provenance: str = "measured"

    def rate(self, precision: str = "fp32") -> float:
        """Operations a second.

        Raises:
            InputError: no figure for this precision.
        """
        if precision not in self.flops:
            raise InputError(f"There is no {precision} figure for {self.name}. Choose one of: {', '.join(self.flops)}.")
        return self.flops[precision]

    def ridge(self, precision: str = "fp32") -> float:
        """Operations a byte above which arithmetic is the limit, and below which memory is."""
        return self.rate(precision) / self.bandwidth

    def seconds(self, flops: float, moved: float, precision: str = "fp32") -> float:
        """The least time for so many operations and so many bytes to and from main memory."""
        return max(flops / self.rate(precision), moved / self.bandwidth)


@functools.cache
def devices() -> dict[str, Peaks]:
    """The accelerators of helpers/facts/hardware.csv that have a peak rate and a bandwidth, by name.

    >>> from helpers.lab import devices
    >>> devices()["NVIDIA H100 SXM"].bandwidth
    3350000000000.0
    """
    sheets = {}
    for row in read_facts("hardware"):
        flops = {name: float(row[column]) * 1e12 for name, column in _PEAK_COLUMNS.items() if row[column]}
        if flops and row["memory_bandwidth_gb_s"]:
            sheets[row["device"]] = Peaks(row["device"], flops, float(row["memory_bandwidth_gb_s"]) * 1e9,
                                          provenance="simulated")
    return sheets


def device_peaks(name: str) -> Peaks:
    """One accelerator's peaks as its vendor states them.

    Raises:
        InputError: no such device.
    """
    try:
        return devices()[name]
    except KeyError:
        raise InputError(f"Unknown device '{name}'. Choose one of: {', '.join(devices())}.") from None


def device_memory(name: str) -> float:
    """Bytes of a device's memory.

    Raises:
        InputError: no such device, or no source for its size.
    """
    sizes = {row["device"]: row["memory_gib"] for row in read_facts("hardware")}
    if name not in sizes:
        raise InputError(f"Unknown device '{name}'. Choose one of: {', '.join(key for key in sizes if sizes[key])}.")
    if not sizes[name]:
        raise InputError(f"{name} has no sourced memory size: choose another device, or add it with its source to "
                         "helpers/facts/hardware.csv.")
    return float(sizes[name]) * 2**30


def device_of(accelerator: str) -> str | None:
    """The data sheet's name for an offer's accelerator: 'NVIDIA H100 80GB' is 'NVIDIA H100 SXM'.

    None where there is no such sheet: each word but the memory's size must be in the sheet's name.
    """
    wanted = set(accelerator.split())
    names = [name for name in devices() if all(word in name.split() or word.endswith("GB") for word in wanted)]
    return max(names, key=lambda name: len(wanted & set(name.split())), default=None)
