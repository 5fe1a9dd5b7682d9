"""What takes long to compute, cached on disk."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from helpers.lab.errors import InputError
from helpers.lab.paths import quarantine, replacing

Value = TypeVar("Value")


def cached(path: Path, make: Callable[[], Value], *, read: Callable[[Path], Value],
           write: Callable[[Value, Path], None]) -> Value:
    """The value in the cache entry `path`; where there is none, `make()` computes it and the entry is written.

    An entry appears whole or not at all: it is written beside its place, then renamed. A second process that
    asks for the same entry waits for the first one's. An entry that cannot be read is quarantined under another
    name with a warning and made again. Where the entry cannot be written (full disk, read-only folder), a warning
    says so and the value is returned all the same.

    Args:
        path: the entry, a file or a folder; part of its name tells what it was made from, so it is never stale.
        make: computes the value; what it raises (`Cancelled` too) leaves no entry.
        read: the value of an entry; any exception means that the entry is damaged.
        write: writes a value to the path that it is given, which has the suffix of `path`.

    >>> import json, tempfile
    >>> from pathlib import Path
    >>> entry = Path(tempfile.mkdtemp()) / "squares-3.json"
    >>> def read(path): return json.loads(path.read_text())
    >>> def write(value, path): path.write_text(json.dumps(value))
    >>> cached(entry, lambda: [n * n for n in range(3)], read=read, write=write)
    [0, 1, 4]
    >>> cached(entry, lambda: 1 / 0, read=read, write=write)
    [0, 1, 4]
    """
    with _lock(path):
        if path.exists():
            try:
                return read(path)
            except Exception:  # damage shows in many ways: each format raises errors of its own
                quarantined = quarantine(path)
                warnings.warn(f"The cache entry {path.name} could not be read and was quarantined as "
                              f"{quarantined.name}; it is made again.", stacklevel=2)
        value = make()
        try:
            with replacing(path, locked=True) as unfinished:
                write(value, unfinished)
        except (InputError, OSError) as error:
            warnings.warn(f"The cache entry {path.name} could not be written and will be made again next time: "
                          f"{error}", stacklevel=2)
    return value


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Wait for the entry's other users; in a folder that cannot be written nobody can make it, so none waits."""
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
