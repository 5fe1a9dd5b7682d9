"""The event loop against a brute-force simulator, and its bookkeeping on any fleet."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.cloud_distributed import (
    Fleet,
    Policy,
    ServiceTimes,
    concurrency_target,
    queue_length,
    ray_serve,
    simulate,
    target_tracking,
    target_utilisation,
)
from helpers.cloud_distributed.simulator.compiled import Outcome
from helpers.cloud_distributed.simulator.event_loop import run_events
from helpers.cloud_distributed.simulator.fleet import BALANCERS
from helpers.cloud_distributed.simulator.simulating import _beginning


def queue_per_slot(signals, memory, parameters):
    """A small policy for the tests: two requests a replica, and never fewer than a third of the present ones."""
    return max((signals.waiting + signals.in_service) / 2.0, signals.ready / 3.0)


def splitmix64(seed, index):
    """The index-th number of the stream, in Python's whole numbers (prng.di.unimi.it/splitmix64.c)."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


class BruteForce:
    """The fleet again, in plain lists: in each step every possible event is looked at."""

    def __init__(self, arrivals, service, fleet):
        self.arrivals, self.service, self.fleet = arrivals.tolist(), service.tolist(), fleet
        self.outcome = [Outcome.WAITING] * len(arrivals)
        self.latency = [math.nan] * len(arrivals)
        self.rows, self.open, self.front, self.paid, self.turn = [], [], [], 0.0, 0
        self.freed = []  # with one queue, the slot that became free last works next
        self.chances = np.random.SeedSequence(0).generate_state(3, np.uint64)[2]
        self.now, self.target = 0.0, fleet.replicas
        self.match(0.0)

    def match(self, startup_s):
        staying = [row for row in self.rows if row and not row.leaving]
        for _ in range(self.target - len(staying)):
            at = self.rows.index(None) if None in self.rows else len(self.rows)
            self.rows[at:at + 1] = [SimpleNamespace(launched=self.now, ready=self.now + startup_s, open=False,
                                                    leaving=False, busy=[], queue=[], at=at)]
        for _ in range(len(staying) - self.target):
            key = {id(row): (1, self.held(row), -row.launched, -row.at) if row.open
                   else (0, -row.launched, -row.at, 0) for row in staying}
            row = min(staying, key=lambda row: key[id(row)])
            staying.remove(row)
            row.leaving = True
            self.open = [one for one in self.open if one is not row]
            self.freed = [one for one in self.freed if one is not row]
        self.settle()

    def settle(self):
        for at, row in enumerate(self.rows):
            if row and not row.leaving and not row.open and row.ready <= self.now:
                row.open = True
                self.open.append(row)
                self.freed += [row] * self.fleet.concurrency
            if row and row.leaving and not row.busy and not row.queue:
                self.paid += self.now - row.launched
                self.rows[at] = None

    def held(self, row):
        return len(row.queue) + sum(size for _, size in row.busy)

    def free(self, row):
        return len(row.busy) < self.fleet.concurrency

    def choose(self, i):
        """As the balancer's name says, among those with room; two at random from the halves of a request's 64 bits."""
        room = math.inf if self.fleet.replica_queue is None else self.fleet.replica_queue
        roomy = [row for row in self.open if self.free(row) or len(row.queue) < room]
        if not roomy:
            return None
        if self.fleet.balancer == "round robin":
            order = [(self.turn + k) % len(self.open) for k in range(len(self.open))]
            place = next(place for place in order if self.open[place] in roomy)
            self.turn = place + 1
            return self.open[place]
        drawn = splitmix64(int(self.chances), i)
        first = (drawn >> 32) * len(roomy) >> 32
        second = (drawn & 0xFFFFFFFF) * max(1, len(roomy) - 1) >> 32
        second += second >= first and len(roomy) > 1
        if self.fleet.balancer == "random":
            return roomy[first]
        return min(roomy[first], roomy[second], key=self.held)

    def ready_to_go(self, queue):
        return len(queue) >= self.fleet.batch_size or self.arrivals[queue[0]] + self.fleet.batch_delay_s <= self.now

    def dispatch(self):
        if self.fleet.balancer == "central":
            while self.front and self.freed and self.ready_to_go(self.front):
                self.start(self.freed.pop(), self.front)
        for row in filter(None, self.rows):
            self.work_off(row)
        while self.front and self.fleet.balancer != "central" and (row := self.choose(self.front[0])):
            row.queue.append(self.front.pop(0))
            self.work_off(row)

    def work_off(self, row):
        while row.queue and self.free(row) and self.ready_to_go(row.queue):
            self.start(row, row.queue)

    def start(self, row, queue):
        batch = [queue.pop(0) for _ in range(min(len(queue), self.fleet.batch_size))]
        end = self.now + max(self.service[i] for i in batch)
        row.busy.append((end, len(batch)))
        assert len(row.busy) <= self.fleet.concurrency
        for i in batch:
            self.outcome[i], self.latency[i] = Outcome.ANSWERED, end - self.arrivals[i]

    def queues(self):
        return [self.front, *(row.queue for row in self.rows if row)]

    def run(self):
        fleet, coming = self.fleet, 0
        tick = fleet.policy.period_s if fleet.policy else math.inf
        patience = math.inf if fleet.timeout_s is None else fleet.timeout_s
        while coming < len(self.arrivals) or any(self.queues()) or any(row and row.busy for row in self.rows):
            times = [tick, *self.arrivals[coming:coming + 1]]
            times += [self.arrivals[i] + patience for queue in self.queues() for i in queue]
            times += [end for row in self.rows if row for end, _ in row.busy]
            times += [row.ready for row in self.rows if row and not row.open and not row.leaving]
            times += [self.arrivals[row.queue[0]] + fleet.batch_delay_s for row in self.rows
                      if row and row.queue and self.free(row)]
            if self.front and self.freed and fleet.balancer == "central":
                times.append(self.arrivals[self.front[0]] + fleet.batch_delay_s)
            self.now = min(times)
            for row in filter(None, self.rows):
                self.freed += [row] * (sum(end == self.now for end, _ in row.busy) * (not row.leaving))
                row.busy = [entry for entry in row.busy if entry[0] != self.now]
            for queue in self.queues():
                for i in [i for i in queue if self.arrivals[i] + patience <= self.now]:
                    queue.remove(i)
                    self.outcome[i] = Outcome.TIMED_OUT
            self.settle()
            self.dispatch()
            if self.now == tick:
                self.ask()
                self.dispatch()
                tick += fleet.policy.period_s
            if coming < len(self.arrivals) and self.now == self.arrivals[coming]:
                self.arrive(coming)
                coming += 1
            self.dispatch()
            self.settle()
        self.paid += sum(self.now - row.launched for row in self.rows if row)

    def arrive(self, i):
        limit = math.inf if self.fleet.queue_limit is None else self.fleet.queue_limit
        row = self.choose(i) if self.fleet.balancer != "central" and not self.front else None
        free = self.freed if self.fleet.balancer == "central" else row and self.free(row)
        if sum(map(len, self.queues())) >= limit and not free:
            self.outcome[i] = Outcome.DROPPED
        else:
            (row.queue if row else self.front).append(i)

    def ask(self):
        working = [row for row in self.rows if row and row.open and not row.leaving]
        in_service = sum(outcome == Outcome.ANSWERED and arrival + latency > self.now for outcome, arrival, latency
                         in zip(self.outcome, self.arrivals, self.latency, strict=True))
        seen = SimpleNamespace(waiting=sum(map(len, self.queues())), in_service=in_service, ready=len(working))
        wanted = math.ceil(queue_per_slot(seen, None, None) - 1e-9)
        self.target = min(max(wanted, self.fleet.min_replicas), self.fleet.max_replicas)
        self.match(self.fleet.startup_s)


