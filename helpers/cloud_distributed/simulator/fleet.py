"""A fleet of replicas behind a load balancer, and what can be said of one."""

import dataclasses
import math
from typing import Literal

import numpy as np

from helpers.cloud_distributed.simulator.compiled import (
    Balancer,
)
from helpers.cloud_distributed.simulator.policies import Policy
from helpers.lab.errors import InputError

BALANCERS = tuple(one.name.lower().replace("_", " ") for one in Balancer)


@dataclasses.dataclass(frozen=True)
class Fleet:
    """The replicas that serve requests, and their rules.

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
        drain_s: how long the clock runs on after the last arrival for waiting requests.
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
