"""Which machine measured this, and whose turn it is to measure."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

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
    """What has to be known to compare a figure with one from elsewhere. No host or user name.

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


def peak_resident_bytes() -> int:
    """The most memory that this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would also count the parent's pages from before the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


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


@contextlib.contextmanager
def timing_turn(waiting: Callable[[int], None] | None = None, folder: Path | None = None,
                poll_s: float = 0.2) -> Iterator[None]:
    """Hold the machine's only stopwatch: one timing at a time, first come, first served.

    Args:
        waiting: called with the number of runs ahead while there are any; it may raise to give up.
        folder: where the queue stands; the system's temporary folder by default, so that
            different users of one machine share it.

    Each run holds a lock on its own numbered file; the system drops the lock of a process that
    dies, so a killed run never blocks the queue.
    """
    folder = folder or Path(tempfile.gettempdir()) / "compute-smarter-timing"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # only its owner may open it to the other users
        folder.chmod(0o1777)
    with FileLock(folder / "draw.lock", mode=0o666):  # else two could each see no earlier number and start together
        mine = folder / f"{_next_number(folder):020d}.turn"
        lock = FileLock(mine, mode=0o666)
        lock.acquire()
    try:
        while ahead := _runs_ahead(folder, mine):
            if waiting:
                waiting(ahead)
            time.sleep(poll_s)
        yield
    finally:
        mine.unlink(missing_ok=True)
        lock.release()


def _next_number(folder: Path) -> int:
    """Above all numbers in the queue, even if the clock was set back."""
    return max([time.time_ns(), *(int(ticket.stem) + 1 for ticket in folder.glob("*.turn"))])


def _runs_ahead(folder: Path, mine: Path) -> int:
    ahead = 0
    for ticket in sorted(folder.glob("*.turn")):
        if ticket.name >= mine.name:
            break
        ahead += _is_held(ticket)
    return ahead


def _is_held(ticket: Path) -> bool:
    lock = FileLock(ticket, timeout=0, mode=0o666)
    try:
        with lock, contextlib.suppress(PermissionError):  # only its own user may remove it
            ticket.unlink(missing_ok=True)  # left behind by a process that died
    except Timeout:
        return True
    return False
