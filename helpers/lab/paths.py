"""Where this project writes on a user's machine, and how."""

import contextlib
import os
import uuid
from pathlib import Path

import platformdirs

from helpers.lab.errors import InputError


def home() -> Path:
    """The folder for the ledger, cached models and harvested data.

    `HELPERS_HOME` overrides the platform's user data folder (tests and shared servers do).

    Raises:
        InputError: the folder cannot be created.
    """
    path = Path(os.environ.get("HELPERS_HOME") or platformdirs.user_data_path("compute-smarter"))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {path} cannot be created ({error.strerror}). Set HELPERS_HOME to a folder that "
                         "you may write to.") from error
    return path


def cache(*parts: str) -> Path:
    """A path under the cache folder, its parent created."""
    path = home().joinpath("cache", *parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def quarantine(path: Path) -> Path:
    """Rename a damaged file or folder to a free `.damaged-N` name beside it and return that."""
    number = 1
    while (quarantined := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(quarantined)
    return quarantined


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a small file whole or not at all; its folder is created, text is written as UTF-8.

    Raises:
        InputError: a full disk or a folder that cannot be written; what the file held before is unchanged.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(data.encode() if isinstance(data, str) else data)
        unfinished.replace(path)
    except OSError as error:
        raise InputError(f"{path.name} cannot be written ({error.strerror}). Free some disk space, or check who may "
                         f"write to {path.parent}.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
