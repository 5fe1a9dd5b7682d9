"""Scaling policies for language models: on tokens in flight, memory use, time to first token, or requests."""

import math
from typing import Literal

from helpers.cloud_distributed.simulator.policies import Policy
from helpers.lab.errors import InputError

METRICS = ("tokens", "kv use", "ttft", "requests")
_TOLERANCE = 0.1  # Kubernetes' default: a ratio that is off by less changes nothing
_ALMOST = 1e-9


def serving_target(metric: Literal["tokens", "kv use", "ttft", "requests"], target: float, *, period_s: float = 15.0,
                   stabilisation_s: float = 300.0) -> Policy:
    """A HorizontalPodAutoscaler on what a language model's servers report, as KServe and KEDA set it up.

    Args:
        metric: "tokens" or "requests" in flight, for each replica; "kv use", the share of the memory for keys and
            values that sequences hold; "ttft", mean seconds to the first token since the last decision.
        target: of it.
        stabilisation_s: replicas are given up when nothing in so many seconds asked for them.

    ceil(ready * metric / target), unless it is within a tenth of that. Its limits on how many replicas come at once are
    left out. The memory's share cannot exceed 1: above a target of 0.8 it asks for a quarter more at a time, however
    many wait. Where requests are there and no first token came since the last decision, "ttft" changes nothing.

    >>> from helpers.cloud_distributed import serving_target
    >>> serving_target("kv use", 0.7).name
    'kv use 0.7'

    Raises:
        InputError: an unknown metric, or figures that cannot be.
    """
    if metric not in METRICS:
        raise InputError(f"Unknown metric '{metric}'. Choose one of: {', '.join(METRICS)}.")
    if (not 0 < target < math.inf or not 0 <= stabilisation_s < math.inf or not period_s > 0
            or (metric == "kv use" and target > 1)):
        raise InputError("A target and a period are above 0 (a share of memory at most 1), and the window 0 s or "
                         f"more; got {target}, {period_s} and {stabilisation_s}.")
    size = 1 + math.ceil(stabilisation_s / period_s)
    return Policy(f"{metric} {target:g}", _serving_target, (METRICS.index(metric), target, size), period_s,
                  memory=2 + size)


def _serving_target(signals, memory, parameters):
    # memory: how many decisions there were, replicas at the first; then a ring of what was proposed
    metric, target, size = int(parameters[0]), parameters[1], int(parameters[2])
    if metric == 0:
        wanted = signals.tokens / target
    elif metric == 1:
        wanted = signals.ready * signals.kv_use / target
    elif metric == 2:
        unknown = signals.ttft_s == 0.0 and signals.waiting + signals.in_service > 0  # no first token since then
        wanted = signals.ready * (1.0 if unknown else signals.ttft_s / target)
    else:
        wanted = (signals.waiting + signals.in_service) / target
    present, proposal = signals.target, signals.target
    if signals.ready > 0 and abs(wanted / signals.ready - 1.0) > _TOLERANCE:
        proposal = math.ceil(wanted - _ALMOST)
    elif signals.ready == 0 and signals.starting == 0 and signals.waiting > 0:
        proposal = 1.0
    count = int(memory[0])
    if count == 0:
        memory[1] = present
    memory[0] = count + 1
    memory[2 + count % size] = proposal
    if proposal >= present:
        return proposal
    highest = memory[1] if count < size else 0.0
    for k in range(min(count + 1, size)):
        highest = max(highest, memory[2 + k])
    return min(present, highest)
