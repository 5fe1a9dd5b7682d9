"""How the simulator is compiled: without Python's lock, and kept on disk until its sources change.

Numba's cache looks at the time of one file, and would keep a function whose parts in other files have changed.
A function's qualified name names its cache file; so it is given a stamp of all the sources.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_SOURCES = ("simulator/layout.py", "simulator/replica_pool.py", "simulator/event_loop.py", "simulator/fcfs_queue.py",
            "simulator/quantiles.py", "language_serving/batching.py")
_STAMP = hashlib.sha256(b"".join((Path(__file__).parents[1] / one).read_bytes() for one in _SOURCES)).hexdigest()[:8]

# What is compiled into those that call it. It allocates nothing, so it needs no reference counts: with them,
# handing the arrays of a run from function to function made the event loop four times as slow.
# What runs for every event is `hot`: inlined, it is twice as fast again.
part = numba.njit(nogil=True, error_model="numpy", _nrt=False)
hot = numba.njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, or take it from the disk."""
    function.__qualname__ += f"_{_STAMP}"
    return numba.njit(nogil=True, error_model="numpy", cache=True)(function)


def compiled_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a function that allocates nothing, see `part`."""
    function.__qualname__ += f"_{_STAMP}"
    return numba.njit(nogil=True, error_model="numpy", cache=True, _nrt=False)(function)
