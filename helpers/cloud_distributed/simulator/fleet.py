"""A fleet of replicas behind a load balancer, simulated request by request."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.cloud_distributed.simulator.compiled import (
    BINS,
    DRAWN,
    LAST_RECENT,
    REPLICA,
    RULES,
    SAMPLES,
    SIGNALS,
    SLOT,
    STATE,
    SUMS,
    Balancer,
    Kind,
    Outcome,
    Tally,
    World,
)
from helpers.cloud_distributed.simulator.policies import Policy, compile_policy, unchanged
from helpers.cloud_distributed.simulator.runs import Run
from helpers.cloud_distributed.simulator.service_times import ServiceTimes
from helpers.lab.errors import InputError

_NO_LIMIT = np.iinfo(np.int64).max
_MAX_SAMPLES = 2_000_000
_MAX_EACH = 1_000_000  # requests; beyond, what becomes of each is stored only when it is asked for
_MAX_SAMPLED = 400_000  # of their latencies, for the time series
_LINKS = 4096  # who waits at replicas at a time, at first
BALANCERS = tuple(one.name.lower().replace("_", " ") for one in Balancer)


@dataclasses.dataclass(frozen=True)
class Fleet:
    """What serves the requests.

    Args:
        replicas: how many are ready at the start; without a policy, always.
        balancer: which replica a request goes to when it arrives, to wait there in order of arrival. "least loaded":
            of two at random, the one with fewer requests (Ray Serve, and Envoy's least request; Mitzenmacher, 2001);
            "round robin" (nginx, AWS's load balancers); "random" (a Service of Kubernetes). "central": none of them;
            all share one queue, from which the next free one takes. That is how workers pull from a message queue,
            and a bound for the others: no balancer knows which replica will be free first.
        replica_queue: so many may wait at a replica; when all are full, the others wait in front of them, in order.
            None: no limit. (Ray Serve's max_ongoing_requests is concurrency + replica_queue.)
        policy: decides how many there should be, between min_replicas and max_replicas.
        startup_s: from launch to ready. A replica is paid from its launch on.
        queue_limit: an arrival that would have to wait, and finds so many waiting in all, is dropped; None: there is
            always room.
        timeout_s: who has waited longer leaves; None: nobody does.
        batch_size: requests that a replica works on together, at most.
        batch_delay_s: how long a free replica lets the oldest request wait for its batch to fill.
        concurrency: batches that a replica works on at a time; measure the service times that way.
        reserved: so many of `replicas` are committed: always on, always paid.
        spot_share: of the rest, this part is spot; what remains is on demand.
        failures_per_hour: of each replica; what it works on, and what waits at it, fails. A new one is launched at
            once.
        interruptions_per_hour: of each spot replica. It takes no new work from the notice on, and what is not done
            `notice_s` later fails. A new one is launched at the notice.
        drain_s: how long the clock runs on after the last arrival for those who wait.
        sample_s: between two points of the time series; None: a 720th of the arrivals' time.

    Raises:
        InputError: figures that contradict each other or cannot be.
    """

    replicas: int = 1
    policy: Policy | None = None
    balancer: Literal["least loaded", "round robin", "random", "central"] = "least loaded"
    replica_queue: int | None = None
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
        if self.balancer not in BALANCERS:
            raise InputError(f"Unknown balancer '{self.balancer}'. Choose one of: {', '.join(BALANCERS)}.")
        if self.balancer == "central" and self.replica_queue is not None:
            raise InputError("With the balancer 'central' nobody waits at a replica: leave replica_queue out.")
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
    def one_by_one(self) -> bool:
        """Whether what becomes of a request is known when it is placed, so that a fast path gives the same result."""
        return (self.queue_limit is None and self.replica_queue is None and self.batch_size == 1
                and not self.failures_per_hour and not (self.interruptions_per_hour and self.spot_share))

    @property
    def is_fcfs(self) -> bool:
        """Whether that is so for one queue before a fixed number of slots."""
        return self.one_by_one and self.balancer == "central" and self.policy is None and self.timeout_s is None

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
        A Run. The clock starts at 0 and stops when the last request has left. Of more than a million requests it
        counts latencies in steps of 0.1 %, and simulates again when an array of each request is asked for.

    >>> from helpers.cloud_distributed import Fleet, simulate
    >>> simulate([0.0, 1.0], [2.0, 2.0], Fleet(replicas=1)).latency_s.tolist()
    [2.0, 3.0]

    Raises:
        InputError: arrivals out of order, negative or not finite; service times that do not fit them.
    """
    arrivals = checked_arrivals(arrivals)
    values, rows, weights = _packed_service(service, len(arrivals), fleet.batch_size)
    seeds = np.random.SeedSequence(_checked_seed(seed)).generate_state(3, np.uint64)
    if fleet.is_fcfs:
        return _simulate_fcfs(arrivals, values, rows, weights, seeds, fleet)
    if fleet.one_by_one and fleet.balancer != "central":
        return _simulate_stretches(arrivals, values, rows, weights, seeds, fleet, each=len(arrivals) <= _MAX_EACH)
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
    return Run(arrivals, hours, end_s, queue_s, busy_s, fleet.replicas * fleet.concurrency * end_s, 0, fleet.replicas,
               series, lambda: (wait_s, latency_s, outcome), concurrency=fleet.concurrency)


def _simulate_stretches(arrivals: np.ndarray, values: np.ndarray, rows: np.ndarray, weights: np.ndarray,
                        seeds: np.ndarray, fleet: Fleet, each: bool) -> Run:
    from helpers.cloud_distributed.simulator.fcfs_queue import run_stretches

    world, rules, state, policy = _beginning(arrivals, values, rows, weights, seeds, fleet, len(arrivals) * each, 0)
    state.next_rare_s, state.spare = -1.0, 1
    stride = max(1, -(-len(arrivals) // _MAX_SAMPLED))
    tally = Tally(each, np.zeros(BINS, np.uint32), np.zeros(len(Outcome), np.int64), np.zeros(SUMS), stride,
                  np.full(-(-len(arrivals) // stride), np.nan), np.zeros(len(world.samples) + 1, np.int64),
                  np.zeros(_LINKS), np.append(np.arange(1, _LINKS), 0),
                  np.zeros((len(world.replicas), LAST_RECENT + 1)), np.zeros(len(world.replicas), np.int64),
                  np.zeros((2, DRAWN), np.int64), np.zeros(DRAWN, np.int64), np.zeros(DRAWN), np.zeros(DRAWN),
                  np.zeros(len(world.replicas)))
    while not run_stretches(*policy, world, rules, state[0], tally):
        size = len(tally.link)
        tally = tally._replace(leave_s=np.append(tally.leave_s, np.zeros(size)),
                               link=np.append(tally.link, np.append(np.arange(size + 1, 2 * size), 0)))
        state.spare = size

    def of_each() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if each:
            return world.wait_s, world.latency_s, world.outcome
        return _simulate_stretches(arrivals, values, rows, weights, seeds, fleet, each=True).each()

    return _ended(world, rules, state[0], fleet, of_each, None if each else tally)


def _simulate_events(arrivals: np.ndarray, values: np.ndarray, rows: np.ndarray, weights: np.ndarray,
                     seeds: np.ndarray, fleet: Fleet) -> Run:
    from helpers.cloud_distributed.simulator.event_loop import run_events

    world, rules, state, policy = _beginning(arrivals, values, rows, weights, seeds, fleet, len(arrivals),
                                             len(arrivals))
    run_events(*policy, world, rules, state[0])
    return _ended(world, rules, state[0], fleet, lambda: (world.wait_s, world.latency_s, world.outcome), None)


def _beginning(arrivals: np.ndarray, values: np.ndarray, rows: np.ndarray, weights: np.ndarray, seeds: np.ndarray,
               fleet: Fleet, stored: int, queued: int) -> tuple[World, np.record, np.recarray, tuple]:
    """Arrays, rules and state of a run before its first event, and its policy as the compiled loops take it.

    `stored` requests get a place for what becomes of them, `queued` one in the lists of those who wait.
    """
    policy = fleet.policy or Policy("fixed", unchanged)
    last = float(arrivals[-1]) if len(arrivals) else 0.0
    rules = _rules(fleet, last)
    room = 2 * max(fleet.max_replicas if fleet.policy else 0, fleet.replicas) + 2  # those that drain need rows too
    slots = room * fleet.concurrency
    samples = np.empty((int((last + fleet.drain_s) / rules.sample_s) + 2, len(SAMPLES)), np.int64)
    world = World(arrivals, values, rows, weights, seeds, np.full(stored, np.nan), np.full(stored, np.nan),
                  np.full(stored, Outcome.WAITING, np.int8), np.zeros(room, REPLICA), np.zeros(slots, SLOT),
                  np.full(slots, np.inf), np.zeros(slots, np.int64), np.zeros(slots, np.int64),
                  np.zeros(queued, np.int32), np.zeros(queued, np.int32), np.zeros(room, np.int64), np.zeros(slots),
                  np.zeros(room, np.int64), np.zeros(len(Kind)), samples)
    state = np.zeros(1, STATE).view(np.recarray)
    state.target = fleet.replicas
    state.next_timer_s = np.inf
    state.tick_s = policy.period_s if fleet.policy else np.inf
    return world, rules, state, (compile_policy(policy.decide), np.zeros(max(1, policy.memory)),
                                 np.array(policy.parameters, float), np.zeros(1, SIGNALS)[0])


def _ended(world: World, rules: np.record, final: np.record, fleet: Fleet, of_each: Callable,
           tally: Tally | None) -> Run:
    hours = {kind.name.lower(): float(world.paid_s[kind]) / 3600 for kind in Kind}
    hours["reserved"] = fleet.reserved * float(final.now_s) / 3600  # paid while it restarts too

    def series() -> pd.DataFrame:
        count = int(final.samples)
        return pd.DataFrame({"t_s": rules.sample_s * np.arange(count)} | dict(zip(SAMPLES, world.samples[:count].T,
                                                                                  strict=True)))

    return Run(world.arrivals, hours, float(final.now_s), float(final.queue_s), float(final.busy_s),
               float(final.ready_s) * fleet.concurrency, int(final.cold), int(final.launches), series, of_each, tally,
               fleet.concurrency)


def _rules(fleet: Fleet, last: float) -> np.record:
    """The fleet's figures as the compiled loop reads them."""
    rules = np.zeros(1, RULES).view(np.recarray)
    rules.slots, rules.batch_size, rules.batch_delay_s = fleet.concurrency, fleet.batch_size, fleet.batch_delay_s
    rules.balancer = BALANCERS.index(fleet.balancer)
    rules.replica_queue = _NO_LIMIT if fleet.replica_queue is None else fleet.replica_queue
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
                        ("max_replicas", 1), ("reserved", 0), ("queue_limit", 0), ("replica_queue", 0)):
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