@pytest.mark.parametrize("balancer", BALANCERS)
@pytest.mark.parametrize("seed", range(60))
def test_small_fleets_do_what_a_brute_force_simulator_does(seed, balancer):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 80))
    arrivals = np.sort(rng.random(count)) * rng.choice([5.0, 20.0, 60.0])
    service = rng.exponential(1.0, count)
    batch = int(rng.choice([1, 1, 3, 8]))
    fleet = Fleet(replicas=int(rng.integers(1, 5)), concurrency=int(rng.integers(1, 4)), batch_size=batch,
                  batch_delay_s=float(rng.choice([0.0, 0.7])), queue_limit=rng.choice([None, batch, 12]),
                  timeout_s=rng.choice([None, 0.8, 3.0]), startup_s=float(rng.choice([0.0, 1.3])),
                  policy=rng.choice([None, Policy("test", queue_per_slot, period_s=0.9)]), max_replicas=9,
                  balancer=balancer, replica_queue=None if balancer == "central" else rng.choice([None, 0, 2]))
    run = simulate(arrivals, service, fleet)
    expected = BruteForce(arrivals, service, fleet)
    expected.run()
    assert run.outcome.tolist() == expected.outcome
    np.testing.assert_allclose(run.latency_s, expected.latency, rtol=1e-9)
    assert run.replica_hours["on_demand"] * 3600 == pytest.approx(expected.paid)


POLICIES = (None, target_utilisation(period_s=2.0, stabilisation_s=10.0), queue_length(2.0, cooldown_s=3.0),
            concurrency_target(period_s=0.5, stable_s=5.0, panic_s=1.0), ray_serve(2.0, 1.0, 3.0, 2.0),
            target_tracking())
