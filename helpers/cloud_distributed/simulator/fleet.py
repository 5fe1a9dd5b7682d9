"""A fleet of replicas behind one queue, simulated request by request."""

import dataclasses
import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import (
    REPLICA,
    RULES,
    SAMPLES,
    SIGNALS,
    SLOT,
    STATE,
    Kind,
    Outcome,
    World,
)
from helpers.cloud_distributed.simulator.policies import Policy, compile_policy, unchanged
from helpers.cloud_distributed.simulator.runs import Run
from helpers.cloud_distributed.simulator.service_times import ServiceTimes
from helpers.lab.errors import InputError

_NO_LIMIT = np.iinfo(np.int64).max
_MAX_SAMPLES = 2_000_000


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What serves the requests. Replicas share one queue in order of arrival.

    Args:
        replicas: how many are ready at the start; without a policy, always.
        policy: decides how many there should be, between min_replicas and max_replicas.
        startup_s: from launch to ready. A replica is paid from its launch on.
        queue_limit: an arrival that finds so many waiting is dropped; None: there is always room.
        timeout_s: who has waited longer leaves; None: nobody does.
        batch_size: requests that a replica works on together, at most.
        batch_delay_s: how long a free replica lets the oldest request wait for its batch to fill.
        concurrency: batches that a replica works on at a time; measure the service times that way.
        reserved: so many of `replicas` are committed: always on, always paid.
        spot_share: of the rest, this part is spot; what remains is on demand.
        failures_per_hour: of each replica; what it works on fails. A new one is launched at once.
        interruptions_per_hour: of each spot replica. It takes no new work from the notice on, and what is not done
            `notice_s` later fails. A new one is launched at the notice.
        drain_s: how long the clock runs on after the last arrival for those who wait.
        sample_s: between two points of the time series; None: a 720th of the arrivals' time.

    Raises:
        InputError: figures that contradict each other or cannot be.
    """

    replicas: int = 1
    policy: Policy | None = None
    startup_s: float = 0.0
    queue_limit: int | None = None
    timeout_s: float | None = None
    batch_size: int = 1
    batch_delay_s: float = 0.0
    concurrency: int = 1
    min_replicas: int = 1
    max_replicas: int = 100
    reserved: int = 0
    spot_share: float = 0.0
    failures_per_hour: float = 0.0
    interruptions_per_hour: float = 0.0
    notice_s: float = 120.0
    drain_s: float = 3600.0
    sample_s: float | None = None

    def __post_init__(self) -> None:
        _require_counts(self)
        for name in ("startup_s", "batch_delay_s", "failures_per_hour", "interruptions_per_hour", "notice_s",
                     "drain_s"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}.")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InputError(f"timeout_s must be more than 0 or None, not {self.timeout_s}.")
        if self.timeout_s is not None and self.timeout_s < self.batch_delay_s:
            raise InputError("timeout_s is shorter than batch_delay_s: requests would leave before their batch goes.")
        if self.batch_delay_s and self.queue_limit is not None and self.queue_limit < self.batch_size:
            raise InputError("queue_limit is below batch_size: a batch could never fill. Raise it, or set "
                             "batch_delay_s=0.")
        if not 0 <= self.spot_share <= 1:
            raise InputError(f"spot_share is a fraction from 0 to 1, not {self.spot_share}.")
        if self.sample_s is not None and not self.sample_s > 0:
            raise InputError(f"sample_s must be more than 0 or None, not {self.sample_s}.")

    @property
    def is_fcfs(self) -> bool:
        """Whether only waiting and serving happen, so that the fast path gives the same result."""
        return (self.policy is None and self.queue_limit is None and self.timeout_s is None and self.batch_size == 1
                and not self.failures_per_hour and not (self.interruptions_per_hour and self.spot_share))

    def kinds(self) -> dict[str, int]:
        """The starting replicas by kind of payment."""
        spot = int(self.spot_share * (self.replicas - self.reserved) + 0.5)
        return {"reserved": self.reserved, "on_demand": self.replicas - self.reserved - spot, "spot": spot}


def simulate(arrivals: ArrayLike, service: ArrayLike | ServiceTimes, fleet: Fleet, seed: int = 0) -> Run:
    """Send every arrival through the fleet.

    Args:
        arrivals: (n,) seconds since the start, ascending.
        service: (n,) seconds of work for each request (a batch takes as long as its longest), or ServiceTimes to
            draw from.
        seed: of the drawn service times and failures. The same seed gives the same run, bit for bit; and a request
            that starts a batch draws the same in another fleet, so that fleets can be compared in pairs.

    Returns:
        A Run. The clock starts at 0 and stops when the last request has left.

    >>> from helpers.cloud_distributed import Fleet, simulate
    >>> simulate([0.0, 1.0], [2.0, 2.0], Fleet(replicas=1)).latency_s.tolist()
    [2.0, 3.0]

    Raises:
        InputError: arrivals out of order, negative or not finite; service times that do not fit them.
    """
    arrivals = checked_arrivals(arrivals)
    values, rows, weights = _packed_service(service, len(arrivals), fleet.batch_size)
    seeds = np.random.SeedSequence(_checked_seed(seed)).generate_state(2, np.uint64)
    if fleet.is_fcfs:
        return _simulate_fcfs(arrivals, values, rows, weights, seeds, fleet)
    return _simulate_events(arrivals, values, rows, weights, seeds, fleet)


def _simulate_fcfs(arrivals: np.ndarray, values: np.ndarray, rows: np.ndarray, weights: np.ndarray,
                    seeds: np.ndarray, fleet: Fleet) -> Run:
    from helpers.cloud_distributed.simulator.fcfs_queue import count_by_interval, serve_in_order

    wait_s, latency_s = np.empty(len(arrivals)), np.empty(len(arrivals))
    last = float(arrivals[-1]) if len(arrivals) else 0.0
    closes_s = last + fleet.drain_s
    served, busy_s, end_s = serve_in_order(arrivals, values, rows, weights, seeds[0],
                                           fleet.replicas * fleet.concurrency, closes_s, wait_s, latency_s)
    outcome = np.zeros(len(arrivals), np.int8)
    wait_s[served:], latency_s[served:], outcome[served:] = np.nan, np.nan, Outcome.WAITING

    def series() -> pd.DataFrame:
        step = _sample_step(fleet, last)
        count = int(end_s / step) + 1
        started, finished = np.zeros(count, np.int64), np.zeros(count, np.int64)
        count_by_interval(arrivals, wait_s, latency_s, served, step, started, finished)
        arrived = np.searchsorted(arrivals, step * np.arange(count), side="right")
        begun, done = started.cumsum(), finished.cumsum()
        return pd.DataFrame({"t_s": step * np.arange(count), "ready": fleet.replicas, "starting": 0,
                             "target": fleet.replicas, "waiting": arrived - begun, "in_service": begun - done})

    hours = {kind: count * end_s / 3600 for kind, count in fleet.kinds().items()}
    queue_s = float(np.sum(wait_s[:served])) + float(np.sum(closes_s - arrivals[served:]))
    return Run(arrivals, wait_s, latency_s, outcome, hours, end_s, queue_s, busy_s,
               fleet.replicas * fleet.concurrency * end_s, 0, fleet.replicas, series)


def _simulate_events(arrivals: np.ndarray, values: np.ndarray, rows: np.ndarray, weights: np.ndarray,
                   seeds: np.ndarray, fleet: Fleet) -> Run:
    from helpers.cloud_distributed.simulator.event_loop import run_events

    policy = fleet.policy or Policy("fixed", unchanged)
    last = float(arrivals[-1]) if len(arrivals) else 0.0
    rules = _rules(fleet, last)
    room = 2 * max(fleet.max_replicas if fleet.policy else 0, fleet.replicas) + 2  # those that drain need rows too
    slots = room * fleet.concurrency
    samples = np.empty((int((last + fleet.drain_s) / rules.sample_s) + 2, len(SAMPLES)), np.int64)
    world = World(arrivals, values, rows, weights, seeds, np.full(len(arrivals), np.nan),
                  np.full(len(arrivals), np.nan), np.full(len(arrivals), Outcome.WAITING, np.int8),
                  np.zeros(room, REPLICA), np.zeros(slots, SLOT), np.full(slots, np.inf), np.zeros(slots, np.int64),
                  np.zeros(slots, np.int64), np.zeros(len(Kind)), samples)
    state = np.zeros(1, STATE).view(np.recarray)
    state.target = fleet.replicas
    state.next_timer_s = np.inf
    state.tick_s = policy.period_s if fleet.policy else np.inf
    run_events(compile_policy(policy.decide), np.zeros(max(1, policy.memory)), np.array(policy.parameters, float),
               np.zeros(1, SIGNALS)[0], world, rules, state[0])
    final = state[0]
    hours = {kind.name.lower(): float(world.paid_s[kind]) / 3600 for kind in Kind}
    hours["reserved"] = fleet.reserved * float(final.now_s) / 3600  # paid while it restarts too

    def series() -> pd.DataFrame:
        count = int(final.samples)
        return pd.DataFrame({"t_s": rules.sample_s * np.arange(count)} | dict(zip(SAMPLES, samples[:count].T,
                                                                                  strict=True)))

    return Run(arrivals, world.wait_s, world.latency_s, world.outcome, hours, float(final.now_s),
               float(final.queue_s), float(final.busy_s), float(final.ready_s) * fleet.concurrency, int(final.cold),
               int(final.launches), series)


def _rules(fleet: Fleet, last: float) -> np.record:
    """The fleet's figures as the compiled loop reads them."""
    rules = np.zeros(1, RULES).view(np.recarray)
    rules.slots, rules.batch_size, rules.batch_delay_s = fleet.concurrency, fleet.batch_size, fleet.batch_delay_s
    rules.queue_limit = _NO_LIMIT if fleet.queue_limit is None else fleet.queue_limit
    rules.timeout_s = np.inf if fleet.timeout_s is None else fleet.timeout_s
    rules.smallest, rules.largest = max(fleet.min_replicas, fleet.reserved), fleet.max_replicas
    rules.reserved, rules.spot_share = fleet.reserved, fleet.spot_share
    rules.startup_s, rules.notice_s, rules.closes_s = fleet.startup_s, fleet.notice_s, last + fleet.drain_s
    rules.failure_rate = fleet.failures_per_hour / 3600
    rules.interruption_rate = fleet.interruptions_per_hour / 3600
    rules.wakes = bool(fleet.policy and fleet.policy.wakes)
    rules.period_s = fleet.policy.period_s if fleet.policy else np.inf
    rules.sample_s = _sample_step(fleet, last)
    return rules[0]


