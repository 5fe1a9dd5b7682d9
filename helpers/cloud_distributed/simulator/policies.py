"""Scaling policies: plain functions of what is seen, what was remembered, and their settings.

A policy's function is called every `period_s` and answers how many replicas there should be:

    def decide(signals, memory, parameters):
        return (signals.waiting + signals.in_service) / parameters[0]

    Fleet(replicas=2, policy=Policy("mine", decide, parameters=(4.0,), period_s=5.0))

`signals` has now_s, elapsed_s (since the last call), ready, starting, target, waiting, in_service, arrived
(since the last call), ongoing (waiting and in service, mean since the last call) and utilisation (busy share of
ready capacity since the last call); of a fleet of language models (`serve_llm`) also tokens in flight, kv_use (share
of the memory for keys and values that is held) and ttft_s (mean time to the first token since the last call).
`memory` is (m,) float64, zero at first, for the function to write to.
`parameters` is (p,) float64. The answer is rounded up and kept between the fleet's min_replicas and max_replicas;
NaN changes nothing. The function is compiled by numba, and can be called in plain Python too. It runs without Python's
lock, where nothing could end it: so it is read first, and what calls Python (as `print` does) or may never end is
refused.
"""

import builtins
import dataclasses
import dis
import functools
import inspect
import math
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

from helpers.cloud_distributed.simulator.compiled import SIGNALS
from helpers.lab.errors import InputError, reason

_VECTOR = numba.float64[::1]
_SIGNATURE = numba.float64(numba.from_dtype(SIGNALS), _VECTOR, _VECTOR)
_BUILTINS = frozenset({"abs", "bool", "divmod", "enumerate", "float", "int", "len", "max", "min", "range", "round",
                       "zip"})
_REFUSED = {"RAISE_VARARGS": "raises an error", "PUSH_EXC_INFO": "catches errors", "BEFORE_WITH": "has a with block",
            "IMPORT_NAME": "imports something", "YIELD_VALUE": "is a generator", "BUILD_STRING": "makes a text",
            **dict.fromkeys(("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC"), "makes a text")}
_MAX_STEPS = 300_000  # lines of one decision
# What it is tried on: before the first second, at rest, under water, and with nothing there.
_TRIALS = tuple(dict(zip(SIGNALS.names, (*seen, 0, 0, 0), strict=True)) for seen in (
    (0, 0, 1, 0, 1, 0, 0, 0, 0, 0), (60, 60, 1, 0, 1, 0, 0, 0, 0, 0), (120, 60, 4, 2, 6, 1000, 4, 600, 900, 1),
    (180, 60, 0, 0, 0, 3, 0, 3, 2, 0)))


@dataclasses.dataclass(frozen=True)
class Policy:
    """A named function with its settings.

    Args:
        decide: see the module's description.
        memory: how many numbers it remembers.
        wakes: an arrival that finds no replica at all brings the next decision forward.

    Raises:
        InputError: a period that is not positive, settings that are no numbers, or a function that calls Python, reads
            beyond `memory` or `parameters`, or does not come to an end.
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
        if not isinstance(self.decide, types.FunctionType):
            raise InputError(f"The policy '{self.name}' needs a function written with def, not a "
                             f"{type(self.decide).__name__}.")
        if not _is_compiled_inside(self.decide):
            _require_an_end(self)


@functools.cache
def compile_policy(decide: Callable[..., float]) -> Any:
    """A policy's function as machine code that the event loop calls.

    Raises:
        InputError: numba cannot compile it.
    """
    try:
        try:
            return numba.cfunc(_SIGNATURE, error_model="numpy", cache=_has_source(decide))(decide)
        except RuntimeError:  # typed at a prompt: there is no file to keep it beside
            return numba.cfunc(_SIGNATURE, error_model="numpy")(decide)
    except numba.core.errors.NumbaError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "unknown reason").strip()
        raise InputError(f"The policy function '{decide.__name__}' cannot be compiled: {reason} "
                         "Use numbers, `math`, `signals`, `memory` and `parameters` only.") from None


def _has_source(function: Callable[..., float]) -> bool:
    """Whether numba finds the text that it keeps compiled code by: not of a cell's function in another process."""
    try:
        return bool(inspect.getsource(function))
    except (OSError, TypeError):
        return False


@functools.cache
def _is_compiled_inside(function: types.FunctionType) -> bool:
    """Refuse a function that cannot run without Python; whether it calls others that are compiled already."""
    parts = [list(dis.get_instructions(code)) for code in _codes(function.__code__)]
    for steps in parts:
        if wrong := next((_REFUSED[step.opname] for step in steps if step.opname in _REFUSED), None):
            raise _refused(function, wrong)
        loops = _loops(steps)
        if any("JUMP_BACKWARD" in step.opname and step.argval not in loops for step in steps):
            raise _refused(function, "has a while loop, which may never end (for and range do)")
    around = {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (),
                                                             strict=True)}
    read = {step.argval for steps in parts for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return any([*(_is_compiled(function, name, function.__globals__) for name in sorted(read)),
                *(_is_compiled(function, name, around) for name in around)])


def _is_compiled(function: types.FunctionType, name: str, known: Mapping[str, Any]) -> bool:
    """Whether a name stands for a compiled function; refused where it stands for what needs Python."""
    if name not in known and name in _BUILTINS:
        return False
    if name not in known and not hasattr(builtins, name):
        raise _refused(function, f"uses '{name}', which is not defined")
    value = known.get(name)
    if isinstance(value, Dispatcher):
        _is_compiled_inside(value.py_func)
        return True
    is_maths = value is math or value is np or getattr(value, "__module__", None) == "math"
    if not is_maths and not isinstance(value, int | float | tuple | np.number | np.bool_ | np.ndarray | np.ufunc):
        raise _refused(function, f"uses '{name}'")
    return False


def _loops(steps: list[dis.Instruction]) -> set[int]:
    """Where for loops begin: the places to which these jump back."""
    unsafe, prefix = set(), []
    for step in steps:
        prefix.append(step.offset)
        if step.opname == "EXTENDED_ARG":  # part of the step that follows
            continue
        if step.opname == "FOR_ITER":
            unsafe.update(prefix)
        prefix = []
    return unsafe


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _codes(inner)


def _require_an_end(policy: Policy) -> None:
    """Try a function in plain Python, where a step too many can be stopped and a place that is not there shows."""
    memory, parameters, left = np.zeros(max(1, policy.memory)), np.array(policy.parameters, float), 0

    def step(_frame: Any, _event: str, _value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return step

    before = sys.gettrace()
    for seen in _TRIALS:
        left = _MAX_STEPS
        signals = types.SimpleNamespace(**{name: np.float64(value) for name, value in seen.items()})
        try:
            sys.settrace(step)
            with np.errstate(all="ignore"):
                policy.decide(signals, memory, parameters)
        except (ArithmeticError, ValueError):
            continue  # such as 1 / 0, which is infinite in compiled code
        except TimeoutError:
            raise _refused(policy.decide, f"takes more than {_MAX_STEPS:,} steps for one decision") from None
        except IndexError as error:
            raise _refused(policy.decide, f"reads or writes a place that is not there ({error}; memory has "
                                          f"{len(memory)} numbers, parameters {len(parameters)})") from None
        except Exception as error:
            raise _refused(policy.decide, f"fails ({reason(error)})") from None
        finally:
            sys.settrace(before)


def _refused(function: types.FunctionType, what: str) -> InputError:
    return InputError(f"The policy function '{function.__name__}' {what}. It runs as machine code, where that would "
                      "stop everything: use numbers, `math`, `signals`, `memory` and `parameters` only.")


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
