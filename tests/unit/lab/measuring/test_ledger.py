"""The ledger under many writers, kills, damage and full disks."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from helpers.lab import InputError, Ledger
from helpers.lab.measuring import ledger as ledger_module

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
os.chmod(os.path.dirname(path), 0o555)
if os.geteuid() == 0:
    os.setuid(65534)  # root may write anywhere
ledger = Ledger(path)
print([record.id for record in ledger.all()], ledger.latest("k"))
try:
    ledger.put(record(1))
except InputError as error:
    print(error)
ledger.put_all([record(2)])
print("went on")
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
    """Thirty times, at any moment: also while the file is made, or while the journal is written into it."""
    acknowledged, dice = set(), random.Random(0)
    for _ in range(30):
        writer = start(WRITE_FOREVER)
        acknowledged |= {writer.stdout.readline().strip() for _ in range(dice.choice((0, 1, 5, 60)))}
        time.sleep(dice.uniform(0, 0.01) if acknowledged else dice.uniform(0, 1.5))
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged |= set(writer.stdout.read().split())
        writer.communicate()
    stored = ids(tmp_path / "ledger.sqlite")
    assert len(acknowledged) > 100
    assert acknowledged <= stored
    assert len(stored) <= len(acknowledged) + 30  # a record may be stored and not yet printed
    assert list(tmp_path.glob("*.damaged*")) == []


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
@pytest.mark.parametrize("there", [True, False])
def test_a_ledger_in_a_read_only_folder_is_read_and_what_cannot_be_stored_is_said(new_measurement, there):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        os.chmod(folder, 0o755)
        path = Path(folder) / "ledger.sqlite"
        if there:
            ledger = Ledger(path)
            ledger.put(new_measurement(id="before", key="other"))
            ledger.close()
        done = subprocess.run([sys.executable, "-c", READ_ONLY, str(path), new_measurement().to_json()],
                              capture_output=True, text=True, check=False)
        os.chmod(folder, 0o755)
    printed, errors = done.stdout, done.stderr
    assert len(printed.splitlines()) == 3, errors
    read, said, end = printed.splitlines()
    assert read == ("['before'] None" if there else "[] None"), errors
    assert said.startswith("The ledger ledger.sqlite cannot be written"), errors
    assert "who may write to" in said
    assert "The new results are shown and not kept" in errors
    assert end == "went on"


def test_records_of_another_shape_are_left_out_and_said_and_stay_in_the_file(tmp_path, new_measurement):
    path = tmp_path / "ledger.sqlite"
    ledger, good = Ledger(path), new_measurement(id="good", measured_at="2026-01-02T00:00:00.000000+00:00")
    ledger.put(good)
    body = json.loads(good.to_json())
    odd = ["", "no JSON", "null", "[1, 2]", "[" * 100_000, json.dumps({**body, "flavour": "of another version"}),
           json.dumps({name: value for name, value in body.items() if name != "machine"}),
           json.dumps({**body, "accuracy": "high"}), json.dumps({**body, "machine": None}),
           json.dumps({**body, "provenance": "dreamt"})]
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO measurements VALUES (?, 'k', ?, ?)", [
            (str(number), f"2026-01-0{1 + number % 5}", text) for number, text in enumerate(odd)])
        connection.execute("INSERT INTO measurements VALUES ('blob', 'k', '2026-01-09', ?)", (b"\xff\xfe",))
    with pytest.warns(UserWarning, match=r"11 of 12 records in ledger\.sqlite are of another version's shape, or"):
        assert ledger.all() == [good]
    assert ledger.latest("k") == good
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM measurements").fetchone() == (12,)


def version_of(path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_file_of_before_there_were_versions_is_brought_to_this_one(tmp_path, new_measurement):
    path, before = tmp_path / "ledger.sqlite", new_measurement(id="before", key="k")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE measurements (id TEXT PRIMARY KEY, key TEXT NOT NULL, measured_at TEXT NOT "
                           "NULL, body TEXT NOT NULL)")
        connection.execute("CREATE INDEX by_key ON measurements (key, measured_at)")
        connection.execute("INSERT INTO measurements VALUES ('before', 'k', '2026-01-01', ?)", (before.to_json(),))
    ledger = Ledger(path)
    assert ledger.all() == [before]
    ledger.put(new_measurement(id="after"))
    assert version_of(path) == 1
    assert ids(path) == {"before", "after"}


def test_migrations_run_in_their_order_all_or_none(tmp_path, new_measurement, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    Ledger(path).put(new_measurement(id="kept"))
    first, second = ledger_module._MIGRATIONS[0], "ALTER TABLE measurements ADD COLUMN note TEXT"
    third = "UPDATE measurements SET note = 'from 2'"
    monkeypatch.setattr(ledger_module, "_MIGRATIONS", (first, second, f"{third}; SELECT nonsense FROM nowhere"))
    with pytest.raises(InputError, match="cannot be written"):
        Ledger(path).put(new_measurement())
    assert version_of(path) == 1
    monkeypatch.setattr(ledger_module, "_MIGRATIONS", (first, second, third))
    Ledger(path)
    assert version_of(path) == 3
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, note FROM measurements").fetchall() == [("kept", "from 2")]


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path, new_measurement):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    ledger.put(new_measurement(id="kept"))
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=9")
    with pytest.raises(InputError, match=r"a newer version .* \(its schema is 9, this one knows 1\)\. Update"):
        Ledger(path)
    assert version_of(path) == 9
    assert list(tmp_path.glob("*.damaged*")) == []


def test_a_ledger_that_could_not_be_written_is_written_once_it_can(tmp_path, new_measurement):
    (tmp_path / "folder").write_text("a file where the folder should be")
    ledger = Ledger(tmp_path / "folder" / "ledger.sqlite")
    assert ledger.all() == []
    with pytest.raises(InputError, match="cannot be written"):
        ledger.put(new_measurement())
    (tmp_path / "folder").unlink()
    ledger.put(new_measurement(id="later"))
    assert ids(ledger.path) == {"later"}


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
