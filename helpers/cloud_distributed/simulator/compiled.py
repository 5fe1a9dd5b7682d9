"""The ground of the compiled loops: how they are compiled, their tables, their heap and their random draws.

Everything lies in arrays made once, so that the loops neither allocate nor need Python's lock. What is compiled is
cached on disk until its sources change: numba looks at the time of one file, and would keep a function whose parts in
other files have changed. A function's qualified name names its cache file; so it is given a stamp of all sources.
"""

import enum
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

_SOURCES = sorted(path for folder in ("simulator", "language_serving")
                  for path in (Path(__file__).parents[1] / folder).rglob("*.py"))
_STAMP = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()[:8]

# These functions are inlined into their callers. It allocates nothing, so it needs no reference counts: with them,
# handing the arrays of a run from function to function made the event loop four times as slow.
# What runs for every event is `hot`: inlined, it is twice as fast again.
part = numba.njit(nogil=True, error_model="numpy", _nrt=False)
hot = numba.njit(nogil=True, error_model="numpy", _nrt=False, forceinline=True)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called, or load it from the cache on disk."""
    function.__qualname__ += f"_{_STAMP}"
    return numba.njit(nogil=True, error_model="numpy", cache=True)(function)


def compiled_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a function that allocates nothing, see `part`."""
    function.__qualname__ += f"_{_STAMP}"
    return numba.njit(nogil=True, error_model="numpy", cache=True, _nrt=False)(function)


class Outcome(enum.IntEnum):
    """Outcome of a request. Each request has exactly one."""

    ANSWERED = 0
    DROPPED = 1     # the queue was full
    TIMED_OUT = 2   # waited longer than the time-out
    FAILED = 3      # its replica died while working on it
    WAITING = 4     # still in the queue when the clock stopped


class Kind(enum.IntEnum):
    """How a replica is paid for."""

    RESERVED = 0
    ON_DEMAND = 1
    SPOT = 2


class Balancer(enum.IntEnum):
    """Which replica a request goes to when it arrives; `Fleet` says what each is."""

    LEAST_LOADED = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    CENTRAL = 3


class Status(enum.IntEnum):
    """Where a row of the replica table stands."""

    FREE = 0
    STARTING = 1
    READY = 2
    DRAINING = 3    # finishes its work and takes no more


# Plain integers for the compiled code.
ANSWERED, DROPPED, TIMED_OUT, FAILED, WAITING = (int(one) for one in Outcome)
RESERVED, ON_DEMAND, SPOT = (int(one) for one in Kind)
FREE, STARTING, READY, DRAINING = (int(one) for one in Status)
LEAST_LOADED, ROUND_ROBIN, RANDOM, CENTRAL = (int(one) for one in Balancer)

# Of a replica: `busy` slots, `waiting` requests, and `held`, those waiting and in service; its queue is a linked list.
# What is summed up over time counts slots of replicas that are ready, as metrics leave out draining replicas.
REPLICA = np.dtype([("status", "i8"), ("kind", "i8"), ("busy", "i8"), ("held", "i8"), ("waiting", "i8"), ("head", "i8"),
                    ("tail", "i8"), ("notice", "i8"), ("launched_s", "f8"), ("ready_s", "f8"), ("ends_s", "f8"),
                    ("leave_sum_s", "f8"), ("work_s", "f8"), ("busy_s", "f8")], align=True)
SLOT = np.dtype([("first", "i8"), ("size", "i8")], align=True)
RULES = np.dtype([("slots", "i8"), ("balancer", "i8"), ("replica_queue", "i8"), ("queue_limit", "i8"),
                  ("batch_size", "i8"), ("smallest", "i8"), ("largest", "i8"), ("reserved", "i8"), ("wakes", "i8"),
                  ("batch_delay_s", "f8"), ("timeout_s", "f8"), ("startup_s", "f8"), ("spot_share", "f8"),
                  ("failure_rate", "f8"), ("interruption_rate", "f8"), ("notice_s", "f8"), ("period_s", "f8"),
                  ("sample_s", "f8"), ("closes_s", "f8")], align=True)
STATE = np.dtype([("now_s", "f8"), ("next", "i8"), ("oldest", "i8"), ("front", "i8"), ("head", "i8"), ("tail", "i8"),
                  ("turn", "i8"), ("spare", "i8"), ("waiting", "i8"), ("in_service", "i8"), ("busy", "i8"),
                  ("free", "i8"), ("heap", "i8"), ("ready", "i8"), ("starting", "i8"), ("target", "i8"), ("cold", "i8"),
                  ("launches", "i8"), ("changes", "i8"), ("draws", "i8"), ("samples", "i8"), ("queue_s", "f8"),
                  ("service_s", "f8"), ("busy_s", "f8"), ("ready_s", "f8"), ("left_s", "f8"), ("tick_s", "f8"),
                  ("next_timer_s", "f8"), ("next_sample_s", "f8"), ("next_rare_s", "f8"), ("last_tick_s", "f8"),
                  ("tick_queue_s", "f8"), ("tick_service_s", "f8"), ("tick_busy_s", "f8"), ("tick_ready_s", "f8"),
                  ("tick_arrived", "i8")], align=True)
SIGNALS = np.dtype([("now_s", "f8"), ("elapsed_s", "f8"), ("ready", "f8"), ("starting", "f8"), ("target", "f8"),
                    ("waiting", "f8"), ("in_service", "f8"), ("arrived", "f8"), ("ongoing", "f8"),
                    ("utilisation", "f8"), ("tokens", "f8"), ("kv_use", "f8"), ("ttft_s", "f8")], align=True)
