"""Where records are kept: one SQLite file that many processes may write at once."""

import contextlib
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.paths import home, quarantine

_SCHEMA = """
CREATE TABLE IF NOT EXISTS measurements (
    id TEXT PRIMARY KEY,      -- given when it was measured: writing it twice keeps one
    key TEXT NOT NULL,        -- settings, data, code version, machine
    measured_at TEXT NOT NULL,
    body TEXT NOT NULL        -- the record as JSON
);
CREATE INDEX IF NOT EXISTS by_key ON measurements (key, measured_at);
"""
_BUSY_S = 120


class Ledger:
    """Measurements on disk: cache, history and the summary's source.

    A record is on disk when `put` returns (WAL with synchronous=FULL). A file that SQLite cannot
    read is quarantined under another name with a warning, and a new one is created.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = Path(path) if path else home() / "ledger.sqlite"
        self._local = threading.local()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                self._open()
        except (sqlite3.OperationalError, PermissionError) as error:  # busy, read-only or full: not damaged
            raise self._unwritable(error) from error

    def put(self, measurement: Measurement) -> None:
        """Store a record; the same record again changes nothing.

        Raises:
            InputError: the disk is full or the file cannot be written; what was stored before stays.
        """
        row = (measurement.id, measurement.key, measurement.measured_at, measurement.to_json())
        try:
            with self._transaction() as connection:
                connection.execute("INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?)", row)
        except sqlite3.OperationalError as error:
            raise self._unwritable(error) from error

    def latest(self, key: str) -> Measurement | None:
        """The newest record with this key, or None."""
        row = self._connection().execute(
            "SELECT body FROM measurements WHERE key = ? ORDER BY measured_at DESC LIMIT 1", (key,)).fetchone()
        return Measurement.from_json(row[0]) if row else None

    def all(self) -> list[Measurement]:
        """Every record, oldest first."""
        rows = self._connection().execute("SELECT body FROM measurements ORDER BY measured_at, id")
        return [Measurement.from_json(body) for (body,) in rows]

    def close(self) -> None:
        """Close this thread's connection."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            del self._local.connection

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection = connection
        return self._local.connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # on a full disk SQLite may have rolled back by itself
                connection.execute("ROLLBACK")
            raise

    def _open(self) -> None:
        try:
            self._prepare()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._start_over()

    def _unwritable(self, error: Exception) -> InputError:
        return InputError(f"The ledger {self.path.name} cannot be written ({error}). Free some disk space, or check "
                          f"who may write to {self.path.parent}; what it held before is unchanged.")

    def _prepare(self) -> None:
        connection = self._connection()
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        connection.executescript(_SCHEMA)

    def _start_over(self) -> None:
        self.close()
        quarantined = quarantine(self.path)
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        warnings.warn(f"The ledger could not be read and was quarantined as {quarantined.name}; a new one was created.",
                      stacklevel=4)
        self._prepare()
