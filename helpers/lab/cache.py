"""Results that take long to compute, cached on disk."""

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from helpers.lab.errors import InputError, NotStored, reason
from helpers.lab.paths import quarantine, replacing, write_atomically

Value = TypeVar("Value")
_unwritten: dict[Path, Any] = {}  # values whose entries could not be written, for as long as this process lives


def cached(path: Path, make: Callable[[], Value], *, read: Callable[[Path], Value],
           write: Callable[[Value, Path], None]) -> Value:
    """The value in the cache entry `path`; where there is none, `make()` computes it and the entry is written.

    An entry appears whole or not at all: it is written beside its place, then renamed. A second process that
    asks for the same entry waits for the first one's. A digest is kept beside it: an entry that has changed since it
    was written, or cannot be read, is quarantined under another name with a warning and made again. Where the entry
    cannot be written (full disk, read-only folder), a warning says so and the value is returned all the same; while the
    process lives it is kept, and writing it is tried again whenever it is asked for.

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
                _require_unchanged(path)
                return read(path)
            except Exception:  # damage shows in many ways: each format raises its own errors
                warnings.warn(f"The cache entry {path.name} could not be read and {_set_aside(path)}; it is made "
                              "again.", NotStored, stacklevel=2)
        value = _unwritten.pop(path) if path in _unwritten else make()
        try:
            with replacing(path, locked=True) as unfinished:
                write(value, unfinished)
            write_atomically(_digest_file(path), _digest(path))
        except Exception as error:  # nor does each library that writes say in the same way that a disk is full
            _unwritten[path] = value
            said = error if isinstance(error, InputError) else f"{reason(error)}."
            warnings.warn(f"The cache entry {path.name} could not be written: {said} What it holds is kept while this "
                          "program runs, and made again after that.", NotStored, stacklevel=2)
    return value


def _require_unchanged(path: Path) -> None:
    """Refuse an entry whose bytes are others than were written; one that a kill left without its digest is whole."""
    digest = _digest_file(path)
    if not digest.exists():
        with contextlib.suppress(InputError):  # in a folder that cannot be written it is kept nowhere
            write_atomically(digest, _digest(path))
    elif digest.read_text(encoding="utf-8") != _digest(path):
        raise ValueError("the entry has changed since it was written")


def _set_aside(path: Path) -> str:
    """Quarantine a damaged entry, and say what became of it."""
    try:
        _digest_file(path).unlink(missing_ok=True)
        return f"was quarantined as {quarantine(path).name}"
    except OSError as error:
        return f"cannot be moved ({error.strerror})"


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(path: Path) -> str:
    """64 hex digits over a file, or over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            with part.open("rb") as file:
                digest.update(part.relative_to(path).as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


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
