"""Several computations timed in turns."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def seconds_in_turns(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Name -> (rounds,) seconds. One round runs each once, so that a busy moment hits all alike; one more warms up."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if number:
                found[name].append(time.perf_counter() - began)
    return {name: np.array(seconds) for name, seconds in found.items()}
