"""Which machine measured this: cores, instruction sets, memory, GPU, libraries."""

import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path

# What decides the speed of 8-bit and 16-bit products on a CPU.
INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX int8",
    "amx_bf16": "AMX bf16",
    "asimddp": "NEON dotprod",
    "i8mm": "NEON i8mm",
}
LIBRARIES = ("torch", "transformers", "onnxruntime", "openvino", "nncf", "torchao", "tokenizers")

_M_ARENA_MAX = -8  # mallopt's name for the number of heaps, in glibc's malloc.h


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of INSTRUCTION_SETS that this CPU reports, by their common names."""
    import cpuinfo

    flags = cpuinfo.get_cpu_info().get("flags", [])
    return tuple(dict.fromkeys(name for flag, name in INSTRUCTION_SETS.items() if flag in flags))


def has_int8_dot_product() -> bool:
    """Whether one instruction multiplies and adds 8-bit numbers into 32 bits, without saturating."""
    return any(name in instruction_sets() for name in
               ("AVX-512 VNNI", "AVX VNNI", "AMX int8", "NEON dotprod", "NEON i8mm"))


@functools.cache
def fingerprint() -> dict:
    """Facts needed to compare a figure with one from another machine. No host or user name.

    Keys: id (12 hex digits of the rest), cpu, instruction_sets, cores, memory_gib, gpu, system,
    python, libraries.
    """
    import cpuinfo
    import psutil

    facts = {
        "cpu": cpuinfo.get_cpu_info().get("brand_raw", platform.machine()),
        "instruction_sets": list(instruction_sets()),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": gpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {"id": digest[:12], **facts}


def describe(machine: dict) -> str:
    """One line for a caption: CPU, cores, instruction sets that matter, memory, GPU."""
    sets = ", ".join(machine["instruction_sets"]) or "no vector extensions reported"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return f"{machine['cpu']}, {machine['cores']} cores ({sets}), {machine['memory_gib']:.0f} GiB{gpu}"


def brief(machine: dict) -> str:
    """The machine in a sentence's few words: CPU and cores, or the GPU; empty where nothing is known of it.

    >>> from helpers.lab.machine import brief
    >>> brief({"cpu": "Intel(R) Xeon(R) Platinum 8488C CPU @ 2.40GHz", "cores": 2})
    'Intel Xeon Platinum 8488C, 2 cores'
    """
    if machine.get("gpu"):
        return machine["gpu"]
    noise = r"\((?:R|TM)\)|(?:\bCPU\s*)?@.*|\b(?:Processor|\d+-Core)\b"
    cpu = re.sub(noise, " ", machine.get("cpu", ""), flags=re.IGNORECASE)
    return ", ".join(filter(None, [" ".join(cpu.split()), f"{machine['cores']} cores" if "cores" in machine else ""]))


def peak_resident_bytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would also count the parent's pages from before the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def return_free_memory() -> None:
    """Return to the system what this process has freed and its allocator keeps, where that is glibc's."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such library, or no such function in it
        ctypes.CDLL(None).malloc_trim(0)


def share_one_heap() -> None:
    """Let all threads of this process take memory from one heap, where its allocator is glibc's; for a server.

    Else threads get heaps of their own, up to eight for each core, and what one of them has freed no other takes: the
    process grows with each visitor. Call it before threads are started.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def gpu_name() -> str | None:
    """Name of the first NVIDIA GPU, or None. Asks the driver, so that torch need not be imported."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        name = pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0))
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return name.decode() if isinstance(name, bytes) else name


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
