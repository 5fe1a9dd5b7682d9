"""Independent experiments side by side, on this machine's processes or on a Ray cluster."""

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import joblib

from helpers.lab.errors import InputError
from helpers.lab.machine import usable_cores


def sweep(fn: Callable[..., Any], grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
          engine: Literal["local", "ray"] = "local") -> list[tuple[dict[str, Any], Any]]:
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
    """
    settings = list(grid) if not isinstance(grid, Mapping) else [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    _require_accepted(fn, settings)
    if engine == "local":
        with joblib.parallel_config("loky", n_jobs=usable_cores(), inner_max_num_threads=1):
            results = joblib.Parallel()(joblib.delayed(fn)(**one) for one in settings)
    elif engine == "ray":
        with ray_cluster() as ray:
            remote = ray.remote(fn)
            results = ray.get([remote.remote(**one) for one in settings])
    else:
        raise InputError(f"Unknown engine '{engine}'. Choose one of: local, ray.")
    return list(zip(settings, results, strict=True))


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


def _require_accepted(fn: Callable[..., Any], settings: Sequence[Mapping[str, Any]]) -> None:
    for one in settings:
        try:
            inspect.signature(fn).bind(**one)
        except TypeError as error:
            names = ", ".join(one) or "no settings"
            raise InputError(f"{fn.__name__} cannot be called with {names}: {error}.") from None
