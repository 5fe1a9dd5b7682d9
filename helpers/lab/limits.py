"""A module of this package in a process that may take so much time and memory: for what comes from outside.

A file of 63 KB may unpack to gigabytes, and a parser that was made to work for ever cannot be stopped from within.
"""

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SLOWEST = 6  # times the seconds of a processor: how long a process may take by the clock, on a busy machine
MEMORY, ANSWER = 3, 4  # exit codes
# Each thread of a library would reserve much more address space than it uses.
FRUGAL = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
          "ARROW_DEFAULT_MEMORY_POOL": "system"}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a process, beyond what it takes to start: seconds of a processor, memory; bytes of its answer."""

    seconds: int
    memory_bytes: int
    answer_bytes: int


class OverLimit(Exception):
    """A process took more than it may, and was ended; the message goes on from the name of what it worked on."""


def run_limited(module: str, request: Any, limits: Limits) -> Any:
    """Ask `python -m module`, which calls `serve`, and return its answer; request and answer are JSON.

    Nothing is believed of the process but that its answer is JSON of at most `limits.answer_bytes`. Windows has no
    limits for a process: there only the clock ends it.

    Raises:
        OverLimit: it took more than it may, or a library in it broke.
    """
    environment = {**os.environ, **FRUGAL,
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", module, json.dumps(dataclasses.asdict(limits))]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as said, subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=answer, stderr=said, env=environment) as process:
        try:
            process.communicate(json.dumps(request).encode(), timeout=SLOWEST * limits.seconds)
        except subprocess.TimeoutExpired:
            raise OverLimit(f"takes more than {SLOWEST * limits.seconds} s to read") from None
        finally:
            process.kill()
        _require_success(process.returncode, limits, said)
        answer.seek(0)
        return json.load(answer)


def serve(answer: Callable[[Any], Any]) -> None:
    """Answer the one request of `run_limited` within its limits, which stand on the command line."""
    limits = Limits(**json.loads(sys.argv[1]))
    request = json.load(sys.stdin)
    _confine(limits)
    try:
        text = json.dumps(answer(request))
    except MemoryError:
        sys.exit(MEMORY)
    if len(text) > limits.answer_bytes:
        sys.exit(ANSWER)
    print(text, flush=True)
    os._exit(0)  # what libraries do at their end, within these limits, is no part of the answer


def _require_success(code: int, limits: Limits, said: Any) -> None:
    if code == MEMORY:
        raise OverLimit(f"takes more than {limits.memory_bytes / 2**30:.2g} GiB of memory to read")
    if code == ANSWER:
        raise OverLimit(f"is more than {limits.answer_bytes / 1e6:g} MB when it is unpacked")
    if code < 0 and -code == getattr(signal, "SIGXCPU", None):
        raise OverLimit(f"takes more than {limits.seconds} s to read")
    if code < 0:  # memory that a library did not get and did not ask for twice, or worse
        raise OverLimit("breaks the program that reads it, or takes more memory than there is")
    if code:
        said.seek(0)
        raise RuntimeError(said.read(100_000).decode(errors="replace"))


def _confine(limits: Limits) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    process = psutil.Process()
    used = sum(process.cpu_times()[:2])
    wanted = {"RLIMIT_CPU": math.ceil(used) + limits.seconds, "RLIMIT_FSIZE": limits.answer_bytes + 1,
              "RLIMIT_AS": process.memory_info().vms + limits.memory_bytes, "RLIMIT_CORE": 0}
    for name, most in wanted.items():
        limit = getattr(resource, name)
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError):  # macOS refuses what is less than it has reserved
            resource.setrlimit(limit, (most, hard))
