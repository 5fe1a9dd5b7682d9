"""Where this project keeps what it makes on a user's machine."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """The folder for the ledger, cached models and harvested data.

    `HELPERS_HOME` overrides the platform's user data folder (tests and shared servers do).
    """
    path = Path(os.environ.get("HELPERS_HOME") or platformdirs.user_data_path("compute-smarter"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def cache(*parts: str) -> Path:
    """A path under the cache folder, its parent created."""
    path = home().joinpath("cache", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to a free `.damaged-N` name beside it and return that."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(aside)
    return aside
