"""A fleet, simulated request by request."""

from collections.abc import Callable

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
    Kind,
    Outcome,
    Tally,
    World,
)
from helpers.cloud_distributed.simulator.fleet import BALANCERS, Fleet
from helpers.cloud_distributed.simulator.policies import Policy, compile_policy, unchanged
from helpers.cloud_distributed.simulator.runs import Run
from helpers.cloud_distributed.simulator.service_times import ServiceTimes
from helpers.lab.errors import InputError

_NO_LIMIT = np.iinfo(np.int64).max
_MAX_SAMPLES = 2_000_000
_MAX_EACH = 1_000_000  # requests; beyond, what becomes of each is stored only when it is asked for
_MAX_SAMPLED = 400_000  # of their latencies, for the time series
_LINKS = 4096  # who waits at replicas at a time, at first


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
        counts latencies in steps of 0.1%, and simulates again when an array of each request is asked for.

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
    from helpers.cloud_distributed.simulator.fast_paths.one_queue import count_by_interval, serve_in_order

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
    from helpers.cloud_distributed.simulator.fast_paths.stretches import run_stretches

    world, rules, state, policy = _beginning(arrivals, values, rows, weights, seeds, fleet, len(arrivals) * each, 0)
    state.next_rare_s, state.spare = -1.0, 1
    stride = max(1, -(-len(arrivals) // _MAX_SAMPLED))
    tally = Tally(each, np.zeros(BINS, np.uint32), np.zeros(len(Outcome), np.int64), np.zeros(SUMS), stride,
                  np.full(-(-len(arrivals) // stride), np.nan), np.zeros(len(world.samples) + 1, np.int64),
                  np.zeros(_LINKS), np.append(np.arange(1, _LINKS), 0),
                  np.zeros((len(world.replicas), LAST_RECENT + 1)), np.zeros(len(world.replicas), np.int64),
                  np.zeros((2, DRAWN), np.int64), np.zeros(DRAWN, np.int64), np.zeros(DRAWN), np.zeros(DRAWN),
                  np.zeros(len(world.replicas)), np.zeros(4, np.int64))
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

    `stored` requests get a place for what becomes of them, `queued` one in the waiting lists.
    """
    policy = fleet.policy or Policy("fixed", unchanged)
    last = float(arrivals[-1]) if len(arrivals) else 0.0
    rules = _rules(fleet, last)
    room = 2 * max(fleet.max_replicas if fleet.policy else 0, fleet.replicas) + 2  # draining replicas need rows too
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
    from helpers.cloud_distributed.simulator.fast_paths.one_queue import first_out_of_order

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
