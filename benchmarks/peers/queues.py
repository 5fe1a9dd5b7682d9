"""The same fleets in SimPy and Ciw, written as their documentation does, as peers of the simulator."""

import collections
import math
import random
from types import SimpleNamespace

import ciw
import numpy as np
import simpy

from helpers.cloud_distributed import Fleet


def simpy_fcfs(rate: float, mean_s: float, servers: int, count: int, seed: int) -> float:
    """M/M/c as in SimPy's 'Bank renege' example: a resource, a process for each customer. Returns the mean wait."""
    env, rng, waits = simpy.Environment(), random.Random(seed), []
    counter = simpy.Resource(env, capacity=servers)

    def customer():
        arrived = env.now
        with counter.request() as turn:
            yield turn
            waits.append(env.now - arrived)
            yield env.timeout(rng.expovariate(1 / mean_s))

    def source():
        for _ in range(count):
            env.process(customer())
            yield env.timeout(rng.expovariate(rate))

    env.process(source())
    env.run()
    return float(np.mean(waits))


def ciw_fcfs(rate: float, mean_s: float, servers: int, count: int, seed: int) -> float:
    """M/M/c as in Ciw's first tutorial. Returns the mean wait."""
    ciw.seed(seed)
    network = ciw.create_network(arrival_distributions=[ciw.dists.Exponential(rate=rate)],
                                 service_distributions=[ciw.dists.Exponential(rate=1 / mean_s)],
                                 number_of_servers=[servers])
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(count, method="Finish")
    return float(np.mean([record.waiting_time for record in simulation.get_all_records()]))


class SimpyFleet:
    """Queue limit, time-outs, batches, start-up and a scaling policy, with SimPy's clock and events."""

    def __init__(self, arrivals: np.ndarray, service: np.ndarray, fleet: Fleet) -> None:
        self.env, self.fleet = simpy.Environment(), fleet
        self.arrivals, self.service = arrivals.tolist(), service.tolist()
        self.latency = [math.nan] * len(arrivals)
        self.queue: collections.deque[int] = collections.deque()
        self.idle: list[SimpleNamespace] = []
        self.replicas: list[SimpleNamespace] = []
        self.target, self.left = fleet.replicas, len(arrivals)
        self.busy, self.seen_s, self.busy_s, self.ready_s = 0, 0.0, 0.0, 0.0
        self.over = self.env.event()

    def run(self) -> list[float]:
        """Seconds to each answer; NaN where none came."""
        self.match(0.0)
        self.env.process(self.source())
        self.env.process(self.controller())
        self.env.run(until=self.over)
        return self.latency

    def source(self):
        for i, arrival in enumerate(self.arrivals):
            yield self.env.timeout(arrival - self.env.now)
            self.expire()
            if len(self.queue) >= self.fleet.queue_limit and not self.idle:
                self.leave(1)
                continue
            self.queue.append(i)
            self.dispatch()
            if self.queue:
                self.env.timeout(self.fleet.batch_delay_s).callbacks.append(self.dispatch)

    def account(self) -> None:
        """Busy and ready seconds up to now; to be called before either number changes."""
        passed, self.seen_s = self.env.now - self.seen_s, self.env.now
        self.busy_s += self.busy * passed
        self.ready_s += sum(one.open for one in self.replicas) * passed

    def leave(self, count: int) -> None:
        self.left -= count
        if not self.left:
            self.over.succeed()

    def expire(self) -> None:
        while self.queue and self.arrivals[self.queue[0]] + self.fleet.timeout_s < self.env.now:
            self.queue.popleft()
            self.leave(1)

    def dispatch(self, _: simpy.Event | None = None) -> None:
        self.expire()
        while self.queue and self.idle and (
                len(self.queue) >= self.fleet.batch_size
                or self.arrivals[self.queue[0]] + self.fleet.batch_delay_s <= self.env.now + 1e-12):
            batch = [self.queue.popleft() for _ in range(min(len(self.queue), self.fleet.batch_size))]
            self.env.process(self.serve(self.idle.pop(), batch))

    def serve(self, replica: SimpleNamespace, batch: list[int]):
        seconds = max(self.service[i] for i in batch)
        self.account()
        replica.busy = True
        self.busy += 1
        yield self.env.timeout(seconds)
        for i in batch:
            self.latency[i] = self.env.now - self.arrivals[i]
        self.account()
        replica.busy = False
        self.busy -= 1
        self.leave(len(batch))
        if not replica.leaving:
            self.idle.append(replica)
            self.dispatch()

    def controller(self):
        policy = self.fleet.policy
        memory, parameters = np.zeros(policy.memory), np.array(policy.parameters)
        while True:
            busy_s, ready_s = self.busy_s, self.ready_s
            yield self.env.timeout(policy.period_s)
            self.account()
            ready = sum(one.open for one in self.replicas)
            utilisation = (self.busy_s - busy_s) / (self.ready_s - ready_s) if self.ready_s > ready_s else 0.0
            signals = SimpleNamespace(now_s=self.env.now, ready=ready, starting=len(self.replicas) - ready,
                                      target=self.target, utilisation=utilisation)
            wanted = math.ceil(policy.decide(signals, memory, parameters) - 1e-9)
            self.target = min(max(wanted, self.fleet.min_replicas), self.fleet.max_replicas)
            self.match(self.fleet.startup_s)

    def match(self, startup_s: float) -> None:
        for _ in range(self.target - len(self.replicas)):
            replica = SimpleNamespace(open=False, busy=False, leaving=False)
            self.replicas.append(replica)
            self.env.process(self.start(replica, startup_s))
        for _ in range(len(self.replicas) - self.target):
            replica = min(self.replicas, key=lambda one: (one.open, one.busy))
            replica.leaving = True
            self.replicas.remove(replica)
            if replica in self.idle:
                self.idle.remove(replica)

    def start(self, replica: SimpleNamespace, startup_s: float):
        if startup_s:
            yield self.env.timeout(startup_s)
        self.account()
        if not replica.leaving:
            replica.open = True
            self.idle.append(replica)
            self.dispatch()
