"""Whose turn it is to measure, and what is timed in turns."""

import contextlib
import hashlib
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from helpers.lab import Cancelled
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.progress import Progress

TAKE_TURNS = """
import sys, time
from pathlib import Path
from helpers.lab.measuring.timing import timing_turn
for _ in range(6):
    with timing_turn(folder=Path(sys.argv[1]), poll_s=0.005):
        began = time.monotonic()
        time.sleep(0.01)
        print(began, time.monotonic())
"""
HOLD = """
import sys, time
from pathlib import Path
from helpers.lab.measuring.timing import timing_turn
with timing_turn(folder=Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(600)
"""


def start(code: str, folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def wait_until(condition, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def hearing(ahead):
    """A Progress that passes the number of runs ahead on."""
    return Progress(lambda _, message: ahead(int(re.search(r"\d+", message)[0])))


def test_no_two_processes_ever_time_together(tmp_path):
    runs = [start(TAKE_TURNS, tmp_path) for _ in range(5)]
    lines = [line.split() for run in runs for line in run.communicate(timeout=120)[0].splitlines()]
    turns = sorted((float(began), float(ended)) for began, ended in lines)
    assert len(turns) == 30
    assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(turns))


def test_the_first_to_come_is_the_first_served_and_each_is_told_how_many_are_ahead(tmp_path):
    served, told = [], {}

    def run(name):
        with timing_turn(hearing(told.setdefault(name, []).append), folder=tmp_path, poll_s=0.005):
            served.append(name)

    with timing_turn(folder=tmp_path):
        threads = []
        for name in ("first", "second", "third"):
            threads.append(threading.Thread(target=run, args=(name,)))
            threads[-1].start()
            wait_until(lambda name=name: told.get(name))
    for thread in threads:
        thread.join(timeout=20)
    assert served == ["first", "second", "third"]
    assert [told[name][0] for name in served] == [1, 2, 3]
    assert told["third"] == sorted(told["third"], reverse=True)


def test_a_clock_set_back_does_not_let_anyone_jump_the_queue(tmp_path, monkeypatch):
    told = []
    with timing_turn(folder=tmp_path):
        monkeypatch.setattr(time, "time_ns", lambda: 1)
        with (contextlib.suppress(TimeoutError),
              timing_turn(hearing(lambda ahead: told.append(ahead) or give_up()), folder=tmp_path)):
            pytest.fail("two turns at once")
    assert told == [1]


def give_up():
    raise TimeoutError


def test_a_killed_holder_does_not_block_the_next(tmp_path):
    holder = start(HOLD, tmp_path)
    assert holder.stdout.readline() == "mine\n"
    told = []

    def waiting(ahead):
        if not told:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
        told.append(ahead)

    with timing_turn(hearing(waiting), folder=tmp_path, poll_s=0.01):
        assert told == [1]


def test_the_ticket_of_another_user_that_died_blocks_nobody(tmp_path, monkeypatch):
    """In a folder with the sticky bit only its owner may remove a file."""
    (tmp_path / "00000000000000000001.turn").touch()
    remove = Path.unlink

    def only_mine(path, missing_ok=False):
        if path.name.startswith("0000"):
            raise PermissionError("not yours")
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", only_mine)
    with timing_turn(hearing(lambda ahead: pytest.fail("waits for the dead")), folder=tmp_path):
        assert len(list(tmp_path.glob("*.turn"))) == 2


def test_who_gives_up_waiting_leaves_the_queue(tmp_path):
    with timing_turn(folder=tmp_path):
        with pytest.raises(TimeoutError), timing_turn(hearing(lambda ahead: give_up()), folder=tmp_path):
            pytest.fail("two turns at once")
        assert len(list(tmp_path.glob("*.turn"))) == 1
    assert list(tmp_path.glob("*.turn")) == []


def test_an_error_while_timing_passes_the_turn_on(tmp_path):
    with pytest.raises(TimeoutError), timing_turn(folder=tmp_path):
        give_up()
    with timing_turn(hearing(lambda ahead: pytest.fail("still held")), folder=tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="permissions of users are Unix modes")
def test_other_users_may_queue_in_the_same_folder(tmp_path):
    with timing_turn(folder=tmp_path / "queue"):
        assert (tmp_path / "queue").stat().st_mode & 0o7777 == 0o1777
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / "queue").iterdir()} == {0o666}


def recorded(log, *names):
    return {name: lambda name=name: log.append(name) for name in names}


def test_each_round_times_every_work_once_after_a_round_and_a_call_that_are_not_counted():
    log = []
    seconds = seconds_in_turns(recorded(log, "a", "b"), rounds=2)
    assert log == ["a", "a", "b", "b"] * 3
    assert {name: len(calls) for name, calls in seconds.items()} == {"a": 2, "b": 2}


def test_a_short_work_may_repeat_within_its_turn():
    log = []
    seconds = seconds_in_turns(recorded(log, "whole", "one"), rounds=2, warm_up=0, repeats={"one": 3})
    assert log == ["whole"] * 2 + ["one"] * 4 + ["whole"] * 2 + ["one"] * 4
    assert {name: len(calls) for name, calls in seconds.items()} == {"whole": 2, "one": 6}


def test_a_seed_draws_another_order_for_each_round():
    log, names = [], list("abcdefgh")
    seconds_in_turns(recorded(log, *names), rounds=3, warm_up=0, seed=0)
    log = log[::2]  # each is called twice
    rounds = [log[start:start + len(names)] for start in range(0, len(log), len(names))]
    assert all(sorted(one) == names for one in rounds)
    assert len(set(map(tuple, rounds))) == 3


def test_a_slow_work_sits_out_the_rounds_beyond_its_patience():
    seconds = seconds_in_turns({"slow": lambda: time.sleep(0.02), "quick": lambda: None}, rounds=5, patience_s=0.03)
    assert {name: len(calls) for name, calls in seconds.items()} == {"slow": 2, "quick": 5}


def test_the_clock_runs_during_the_work_alone():
    seconds = seconds_in_turns({"short": lambda: None, "long": lambda: time.sleep(0.02)}, rounds=2)
    assert seconds["short"].max() < 0.01
    assert seconds["long"].min() >= 0.02


def test_a_long_work_is_not_called_a_second_time_for_nothing():
    log = []
    seconds_in_turns({"long": lambda: log.append(time.sleep(0.25))}, rounds=2, warm_up=1)
    assert len(log) == 4  # the very first call, the warm-up, and two that count


def test_no_work_is_timed_while_another_one_s_threads_go_on_spinning():
    """As ONNX Runtime's do for some 40 ms after a call: a thread that computes without holding Python's lock."""
    spinning, met, block = threading.Event(), [], b"x" * 2**20

    def leaves_a_spinning_thread():
        spinning.set()
        threading.Thread(target=spin).start()

    def spin():
        until = time.thread_time() + 0.08
        while time.thread_time() < until:
            hashlib.sha256(block)  # releases the lock: another thread computes meanwhile
        spinning.clear()

    def other():
        met.append(spinning.is_set())

    seconds_in_turns({"spins": leaves_a_spinning_thread, "other": other}, rounds=3)
    assert len(met) == 8
    assert not any(met)


def test_turns_are_heard_and_end_when_their_caller_wants():
    log, fractions = [], []
    progress = Progress(lambda fraction, _: fractions.append(fraction), cancelled=lambda: len(log) == 3)
    with pytest.raises(Cancelled):
        seconds_in_turns(recorded(log, "a", "b"), rounds=3, progress=progress)
    assert log == ["a", "a", "b"]
    assert fractions == [0, 1 / 8]
