"""Where records are kept: one SQLite file that many processes may write at once."""

import contextlib
import dataclasses
import sqlite3
import threading
import types
import typing
import urllib.parse
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from helpers.lab.errors import InputError, NotStored, reason
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.paths import home, quarantine, whereabouts

# What makes a ledger of version n one of n + 1. A file's version is SQLite's user_version: 0 in a new file, and in
# those of before there were versions, whose table is the first migration's.
_MIGRATIONS = ("""
CREATE TABLE IF NOT EXISTS measurements (
    id TEXT PRIMARY KEY,      -- given when it was measured: writing it twice keeps one
    key TEXT NOT NULL,        -- settings, data, code version, machine
    measured_at TEXT NOT NULL,
    body TEXT NOT NULL        -- the record as JSON
);
CREATE INDEX IF NOT EXISTS by_key ON measurements (key, measured_at);
""",)
_BUSY_S = 120


class Ledger:
    """Measurements on disk: cache, history and the summary's source.

    A record is on disk when `put` returns (WAL with synchronous=FULL). A file that SQLite cannot read is quarantined
    under another name with a warning, and a new one is created. One that cannot be written can still be read.

    Raises:
        InputError: the file was written by a newer version of this project.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = Path(path) if path else home() / "ledger.sqlite"
        self._local = threading.local()
        self._writable = False
        with contextlib.suppress(sqlite3.OperationalError, OSError):  # busy, read-only or full: `put` says so
            self._open()

    def put(self, measurement: Measurement) -> None:
        """Store a record; the same record again changes nothing.

        Raises:
            InputError: the disk is full or the file cannot be written; what was stored before stays.
        """
        row = (measurement.id, measurement.key, measurement.measured_at, measurement.to_json())
        try:
            if not self._writable:  # it may be by now
                self._open()
            with self._transaction() as connection:
                connection.execute("INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?)", row)
        except (sqlite3.OperationalError, OSError) as error:
            raise InputError(f"The ledger {self.path.name} cannot be written ({reason(error)}). Free some disk space, "
                             f"or check who may write to {whereabouts(self.path.parent)}; what it held before is "
                             "unchanged.") from error

    def put_all(self, measurements: Sequence[Measurement]) -> None:
        """Store records that somebody waits for: where they cannot be stored, a warning says so."""
        try:
            for measurement in measurements:
                self.put(measurement)
        except InputError as error:
            warnings.warn(f"{error} The new results are shown and not kept: save them before you leave.", NotStored,
                          stacklevel=3)

    def latest(self, key: str) -> Measurement | None:
        """The newest record with this key, or None."""
        rows = self._read("SELECT body FROM measurements WHERE key = ? ORDER BY measured_at DESC", key)
        return next(filter(None, rows), None)

    def all(self) -> list[Measurement]:
        """Every record, oldest first; records of another version's shape are left out, with a warning."""
        records = list(self._read("SELECT body FROM measurements ORDER BY measured_at, id"))
        if odd := records.count(None):
            warnings.warn(f"{odd} of {len(records)} records in {self.path.name} are of another version's shape, or "
                          "damaged, and are left out; they stay in the file.", NotStored, stacklevel=2)
        return [record for record in records if record is not None]

    def close(self) -> None:
        """Close this thread's connection."""
        if self._is_open():
            self._local.connection.close()
            del self._local.connection

    def _is_open(self) -> bool:
        return hasattr(self._local, "connection")

    def _read(self, query: str, *values: str) -> Iterator[Measurement | None]:
        """Records one by one; None for each that is of another shape."""
        try:
            for (body,) in self._connection().execute(query, values):
                yield _record(body)
        except sqlite3.DatabaseError as error:
            raise InputError(f"The ledger {self.path.name} cannot be read ({reason(error)}). Check who may read "
                             f"{whereabouts(self.path.parent)}, or move the file away: a new one is created."
                             ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._is_open() and self._local.writable != self._writable:
            self.close()
        if not self._is_open():
            self._local.writable = self._writable
            self._local.connection = self._connected() if self._writable else self._for_reading()
        return self._local.connection

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _for_reading(self) -> sqlite3.Connection:
        """A connection to a file that cannot be written; an empty ledger where there is none."""
        if not self.path.exists():
            connection = sqlite3.connect(":memory:", isolation_level=None)
            _migrate(connection)
            return connection
        path = self.path.as_uri() if self.path.is_absolute() else f"file:{urllib.parse.quote(self.path.as_posix())}"
        address = f"{path}?mode=ro"
        connection = sqlite3.connect(address, timeout=_BUSY_S, isolation_level=None, uri=True)
        try:
            self._require_known(connection)
        except sqlite3.OperationalError:  # a WAL's readers need files beside it, which cannot be made here
            connection.close()
            connection = sqlite3.connect(f"{address}&immutable=1", timeout=_BUSY_S, isolation_level=None, uri=True)
            self._require_known(connection)
        return connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        with _whole(connection):
            yield connection

    def _open(self) -> None:
        self._writable = True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                try:
                    self._prepare()
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:
                    self._start_over()
        except (sqlite3.OperationalError, OSError):
            self.close()
            self._writable = False
            raise

    def _prepare(self) -> None:
        connection = self._connection()
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        self._require_known(connection)
        _migrate(connection)

    def _require_known(self, connection: sqlite3.Connection) -> None:
        if (version := _version(connection)) > len(_MIGRATIONS):
            raise InputError(f"The ledger {self.path.name} was written by a newer version of this project (its schema "
                             f"is {version}, this one knows {len(_MIGRATIONS)}). Update this project, or set "
                             "HELPERS_HOME to another folder.")

    def _start_over(self) -> None:
        self.close()
        quarantined = quarantine(self.path)
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        warnings.warn(f"The ledger could not be read and was quarantined as {quarantined.name}; a new one was created.",
                      NotStored, stacklevel=4)
        self._prepare()


@contextlib.contextmanager
def _whole(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction: all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a ledger of an older version to this one, all at once."""
    if _version(connection) == len(_MIGRATIONS):
        return
    with _whole(connection):
        for script in _MIGRATIONS[_version(connection):]:
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(_MIGRATIONS)}")


def _record(body: Any) -> Measurement | None:
    """The record, or None where the text is none of this version's: damaged, or with other fields or values."""
    try:
        record = Measurement.from_json(body)
    except (TypeError, ValueError, RecursionError):
        return None
    fits = all(_fits(getattr(record, field.name), field.type) for field in dataclasses.fields(record))
    return record if fits else None


def _fits(value: Any, kind: Any) -> bool:
    """Whether JSON's value is of a field's kind."""
    if isinstance(kind, types.UnionType):
        return any(_fits(value, one) for one in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if kind in (int, float):  # a count may have been worked out as a mean
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(kind) or kind)