def _sample_step(fleet: Fleet, last: float) -> float:
    closes_s = last + fleet.drain_s
    step = fleet.sample_s or max(last / 720, closes_s / 20_000) or 1.0
    if closes_s / step > _MAX_SAMPLES:
        raise InputError(f"sample_s={step:g} gives more than {_MAX_SAMPLES:,} points: choose a larger one.")
    return step


def checked_arrivals(arrivals: ArrayLike) -> np.ndarray:
    """(n,) float64, ascending, or an InputError."""
    from helpers.cloud_distributed.simulator.fcfs_queue import first_out_of_order

    times = np.ascontiguousarray(arrivals, dtype=np.float64)
    if times.ndim != 1:
        raise InputError(f"arrivals must be one row of seconds, not of shape {times.shape}.")
    if first_out_of_order(times) >= 0:
        raise InputError("arrivals must be finite seconds from 0 on in ascending order: sort them, or use read_trace.")
    return times


def _packed_service(service: ArrayLike | ServiceTimes, count: int,
                    batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(service, ServiceTimes):
        return service.packed(batch_size)
    seconds = np.ascontiguousarray(service, dtype=np.float64)
    if seconds.shape != (count,):
        raise InputError(f"service has the shape {seconds.shape} for {count} arrivals: give one number of seconds for "
                         "each, or ServiceTimes to draw from.")
    if count and not (seconds.min() >= 0 and np.isfinite(seconds.max())):  # NaN fails the first comparison
        raise InputError("service must be finite seconds of 0 or more.")
    return seconds, np.zeros((0, 4), np.int64), np.zeros(0)


def _checked_seed(seed: int) -> int:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be a whole number of 0 or more, not {seed!r}.")
    return int(seed)


def _require_counts(fleet: Fleet) -> None:
    for name, least in (("replicas", 0), ("batch_size", 1), ("concurrency", 1), ("min_replicas", 0),
                        ("max_replicas", 1), ("reserved", 0), ("queue_limit", 0)):
        value = getattr(fleet, name)
        if value is not None and (not isinstance(value, int | np.integer) or value < least):
            raise InputError(f"{name} must be a whole number of {least} or more, not {value!r}.")
    if fleet.policy is None and fleet.replicas < 1:
        raise InputError("A fleet without a policy needs at least one replica.")
    if fleet.min_replicas > fleet.max_replicas:
        raise InputError(f"min_replicas ({fleet.min_replicas}) is above max_replicas ({fleet.max_replicas}).")
    most = fleet.max_replicas if fleet.policy else fleet.replicas
    if fleet.replicas > most:
        raise InputError(f"{fleet.replicas} replicas are more than max_replicas ({most}): raise it, or start lower.")
    if fleet.reserved > fleet.replicas:
        raise InputError(f"{fleet.reserved} replicas are reserved, and only {fleet.replicas} run: raise replicas, or "
                         "lower reserved.")
