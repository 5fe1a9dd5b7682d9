"""Scaling policies: plain functions of what is seen, what was remembered, and their settings.

A policy's function is called every `period_s` and answers how many replicas there should be:

    def decide(signals, memory, parameters):
        return (signals.waiting + signals.in_service) / parameters[0]

    Fleet(replicas=2, policy=Policy("mine", decide, parameters=(4.0,), period_s=5.0))

`signals` has now_s, elapsed_s (since the last call), ready, starting, target, waiting, in_service, arrived
(since the last call), ongoing (waiting and in service, mean since the last call) and utilisation (busy share of
ready capacity since the last call). `memory` is (m,) float64, zero at first, for the function to write to.
`parameters` is (p,) float64. The answer is rounded up and kept between the fleet's min_replicas and max_replicas;
NaN changes nothing. The function is compiled by numba, and can be called in plain Python too.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np

from helpers.cloud_distributed.simulator.compiled import SIGNALS
from helpers.lab.errors import InputError

_VECTOR = numba.float64[::1]
_SIGNATURE = numba.float64(numba.from_dtype(SIGNALS), _VECTOR, _VECTOR)


@dataclasses.dataclass(frozen=True)
class Policy:
    """A named function with its settings.

    Args:
        decide: see the module's description.
        memory: how many numbers it remembers.
        wakes: an arrival that finds no replica at all brings the next decision forward.

    Raises:
        InputError: a period that is not positive, or settings that are no numbers.
    """

    name: str
    decide: Callable[[Any, np.ndarray, np.ndarray], float]
    parameters: tuple[float, ...] = ()
    period_s: float = 15.0
    memory: int = 1
    wakes: bool = False

    def __post_init__(self) -> None:
        if not (self.period_s > 0 and math.isfinite(self.period_s)):
            raise InputError(f"The policy '{self.name}' needs a period of more than 0 seconds, not {self.period_s}.")
        if not np.isfinite(np.asarray(self.parameters, float)).all():
            raise InputError(f"The policy '{self.name}' needs finite numbers as parameters, not {self.parameters}.")


@functools.cache
def compile_policy(decide: Callable[..., float]) -> Any:
    """A policy's function as machine code that the event loop calls.

    Raises:
        InputError: numba cannot compile it.
    """
    try:
        try:
            return numba.cfunc(_SIGNATURE, error_model="numpy", cache=True)(decide)
        except RuntimeError:  # typed at a prompt: there is no file to keep it beside
            return numba.cfunc(_SIGNATURE, error_model="numpy")(decide)
    except numba.core.errors.NumbaError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "unknown reason").strip()
        raise InputError(f"The policy function '{decide.__name__}' cannot be compiled: {reason} "
                         "Use numbers, `math`, `signals`, `memory` and `parameters` only.") from None


def unchanged(signals, memory, parameters):
    """Change nothing: the policy of a fleet that has none."""
    return signals.target


def schedule(replicas_from: Mapping[float, int], cycle_s: float = 86_400.0, period_s: float = 60.0) -> Policy:
    """So many replicas from each second of the cycle on: schedule({0: 2, 8 * 3600: 10, 20 * 3600: 3}).

    Raises:
        InputError: no entry, or a second outside of the cycle.
    """
    if not replicas_from or not all(0 <= second < cycle_s for second in replicas_from):
        raise InputError(f"A schedule needs replicas for one or more seconds from 0 to below {cycle_s:g}.")
    pairs = [number for entry in sorted(replicas_from.items()) for number in entry]
    return Policy("schedule", _schedule, (cycle_s, *pairs), period_s)


def _schedule(signals, memory, parameters):
    second = signals.now_s % parameters[0]
    replicas = parameters[len(parameters) - 1]  # before the first entry, the last one of the cycle before holds
    for k in range(1, len(parameters), 2):
        if parameters[k] <= second:
            replicas = parameters[k + 1]
    return replicas


def predictive(capacity_per_s: float, target: float = 0.7, season_s: float = 86_400.0, lead_s: float = 300.0,
               period_s: float = 60.0) -> Policy:
    """Seasonal forecast: what arrived at this time of the last season, scaled by how today compares with it.

    Args:
        capacity_per_s: requests that one replica answers in a second.
        target: the utilisation to plan for.
        lead_s: how far ahead to look; the start-up time and some more.

    A seasonal naive forecast with a level (Hyndman and Athanasopoulos, Forecasting, 3rd ed., section 5.2). In the
    first season there is nothing to look back to, and the present rate is taken.

    Raises:
        InputError: a figure that is not positive, or a season that is no multiple of the period.
    """
    if min(capacity_per_s, target, season_s, period_s) <= 0 or lead_s < 0:
        raise InputError("predictive needs a positive capacity, target, season and period.")
    steps = round(season_s / period_s)
    if steps < 2 or abs(steps * period_s - season_s) > 1e-6 * season_s:
        raise InputError(f"The season of {season_s:g} s must be two or more periods of {period_s:g} s.")
    parameters = (capacity_per_s * target, steps, math.ceil(lead_s / period_s))
    return Policy("predictive", _predictive, parameters, period_s, memory=3 + steps)


def _predictive(signals, memory, parameters):
    per_replica, steps, ahead = parameters[0], int(parameters[1]), int(parameters[2])
    if signals.elapsed_s <= 0:
        return signals.target
    rate = signals.arrived / signals.elapsed_s
    ticks = int(memory[0])
    at = ticks % steps
    memory[0] += 1
    before = memory[3 + at]  # the same time of the last season
    weight = 1.0 if ticks == 0 else 0.2
    memory[1] += weight * (rate - memory[1])
    forecast = rate
    if ticks >= steps:
        memory[2] += (1.0 if ticks == steps else 0.2) * (before - memory[2])
        level = min(max(memory[1] / memory[2], 0.25), 4.0) if memory[2] > 0 else 1.0
        for k in range(1, ahead + 2):
            forecast = max(forecast, level * memory[3 + (at + k) % steps])
    memory[3 + at] = rate
    return forecast / per_replica
