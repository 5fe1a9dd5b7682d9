"""Models that take long to make, kept on disk."""

import warnings
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from helpers.lab.errors import InputError
from helpers.lab.models.model import Model, load
from helpers.lab.paths import set_aside


def kept(folder: Path, make: Callable[[], Model]) -> Model:
    """The model of a cache folder; where there is none, `make()` gives it, and it appears there whole.

    A second process waits for the first one's model. A damaged one is set aside, said, and made again.
    """
    with FileLock(f"{folder}.lock"):
        if found := _read(folder):
            return found
        model = make()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        model.save(unfinished)
        unfinished.rename(folder)
    return model


def _read(folder: Path) -> Model | None:
    if not folder.exists():
        return None
    try:
        return load(folder)
    except InputError:
        aside = set_aside(folder)
        warnings.warn(f"A cached model could not be read and was set aside as {aside.name}; it is made again.",
                      stacklevel=4)
        return None
