"""The one cache: an entry is whole, made once, and made again when it is damaged."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from helpers.lab import Cancelled, load
from helpers.lab.cache import cached
from helpers.lab.models.model import cached_model
from helpers.lab.paths import cache


def read(path):
    return json.loads(path.read_text())


def write(value, path):
    path.write_text(json.dumps(value))


def names(folder) -> set[str]:
    """What is in a folder besides locks and digests."""
    return {path.name for path in folder.iterdir() if path.suffix not in (".lock", ".sha256")}


def test_a_second_call_reads_the_entry(tmp_path):
    entry = tmp_path / "entry.json"
    assert cached(entry, lambda: [1, 2], read=read, write=write) == [1, 2]
    assert cached(entry, lambda: pytest.fail("made twice"), read=read, write=write) == [1, 2]
    assert names(tmp_path) == {"entry.json"}


def test_a_model_is_saved_and_loaded_by_default(tmp_path, tiny_model):
    cached_model(tmp_path / "model", lambda: tiny_model)
    again = cached_model(tmp_path / "model", lambda: pytest.fail("made twice"))
    np.testing.assert_array_equal(again.predict(["a cat"]), tiny_model.predict(["a cat"]))


def test_a_writer_sees_the_suffix_of_the_entry(tmp_path):
    cached(tmp_path / "rows.npy", lambda: np.arange(3), read=np.load, write=lambda rows, path: np.save(path, rows))
    assert names(tmp_path) == {"rows.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), np.arange(3))


def test_a_damaged_entry_is_quarantined_with_a_warning_and_made_again(tmp_path):
    entry = tmp_path / "entry.json"
    entry.write_text('{"half')
    with pytest.warns(UserWarning, match=r"entry\.json could not be read and was quarantined as "
                                         r"entry\.json\.damaged-1; it is made again") as caught:
        assert cached(entry, lambda: 7, read=read, write=write) == 7
    assert caught[0].filename == __file__
    assert (tmp_path / "entry.json.damaged-1").read_text() == '{"half'
    assert read(entry) == 7


@pytest.mark.parametrize("place", ["start", "middle", "end"])
def test_a_model_whose_bits_have_flipped_is_not_used(tmp_path, tiny_model, place):
    """It could be read, and answered with other logits, or with none that are numbers."""
    entry = tmp_path / "model"
    cached_model(entry, lambda: tiny_model)
    weights = bytearray((entry / "weights.safetensors").read_bytes())
    at = {"start": len(weights) // 2, "middle": len(weights) * 3 // 4, "end": len(weights) - 1}[place]
    weights[at] ^= 0x40
    (entry / "weights.safetensors").write_bytes(bytes(weights))
    with pytest.warns(UserWarning, match=r"model could not be read and was quarantined as model\.damaged-1"):
        again = cached_model(entry, lambda: tiny_model)
    np.testing.assert_array_equal(again.predict(["a cat"]), tiny_model.predict(["a cat"]))
    cached_model(entry, lambda: pytest.fail("made a third time"))


def test_an_entry_without_its_digest_is_read_and_gets_one(tmp_path):
    """A kill between the two writes leaves it so, and it is whole."""
    entry = tmp_path / "entry.json"
    cached(entry, lambda: 5, read=read, write=write)
    (tmp_path / "entry.json.sha256").unlink()
    assert cached(entry, lambda: pytest.fail("made twice"), read=read, write=write) == 5
    entry.write_text("6")
    with pytest.warns(UserWarning, match="could not be read"):
        assert cached(entry, lambda: 7, read=read, write=write) == 7


def test_a_cache_whose_folder_cannot_be_made_keeps_nothing_and_computes(fresh_home):
    fresh_home.mkdir(exist_ok=True)
    (fresh_home / "cache").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="could not be written: .* kept while this program runs, and made again"):
        assert cached(cache("part", "entry.json"), lambda: 3, read=read, write=write) == 3


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, ZeroDivisionError])
def test_a_computation_that_ends_early_leaves_no_entry(tmp_path, error):
    def make():
        raise error

    with pytest.raises(error):
        cached(tmp_path / "entry.json", make, read=read, write=write)
    assert names(tmp_path) == set()


def test_a_value_that_cannot_be_written_is_returned_with_a_warning(tmp_path):
    def full(value, path):
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.warns(UserWarning, match=r"entry\.json could not be written: .*No space left on device"):
        assert cached(tmp_path / "entry.json", lambda: 7, read=read, write=full) == 7
    assert names(tmp_path) == set()


class LibrarysOwn(Exception):
    """As safetensors' and OpenVINO's, which are no OSErrors."""


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), LibrarysOwn("I/O error: os error 28"),
                                   RuntimeError("can't write")])
def test_a_value_that_cannot_be_written_is_not_computed_twice_and_written_once_there_is_room(tmp_path, error):
    full, made = [True], []

    def make():
        made.append(1)
        return 7

    def write_if_there_is_room(value, path):
        if full:
            raise error
        write(value, path)

    for _ in range(2):
        with pytest.warns(UserWarning, match=r"entry\.json could not be written"):
            assert cached(tmp_path / "entry.json", make, read=read, write=write_if_there_is_room) == 7
    full.clear()
    assert cached(tmp_path / "entry.json", make, read=read, write=write_if_there_is_room) == 7
    assert len(made) == 1
    assert read(tmp_path / "entry.json") == 7
    assert cached(tmp_path / "entry.json", lambda: pytest.fail("made twice"), read=read, write=write) == 7


def test_weights_that_no_longer_fit_on_the_disk_are_returned_and_said(tmp_path, tiny_model):
    """safetensors raises an error of its own there; a limit on the size of files is met as a full disk is."""
    resource = pytest.importorskip("resource", reason="limits of a process are Unix's")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))
    try:
        with pytest.warns(UserWarning, match="model could not be written"):
            assert cached_model(tmp_path / "model", lambda: tiny_model) is tiny_model
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    cached_model(tmp_path / "model", lambda: pytest.fail("made twice"))
    np.testing.assert_array_equal(load(tmp_path / "model").predict(["a cat"]), tiny_model.predict(["a cat"]))


@pytest.mark.skipif(os.name == "nt", reason="modes of users are Unix's")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_all_files_of_a_model_have_the_mode_that_the_umask_leaves(tmp_path, tiny_model, umask, mode):
    before = os.umask(umask)
    try:
        cached_model(tmp_path / "cached", lambda: tiny_model)
        tiny_model.save(tmp_path / "saved")
    finally:
        os.umask(before)
    for folder in (tmp_path / "cached", tmp_path / "saved"):
        assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {
            path.name: oct(mode) for path in folder.iterdir()}
        assert folder.stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_still_gives_its_entries_and_computes_the_others(tmp_path):
    write(1, tmp_path / "old.json")
    tmp_path.chmod(0o500)
    try:
        assert cached(tmp_path / "old.json", lambda: pytest.fail("made twice"), read=read, write=write) == 1
        with pytest.warns(UserWarning, match="could not be written"):
            assert cached(tmp_path / "new.json", lambda: 2, read=read, write=write) == 2
    finally:
        tmp_path.chmod(0o700)


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from helpers.lab.cache import cached

def write(value, path):
    path.mkdir()
    (path / "stale").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

cached(Path(sys.argv[1]), lambda: 1, read=Path.read_text, write=write)
"""


