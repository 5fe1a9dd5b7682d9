"""Where this project writes on a user's machine, and how."""

import atexit
import contextlib
import errno
import functools
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
from safetensors import SafetensorError

from helpers.lab.errors import InputError, reason

SESSION = "HELPERS_SESSION"  # the environment's name for the folder of one visitor's kernel
UPLOADS = "uploaded-files"


def home() -> Path:
    """The folder for the ledger, cached models and harvested data.

    `HELPERS_HOME` overrides the platform's user data folder (tests and shared servers do).

    Raises:
        InputError: the folder cannot be created, or the system knows no home of this user.
    """
    path = own_folder(platformdirs.user_data_path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Nothing can be stored: {whereabouts(path)} cannot be created ({error.strerror}). Set "
                         "HELPERS_HOME to a folder that you may write to.") from error
    return path


def whereabouts(folder: Path) -> str:
    """The folder's name in a sentence; a page's visitors are not told where it lies on the server."""
    return "a folder of the server" if is_page() else f"the folder {folder}"


def own_folder(of_platform: Callable[[str], Path], *below_home: str) -> Path:
    """A folder of this project where the platform has such ones, or below HELPERS_HOME where that is set.

    Args:
        of_platform: name of a program -> folder, as platformdirs.user_log_path.

    Raises:
        InputError: the system knows no home of this user.
    """
    if named := os.environ.get("HELPERS_HOME"):
        return Path(named, *below_home)
    try:
        return of_platform("compute-smarter")
    except RuntimeError as error:  # no HOME, and the user has no entry in the system's list
        raise InputError("This system names no home folder of yours: set HELPERS_HOME to a folder that you may write "
                         "to.") from error
def is_page() -> bool:
    """Whether a visitor of a page may sit at the controls: Voila started this process, or the kernel that did.

    Everything that must differ between the lesson and the page asks here. Whoever is at the controls of a page reads
    none of this machine's files, and leaves none.
    """
    return SESSION in os.environ or any(name.startswith("VOILA_") for name in os.environ)


def visitor_folder() -> Path:
    """Where to write what belongs to one person: on a page the session's folder, in the lesson `home()`."""
    return session() if is_page() else home()


def session() -> Path:
    """A folder that goes when this kernel ends, with all that is in it.

    On a page the server makes it, names it in `HELPERS_SESSION`, and removes it with the kernel, whatever that died of.
    Elsewhere this process makes it, and removes it at its exit.
    """
    named = os.environ.get(SESSION)
    return Path(named) if named else _own_session()


def uploads() -> Path:
    """The folder for files that come through a browser: whoever sent them, nobody has looked into them."""
    return session() / UPLOADS


def is_upload(path: Path) -> bool:
    """Whether a file came through a browser, which the name of its folder tells, in every process.

    >>> from pathlib import Path
    >>> from helpers.lab.paths import is_upload, uploads
    >>> is_upload(uploads() / "rows.csv"), is_upload(Path("rows.csv"))
    (True, False)
    """
    return path.absolute().parent.name == UPLOADS


@functools.cache
def _own_session() -> Path:
    folder = tempfile.mkdtemp(prefix="compute-smarter-session-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def cache(*parts: str) -> Path:
    """A path under the cache folder, its parent created where it can be; where not, nothing is kept (`cached`)."""
    path = home().joinpath("cache", *parts)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path


def quarantine(path: Path) -> Path:
    """Rename a damaged file or folder to a free `.damaged-N` name beside it and return that."""
    number = 1
    while (quarantined := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(quarantined)
    return quarantined


@contextlib.contextmanager
def replacing(path: Path, *, locked: bool = False) -> Iterator[Path]:
    """Write a file or a folder whole or not at all: `with replacing(path) as unfinished: frame.to_csv(unfinished)`.

    What is written to `unfinished`, a path beside `path` with the same suffix, is renamed to `path` at the end, once it
    is on the disk, with the modes that other new files have; after an exception it is removed. The folder of `path` is
    created.

    Args:
        locked: whoever writes `path` holds a lock, so that what a killed process left unfinished can be removed.

    Raises:
        InputError: a full disk or a folder that cannot be written; what `path` held before is unchanged.
    """
    unfinished = path.with_name(f".unfinished-{'' if locked else uuid.uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(unfinished)
        yield unfinished
        _settle(unfinished)
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # nobody takes it for the whole
            _remove(unfinished)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a small file whole or not at all; its folder is created, text is written as UTF-8.

    Raises:
        InputError: a full disk or a folder that cannot be written; what the file held before is unchanged.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(data.encode() if isinstance(data, str) else data)


def unwritable(path: Path, error: Exception) -> InputError:
    """The sentence for a file or folder that cannot be written."""
    return InputError(f"{path.name} cannot be written ({getattr(error, 'strerror', None) or reason(error)}). Free "
                      f"some disk space, or check who may write to {whereabouts(path.parent)}.")


def _settle(path: Path) -> None:
    """Give what was written the modes of new files and folders, and wait until it is on the disk.

    Some libraries write for their user alone (safetensors: 0600), whatever the umask says. And some systems tell that
    a disk is full, or a quota used up, only when they are asked to store what was written.
    """
    of_files = _mode_of_new_files(path)
    for part in [path, *path.rglob("*")] if path.is_dir() else [path]:
        mode = of_files | (of_files & 0o444) >> 2 if part.is_dir() else of_files
        if stat.S_IMODE(part.stat().st_mode) != mode:
            with contextlib.suppress(OSError):  # some disks know no modes
                part.chmod(mode)
        if part.is_file():
            with part.open("r+b") as file:
                _store(file.fileno())


def _store(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # there it cannot be asked for
            raise


def _mode_of_new_files(path: Path) -> int:
    """File permissions by the umask, of 0666; reading the umask would change it for a moment, for all threads."""
    probe = path.with_name(f"{path.name}-mode")
    probe.touch()
    try:
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():  # on a read-only disk even removing nothing is an error
        path.unlink(missing_ok=True)
