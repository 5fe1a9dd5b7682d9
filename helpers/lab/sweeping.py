"""Independent experiments side by side, on this machine's processes or on a Ray cluster."""

import contextlib
import inspect
import itertools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

import cloudpickle
from joblib.externals.loky import get_reusable_executor

from helpers.lab.errors import InputError, reason
from helpers.lab.machine import usable_cores

# What sets the number of threads of the libraries that an experiment may use: one in each process.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
            "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_MAX_WORKERS = 60  # Windows waits for no more processes at once
_IDLE_S = 60  # until a process without work ends; starting one takes a second
Settings = dict[str, Any]


class SweepError(InputError):
    """Some experiments of a sweep gave no result.

    Attributes:
        finished: (settings, result) of the others, in grid order.
        failed: (settings, what happened) of those.
    """

    def __init__(self, finished: list[tuple[Settings, Any]], failed: list[tuple[Settings, str]]) -> None:
        settings, why = failed[0]
        more = f" {len(failed) - 1} more failed, see this error's `failed`." if failed[1:] else ""
        left = f" The other {len(finished)} results are in this error's `finished`." if finished else ""
        super().__init__(f"{_named(settings)}: {why}{more}{left}")
        self.finished, self.failed = finished, failed


class _Failed:
    """A failure in place of a result: a sentence, and the traceback."""

    def __init__(self, why: str, trace: str = "") -> None:
        self.why, self.trace = why, trace


def sweep(fn: Callable[..., Any], grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
          engine: Literal["local", "ray"] = "local") -> list[tuple[Settings, Any]]:
    """Call `fn(**settings)` for each combination of the grid: [(settings, result), ...] in grid order.

    Quality may run side by side; timing never does, so `fn` must not time anything.

    >>> from helpers.lab import sweep
    >>> sweep(lambda bits, seed: bits * 10 + seed, {"bits": [4, 8], "seed": [0, 1]})[-1]
    ({'bits': 8, 'seed': 1}, 81)

    Args:
        fn: a function that can be sent to another process (one defined in a notebook can).
        grid: name -> values, all combinations; or a list of settings.
        engine: "local", one process a core with one thread each; "ray", the cluster that
            RAY_ADDRESS names, or one started here.

    Raises:
        InputError: unknown engine, a setting that `fn` does not take, or Ray is asked for and not installed.
        SweepError: an experiment raised an error, its process died, or its settings or result could not be sent; the
            error is raised when all others are done, and has their results.
    """
    settings = [dict(one) for one in grid] if not isinstance(grid, Mapping) else [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    _require_accepted(fn, settings)
    if engine not in ("local", "ray"):
        raise InputError(f"Unknown engine '{engine}'. Choose one of: local, ray.")
    outcomes = (_on_processes if engine == "local" else _on_ray)(fn, settings)
    results = list(zip(settings, outcomes, strict=True))
    if failed := [(one, outcome) for one, outcome in results if isinstance(outcome, _Failed)]:
        error = SweepError([pair for pair in results if not isinstance(pair[1], _Failed)],
                           [(one, outcome.why) for one, outcome in failed])
        if failed[0][1].trace:
            error.add_note(f"In the experiment's process:\n{failed[0][1].trace}")
        raise error
    return results


def _on_processes(fn: Callable[..., Any], settings: Sequence[Settings]) -> list[Any]:
    """The results, and a _Failed for each that has none, in the order of the settings."""
    outcomes: dict[int, Any] = {}
    works: dict[int, bytes] = {}
    for place, one in enumerate(settings):
        try:
            works[place] = cloudpickle.dumps((fn, one))
        except Exception as error:  # what cannot be copied says so in many ways
            outcomes[place] = _Failed(f"it cannot be sent to another process ({reason(error)}).")
    outcomes |= _side_by_side(works, min(usable_cores(), _MAX_WORKERS))
    # A process that dies takes its neighbours' work along, and does not say whose it was: each once more, alone.
    for place in [place for place in works if place not in outcomes]:
        alone = _side_by_side({place: works[place]}, 1)
        outcomes[place] = alone.get(place, _Failed("the process that computed it was ended, as for a lack of memory or "
                                                   "a fault of a library."))
    return [outcomes[place] for place in range(len(settings))]


def _side_by_side(works: Mapping[int, bytes], workers: int) -> dict[int, Any]:
    """Place -> the outcome of each work that was done before a process died, if one did."""
    executor = get_reusable_executor(max_workers=workers, timeout=_IDLE_S, env=dict.fromkeys(_THREADS, "1"))
    outcomes: dict[int, Any] = {}
    try:
        places: dict[Future, int] = {}
        for place, work in works.items():
            with contextlib.suppress(BrokenProcessPool):
                places[executor.submit(_attempt, work)] = place
        for future in as_completed(places):
            with contextlib.suppress(BrokenProcessPool):
                outcomes[places[future]] = _read(future.result())
    except BaseException:  # as when the reader interrupts: nothing is left running
        executor.shutdown(wait=True, kill_workers=True)
        raise
    return outcomes


def _attempt(work: bytes) -> bytes:
    """In the other process: the result, or what happened instead, as bytes that can always be sent."""
    try:
        fn, settings = cloudpickle.loads(work)
        return cloudpickle.dumps(fn(**settings))
    except (Exception, SystemExit) as error:
        return cloudpickle.dumps(_failed(error))


def _read(result: bytes) -> Any:
    try:
        return cloudpickle.loads(result)
    except Exception as error:
        return _Failed(f"its result cannot be read in this process ({reason(error)}).")


def _failed(error: BaseException) -> _Failed:
    if isinstance(error, InputError):
        return _Failed(str(error))
    return _Failed(f"{reason(error)}.", traceback.format_exc())


def _on_ray(fn: Callable[..., Any], settings: Sequence[Settings]) -> list[Any]:
    """The same on a cluster, which starts the work of a process that died elsewhere again by itself."""
    with ray_cluster() as ray:
        remote = ray.remote(fn)

        def begun(one: Settings) -> Any:
            try:
                return remote.remote(**one)
            except Exception as error:
                return _Failed(f"it cannot be sent to the cluster ({reason(error)}).")

        def outcome(reference: Any) -> Any:
            try:
                return reference if isinstance(reference, _Failed) else ray.get(reference)
            except Exception as error:
                cause = getattr(error, "cause", None)
                return _failed(cause if isinstance(cause, InputError) else error)

        return [outcome(reference) for reference in [begun(one) for one in settings]]


@contextlib.contextmanager
def ray_cluster() -> Iterator[Any]:
    """The module `ray`, connected to the cluster that RAY_ADDRESS names, or to one started here and stopped at the end.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise InputError("This needs Ray, which is not installed: pip install ray==2.60.0.") from None
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)  # RAY_ADDRESS, where set, is honoured
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _named(settings: Mapping[str, Any]) -> str:
    """Settings for a sentence, long ones cut."""
    shown = (re.sub(r"\s+", " ", repr(value)) for value in settings.values())
    return ", ".join(f"{name}={value if len(value) <= 60 else value[:57] + '...'}"
                     for name, value in zip(settings, shown, strict=True)) or "no settings"


def _require_accepted(fn: Callable[..., Any], settings: Sequence[Mapping[str, Any]]) -> None:
    for one in settings:
        try:
            inspect.signature(fn).bind(**one)
        except TypeError as error:
            names = ", ".join(one) or "no settings"
            raise InputError(f"{fn.__name__} cannot be called with {names}: {error}.") from None