fleets = st.builds(
    lambda policy, lowest, limit, batch, delay, balancer, room, **rest: Fleet(
        policy=policy, min_replicas=lowest, batch_size=batch, batch_delay_s=delay, max_replicas=8,
        queue_limit=None if limit is None else limit + batch, balancer=balancer,
        replica_queue=None if balancer == "central" else room, **rest),
    policy=st.sampled_from(POLICIES), lowest=st.integers(0, 2), limit=st.none() | st.integers(0, 20),
    batch=st.integers(1, 6), delay=st.sampled_from([0.0, 0.3]), balancer=st.sampled_from(BALANCERS),
    room=st.sampled_from([None, None, 0, 3]), replicas=st.integers(2, 5),
    concurrency=st.integers(1, 3), startup_s=st.sampled_from([0.0, 0.5, 4.0]),
    timeout_s=st.sampled_from([None, 0.5, 5.0]), reserved=st.integers(0, 2),
    spot_share=st.sampled_from([0.0, 0.5, 1.0]),
    failures_per_hour=st.sampled_from([0.0, 400.0]), interruptions_per_hour=st.sampled_from([0.0, 900.0]),
    notice_s=st.sampled_from([0.0, 1.0]), drain_s=st.sampled_from([0.0, 2.0, 500.0]))


@settings(max_examples=150, deadline=None)
@given(fleet=fleets, seed=st.integers(0, 2**32), count=st.integers(0, 300), rate=st.sampled_from([1.0, 5.0, 30.0]),
       drawn=st.booleans())
def test_nothing_is_lost_or_doubled_and_littles_law_holds(fleet, seed, count, rate, drawn):
    """Queue length summed over time is the requests' time in the queue, whatever became of them."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, count))
    service = ServiceTimes({1: rng.exponential(0.2, 9), 6: rng.exponential(0.5, 5)}) if drawn \
        else rng.exponential(0.2, count)
    run = simulate(arrivals, service, fleet, seed)
    assert sum(run.counts.values()) == count
    answered = run.outcome == Outcome.ANSWERED
    np.testing.assert_array_equal(np.isnan(run.latency_s), ~answered)
    np.testing.assert_array_equal(np.isnan(run.wait_s), ~answered)
    assert (run.wait_s[answered] >= 0).all()
    assert (run.latency_s[answered] >= run.wait_s[answered]).all()
    if fleet.timeout_s is not None:
        assert (run.wait_s[answered] <= fleet.timeout_s * (1 + 1e-9)).all()
    if run.counts["failed"]:
        return  # when those had left the queue is not told
    rows = run.frame()
    assert (rows["in_service"] <= (fleet.max_replicas * 2 + 2) * fleet.concurrency * fleet.batch_size).all()
    closed = (arrivals[-1] if count else 0.0) + fleet.drain_s
    in_queue = run.wait_s[answered].sum() + (fleet.timeout_s or 0.0) * run.counts["timed_out"] \
        + (closed - arrivals[run.outcome == Outcome.WAITING]).sum()
    assert run.queue_s == pytest.approx(in_queue, rel=1e-6, abs=1e-6)
    assert run.replica_hours["reserved"] == pytest.approx(fleet.reserved * run.end_s / 3600)


@settings(max_examples=80, deadline=None)
@given(fleet=fleets, seed=st.integers(0, 2**32), count=st.integers(1, 200), rate=st.sampled_from([5.0, 30.0]))
def test_no_replica_works_on_more_than_its_concurrency(fleet, seed, count, rate):
    """Per row of the table, whoever has it: single requests that overlap are never more than its slots."""
    rng = np.random.default_rng(seed)
    arrivals, service = np.cumsum(rng.exponential(1 / rate, count)), rng.exponential(0.4, count)
    fleet = dataclasses.replace(fleet, batch_size=1, batch_delay_s=0.0)
    seeds = np.random.SeedSequence(seed).generate_state(3, np.uint64)
    world, rules, state, policy = _beginning(arrivals, service, np.zeros((0, 4), np.int64), np.zeros(0), seeds, fleet,
                                             count, count)
    run_events(*policy, world, rules, state[0])
    served = world.outcome == Outcome.ANSWERED
    where = world.place if fleet.balancer != "central" else np.zeros(count, int)  # one queue: all slots together
    slots = fleet.concurrency * (1 if fleet.balancer != "central" else len(world.replicas))
    for row in np.unique(where[served]):
        mine = served & (where == row)
        begins, ends = arrivals[mine] + world.wait_s[mine], arrivals[mine] + world.latency_s[mine]
        steps = sorted([(end, -1) for end in ends - 1e-9] + [(begin, 1) for begin in begins])
        assert np.cumsum([step for _, step in steps]).max() <= slots