def test_a_process_killed_while_it_writes_leaves_nothing_in_the_next_entry(tmp_path, tiny_model):
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "model")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    cached_model(tmp_path / "model", lambda: tiny_model)
    assert not (tmp_path / "model" / "stale").exists()
    assert names(tmp_path) == {"model"}


KILLED_AT_RANDOM = """
import itertools, json, sys
from pathlib import Path
from helpers.lab.cache import cached
from helpers.lab.paths import write_atomically
folder = Path(sys.argv[1])

def write(value, path):
    path.mkdir()
    for part in range(3):
        (path / f"{part}.json").write_text(json.dumps([value] * 2_000))

print("ready", flush=True)
for number in itertools.count(int(sys.argv[2])):
    cached(folder / f"entry-{number}", lambda: number, read=lambda path: number, write=write)
    write_atomically(folder / "latest.json", json.dumps([number] * 2_000))
    print(number, flush=True)
"""


def test_a_writer_killed_thirty_times_at_any_moment_loses_nothing_that_it_said_was_written(tmp_path):
    """What is there is whole, what was acknowledged is there, and the next process goes on."""
    dice, start, cycle_s = random.Random(0), 0, 0.1
    for _ in range(30):
        arguments = [sys.executable, "-c", KILLED_AT_RANDOM, str(tmp_path), str(start)]
        writer = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        began, said = time.monotonic(), []
        if dice.random() < 0.3:  # the others die in what comes first
            said.append(int(writer.stdout.readline()))
            cycle_s = time.monotonic() - began
        time.sleep(dice.uniform(0, cycle_s))
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().split()]
        writer.communicate()
        for number in said:
            assert len(list((tmp_path / f"entry-{number}").iterdir())) == 3
        for part in tmp_path.glob("entry-*/*.json"):
            assert len(set(json.loads(part.read_text()))) == 1
        latest = json.loads((tmp_path / "latest.json").read_text()) if (tmp_path / "latest.json").exists() else [-1]
        assert len(set(latest)) == 1
        assert latest[0] >= max([start - 1, *said])
        start = max([start, *(number + 1 for number in said)])
    assert start > 0


def test_a_second_caller_waits_for_the_first_ones_value(tmp_path):
    entry, made, begun, finish = tmp_path / "entry.json", [], threading.Event(), threading.Event()

    def make():
        made.append(1)
        begun.set()
        finish.wait(10)
        return 5

    values = []
    callers = [threading.Thread(target=lambda: values.append(cached(entry, make, read=read, write=write)))
               for _ in range(2)]
    callers[0].start()
    assert begun.wait(10)
    callers[1].start()
    finish.set()
    for caller in callers:
        caller.join(10)
    assert values == [5, 5]
    assert len(made) == 1
