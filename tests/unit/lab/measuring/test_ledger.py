"""The ledger under many writers, kills, damage and full disks."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from helpers.lab import InputError, Ledger

MAKE = """
import dataclasses, os, sys
from helpers.lab import InputError, Ledger, Measurement
path, template = sys.argv[1:3]
def record(number):
    return dataclasses.replace(Measurement.from_json(template), id=f"{os.getpid()}-{number}", key=f"k{number}")
"""
WRITE_1000 = MAKE + """
ledger = Ledger(path)
for number in range(1000):
    ledger.put(record(number))
"""
WRITE_FOREVER = MAKE + """
import itertools
ledger = Ledger(path)
for number in itertools.count():
    ledger.put(record(number))
    print(f"{os.getpid()}-{number}", flush=True)
"""
# RLIMIT_FSIZE stops a file from growing, as a full disk does; SQLite sees a failing write.
FILL_UP = MAKE + """
import itertools, resource
ledger = Ledger(path)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
try:
    for number in itertools.count():
        ledger.put(record(number))
        print(f"{os.getpid()}-{number}", flush=True)
except InputError as error:
    print(error, file=sys.stderr)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
ledger.put(record("after"))
print(f"{os.getpid()}-after")
"""
READ_ONLY = MAKE + """
os.chdir(os.path.dirname(path))
os.chmod(".", 0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
try:
    Ledger("ledger.sqlite")
except InputError as error:
    print(error)
"""


@pytest.fixture
def start(tmp_path, new_measurement):
    """Start a script on the ledger in the test's folder."""
    def starting(code: str) -> subprocess.Popen:
        arguments = [sys.executable, "-c", code, str(tmp_path / "ledger.sqlite"), new_measurement().to_json()]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return starting


def ids(path) -> set[str]:
    return {record.id for record in Ledger(path).all()}


@pytest.mark.slow
def test_eight_processes_write_a_thousand_records_each_and_none_is_lost_or_doubled(tmp_path, start):
    writers = [start(WRITE_1000) for _ in range(8)]
    for writer in writers:
        _, errors = writer.communicate(timeout=500)
        assert writer.returncode == 0, errors
    expected = [f"{writer.pid}-{number}" for writer in writers for number in range(1000)]
    assert sorted(record.id for record in Ledger(tmp_path / "ledger.sqlite").all()) == sorted(expected)


def test_threads_share_a_ledger(tmp_path, new_measurement):
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def write(name):
        for number in range(20):
            ledger.put(new_measurement(id=f"{name}-{number}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.all()) == 80


def test_a_killed_writer_leaves_every_record_that_it_was_told_is_stored(tmp_path, start):
    acknowledged = set()
    for records in (1, 37, 200):
        writer = start(WRITE_FOREVER)
        acknowledged |= {writer.stdout.readline().strip() for _ in range(records)}
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged |= {line.strip() for line in writer.communicate()[0].splitlines() if line}
    stored = ids(tmp_path / "ledger.sqlite")
    assert acknowledged <= stored
    assert len(stored) <= len(acknowledged) + 3  # a record may be stored and not yet printed


def test_a_full_disk_is_said_and_nothing_stored_before_is_lost(tmp_path, start):
    writer = start(FILL_UP)
    printed, errors = writer.communicate(timeout=60)
    acknowledged = set(printed.split())
    assert len(acknowledged) > 10
    assert "The ledger ledger.sqlite cannot be written" in errors
    assert "Free some disk space" in errors
    assert "Traceback" not in errors
    assert f"{writer.pid}-after" in acknowledged  # the same ledger writes again once there is room
    assert ids(tmp_path / "ledger.sqlite") == acknowledged


def test_a_full_database_is_said_and_writable_again_after(tmp_path, new_measurement):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.put(new_measurement(id="first"))
    connection = ledger._connection()
    connection.execute("PRAGMA max_page_count=8")
    with pytest.raises(InputError, match="database or disk is full"):
        ledger.put(new_measurement(id="too long", model="x" * 100_000))
    connection.execute("PRAGMA max_page_count=100000")
    ledger.put(new_measurement(id="second"))
    assert ids(ledger.path) == {"first", "second"}


@pytest.mark.skipif(sys.platform == "win32", reason="folders are made read-only by their Unix mode")
def test_a_read_only_folder_is_said(start):
    printed, errors = start(READ_ONLY).communicate(timeout=60)
    assert "The ledger ledger.sqlite cannot be written" in printed, errors
    assert "who may write to" in printed


def damage_start(content: bytes) -> bytes:
    return b"this is no database at all, but a text that somebody saved here" * 40


def damage_middle(content: bytes) -> bytes:
    return content[:4096] + b"\xff" * (len(content) - 8192) + content[-4096:]


def cut_in_half(content: bytes) -> bytes:
    return content[:len(content) // 2]


@pytest.mark.parametrize("damage", [damage_start, damage_middle, cut_in_half])
def test_a_damaged_file_is_quarantined_said_and_replaced_by_a_new_one(tmp_path, new_measurement, damage):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    for number in range(50):
        ledger.put(new_measurement(id=str(number)))
    ledger.close()
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    with pytest.warns(UserWarning, match=r"quarantined as ledger\.sqlite\.damaged-1; a new one was created") as caught:
        ledger = Ledger(path)
    assert caught[0].filename == __file__
    assert (tmp_path / "ledger.sqlite.damaged-1").read_bytes() == damaged
    ledger.put(new_measurement(id="new"))
    assert ids(path) == {"new"}


def test_a_second_damaged_file_does_not_overwrite_the_first(tmp_path):
    for content in (b"first" * 100, b"second" * 100):
        (tmp_path / "ledger.sqlite").write_bytes(content)
        with pytest.warns(UserWarning, match="quarantined"):
            Ledger(tmp_path / "ledger.sqlite").close()
    assert (tmp_path / "ledger.sqlite.damaged-1").read_bytes() == b"first" * 100
    assert (tmp_path / "ledger.sqlite.damaged-2").read_bytes() == b"second" * 100


def test_a_busy_ledger_is_not_taken_for_a_damaged_one(tmp_path, new_measurement, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).put(new_measurement(id="kept"))
    monkeypatch.setattr("helpers.lab.measuring.ledger._BUSY_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InputError, match="locked"):
        Ledger(path).put(new_measurement())
    other.execute("ROLLBACK")
    assert ids(path) == {"kept"}
    assert list(tmp_path.glob("*.damaged*")) == []


def test_the_same_record_put_twice_is_kept_once(tmp_path, new_measurement):
    ledger, record = Ledger(tmp_path / "ledger.sqlite"), new_measurement()
    ledger.put(record)
    ledger.put(record)
    assert ledger.all() == [record]


def test_records_come_back_equal_and_oldest_first(tmp_path, new_measurement):
    records = [new_measurement(id=str(n), measured_at=f"2026-01-0{day}T00:00:00.000000+00:00", joules=None,
                               settings={"bits": 4, "name": 'é "x"'}) for n, day in enumerate((3, 1, 2))]
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for record in records:
        ledger.put(record)
    assert ledger.all() == [records[1], records[2], records[0]]


def test_latest_is_the_newest_of_its_key(tmp_path, new_measurement):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    for day, key in ((1, "a"), (3, "a"), (2, "a"), (4, "b")):
        ledger.put(new_measurement(id=str(day), key=key, measured_at=f"2026-01-0{day}T00:00:00.000000+00:00"))
    assert ledger.latest("a").id == "3"
    assert ledger.latest("none") is None


def test_without_a_path_the_ledger_stands_in_the_home(fresh_home, new_measurement):
    Ledger().put(new_measurement(id="mine"))
    assert ids(fresh_home / "ledger.sqlite") == {"mine"}
