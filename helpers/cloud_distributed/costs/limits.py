"""Limits of serverless platforms: memory, time and concurrency, each with its source."""

import functools
from collections.abc import Mapping

from helpers.lab.errors import InputError
from helpers.lab.facts import read_facts

_WORDS = {  # limit -> what is said of a service beyond it
    "memory": "has {limit:g} GB at most; {asked:g} GB were asked for",
    "vCPUs": "has {limit:g} vCPUs at most; {asked:g} were asked for",
    "time": "ends a request after {limit:g} s; the longest of these takes {asked:.3g} s",
    "instances": "runs {limit:g} instances at most; this traffic needs {asked:g} at a time",
    "requests at a time": "gives an instance {limit:g} requests at a time at most; {asked:g} were asked for"}


@functools.cache
def platform_limits() -> dict[str, dict[str, float]]:
    """Each platform of helpers/facts/platform_limits.csv: its limits that are sourced, by name.

    >>> from helpers.cloud_distributed import platform_limits
    >>> platform_limits()["GCP Cloud Run"]["memory"]
    32.0
    """
    limits: dict[str, dict[str, float]] = {}
    for row in read_facts("platform_limits"):
        limits.setdefault(row["platform"], {})[row["limit"]] = float(row["value"])
    return limits


def beyond_limits(platform: str, needs: Mapping[str, float]) -> list[str]:
    """A sentence for each need that the platform does not meet; none where it has no sourced limit.

    Args:
        needs: some of "memory" (GB), "vCPUs", "time" (seconds of the longest request), "instances" and "requests at a
            time".

    Raises:
        InputError: an unknown need.

    >>> from helpers.cloud_distributed import beyond_limits
    >>> beyond_limits("Azure Functions Consumption", {"memory": 3.5})
    ['Azure Functions Consumption has 1.5 GB at most; 3.5 GB were asked for.']
    """
    if unknown := next((name for name in needs if name not in _WORDS), None):
        raise InputError(f"Unknown need '{unknown}'. Choose some of: {', '.join(_WORDS)}.")
    limits = platform_limits().get(platform, {})
    return [f"{platform} {_WORDS[name].format(limit=limits[name], asked=asked)}." for name, asked in needs.items()
            if asked > limits.get(name, asked)]


def require_within(platform: str, needs: Mapping[str, float]) -> None:
    """Refuse what the platform does not take.

    Raises:
        InputError: each limit that is broken, in a sentence.
    """
    if broken := beyond_limits(platform, needs):
        raise InputError(f"{' '.join(broken)} Ask for less, or choose another platform.")
