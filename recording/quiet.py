"""Nothing is timed while other processes use the cores."""

import time

import psutil

from helpers.lab import InputError
from helpers.lab.machine import usable_cores

BUSY, LOOK_S, PATIENCE_S = 0.1, 2.0, 600.0  # cores that others may use while we time; how long to look, and to wait


def wait_until_quiet() -> None:
    """Return once other processes use next to none of the cores.

    Raises:
        InputError: they still do after some minutes.
    """
    until = time.monotonic() + PATIENCE_S
    while (used := psutil.cpu_percent(LOOK_S) / 100 * (psutil.cpu_count() or 1)) > BUSY:
        if time.monotonic() > until:
            raise InputError(f"Other processes use {used:.1f} of {usable_cores()} cores, so nothing can be timed here. "
                             "End them and start again: what is done is kept.")
        print(f"waiting: other processes use {used:.1f} cores", flush=True)