SAMPLES = ("ready", "starting", "target", "waiting", "in_service")


class Tally(NamedTuple):
    """Running counts, so that no array needs an entry for each request."""

    each: bool                # whether each request's wait, latency and outcome are stored, too
    latencies: np.ndarray     # (BINS,) uint32: answers by the leading bits of their latency
    outcomes: np.ndarray      # (len(Outcome),) int64
    sums_s: np.ndarray        # (SUMS,) float64: see below
    stride: int               # every so many requests, the latency is sampled
    sampled: np.ndarray       # (n / stride,) float64; NaN where none came
    unanswered: np.ndarray    # (samples + 1,) int64 by interval of the time series
    leave_s: np.ndarray       # (p,) float64: when somebody stops waiting; entries of the replicas' lists
    link: np.ndarray          # (p,) int64: the next entry of a list, 0 at its end
    recent: np.ndarray        # (r, LAST_RECENT + 1) float64: when the last ones at a replica stop waiting
    turns: np.ndarray         # (r,) int64: how many were written there
    picks: np.ndarray         # (2, DRAWN) int64: replicas to choose from, drawn for some requests at a time
    places: np.ndarray        # (DRAWN,) int64: where their service times are
    seconds: np.ndarray       # (DRAWN,) float64: their service times
    starts_s: np.ndarray      # (DRAWN,) float64: when they start; NaN where they do not
    work_s: np.ndarray        # (r,) float64: seconds of work given to a replica since the last rare moment
    block: np.ndarray         # (4,) int64: of which requests the draws are, see below


# Places in Tally.sums_s: waits of the answered; time in queues; seconds of work; sum of arrivals in front; the end.
WAITED_S, QUEUED_S, WORKED_S, FRONT_S, END_S = range(5)
SUMS = 5
LAST_RECENT = 3  # the last place; one less than a power of two, to be used as a mask
DRAWN = 256
# Places in Tally.block: the first request drawn, the first after them, the first that is not placed, and how often
# replicas had come and gone when they were drawn.
BLOCK_BEGIN, BLOCK_END, BLOCK_PLACED, BLOCK_CHANGES = range(4)
SHIFT = 42      # of a latency's 64 bits the sign, 11 of the exponent and 10 of the fraction are left: steps of 0.1%
LEAST_BIN = 1003 << 10  # 2**-20: what takes less than a microsecond falls into one bin
BINS = (2047 << 10) - LEAST_BIN


class World(NamedTuple):
    """All arrays of one run. n requests, r rows for replicas, r * slots slots."""

    arrivals: np.ndarray      # (n,) float64 seconds, ascending
    values: np.ndarray        # service times, see ServiceTimes.packed
    rows: np.ndarray
    weights: np.ndarray
    seeds: np.ndarray         # (3,) uint64: service times, ends of replicas, choices of the balancer
    wait_s: np.ndarray        # (n,) float64
    latency_s: np.ndarray     # (n,) float64
    outcome: np.ndarray       # (n,) int8
    replicas: np.ndarray      # (r,) REPLICA
    slots: np.ndarray         # (r * slots,) SLOT
    heap_s: np.ndarray        # (r * slots,) float64: when busy slots finish
    heap_slot: np.ndarray     # (r * slots,) int64
    free_slots: np.ndarray    # (r * slots,) int64, a stack; only where all share one queue
    following: np.ndarray     # (n,) int32: who waits behind a request
    place: np.ndarray         # (n,) int32: at which replica a request waits; -1 in front of all
    open: np.ndarray          # (r,) int64: replicas that are ready, in the order in which they became so
    free_s: np.ndarray        # (r * slots,) float64: when a slot has done all that it was given
    roomy: np.ndarray         # (r,) int64: of those, the ones with room, while a request is placed
    paid_s: np.ndarray        # (3,) float64 by Kind
    samples: np.ndarray       # (samples, len(SAMPLES)) int64


@hot
def bits(seed: int, index: int) -> int:
    """The index-th 64 bits of a seed's stream, without state (splitmix64; Steele et al., OOPSLA 2014).

    A request's draw depends on its place alone, so two fleets see the same luck and can be paired.
    """
    z = np.uint64(seed) + np.uint64(index + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@hot
def uniform(seed: int, index: int) -> float:
    """The index-th number in [0, 1) of a seed's stream."""
    return float(bits(seed, index) >> np.uint64(11)) * 2.0**-53


@hot
def heap_push(times: np.ndarray, slots: np.ndarray, size: int, when: float, slot: int) -> None:
    """Add an entry to a binary heap of `size` entries, earliest first."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if times[parent] <= when:
            break
        times[at], slots[at] = times[parent], slots[parent]
        at = parent
    times[at], slots[at] = when, slot


@hot
def heap_remove(times: np.ndarray, slots: np.ndarray, size: int, at: int) -> None:
    """Take entry `at` (0: the earliest) out of a heap of `size` entries."""
    size -= 1
    when, slot = times[size], slots[size]
    times[size] = np.inf
    if at == size:
        return
    while at > 0 and when < times[(at - 1) >> 1]:
        parent = (at - 1) >> 1
        times[at], slots[at] = times[parent], slots[parent]
        at = parent
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and times[child + 1] < times[child]:
            child += 1
        if when <= times[child]:
            break
        times[at], slots[at] = times[child], slots[child]
        at = child
    times[at], slots[at] = when, slot
