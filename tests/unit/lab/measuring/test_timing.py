"""Whose turn it is to measure, and what is timed in turns."""

import concurrent.futures
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
from filelock import FileLock

from helpers.lab import Cancelled, InputError
from helpers.lab.measuring import timing
from helpers.lab.measuring.timing import next_inputs, seconds_in_turns, timing_turn
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
    served, result = [], {}

    def run(name):
        with timing_turn(hearing(result.setdefault(name, []).append), folder=tmp_path, poll_s=0.005):
            served.append(name)

    with timing_turn(folder=tmp_path):
        threads = []
        for name in ("first", "second", "third"):
            threads.append(threading.Thread(target=run, args=(name,)))
            threads[-1].start()
            wait_until(lambda name=name: result.get(name))
    for thread in threads:
        thread.join(timeout=20)
    assert served == ["first", "second", "third"]
    assert [result[name][0] for name in served] == [1, 2, 3]
    assert result["third"] == sorted(result["third"], reverse=True)


def test_a_clock_set_back_does_not_let_anyone_jump_the_queue(tmp_path, monkeypatch):
    reports = []
    with timing_turn(folder=tmp_path):
        monkeypatch.setattr(time, "time_ns", lambda: 1)
        with (contextlib.suppress(TimeoutError),
              timing_turn(hearing(lambda ahead: reports.append(ahead) or give_up()), folder=tmp_path)):
            pytest.fail("two turns at once")
    assert reports == [1]


def give_up():
    raise TimeoutError


def test_a_killed_holder_does_not_block_the_next(tmp_path):
    holder = start(HOLD, tmp_path)
    assert holder.stdout.readline() == "mine\n"
    reports = []

    def waiting(ahead):
        if not reports:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
        reports.append(ahead)

    with timing_turn(hearing(waiting), folder=tmp_path, poll_s=0.01):
        assert reports == [1]


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


def heard_by_another(folder) -> list[int]:
    """What a second run hears that comes now, and that gives up at once."""
    reports = []
    with (contextlib.suppress(TimeoutError),
          timing_turn(hearing(lambda ahead: reports.append(ahead) or give_up()), folder=folder)):
        pytest.fail("two turns at once")
    return reports


STRAYS = ("copy.turn", "00000000000000000001 (1).turn", "-1.turn", "1.turn.lock", "x", ".turn")


def test_stray_files_are_nobody_s_ticket(tmp_path):
    for name in STRAYS:
        (tmp_path / name).write_text("stray")
    (tmp_path / "00000000000000000002.turn").mkdir()
    with timing_turn(hearing(lambda ahead: pytest.fail("waits for a stray file")), folder=tmp_path):
        assert len([path for path in tmp_path.iterdir() if path.is_file() and path.name not in STRAYS]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {*STRAYS, "draw.lock", "00000000000000000002.turn"}


def test_a_stray_ticket_of_the_far_future_keeps_the_order(tmp_path):
    (tmp_path / f"{10**20 - 1}.turn").touch()
    with timing_turn(folder=tmp_path):
        assert heard_by_another(tmp_path) == [1]


@pytest.mark.parametrize("way", ["a file for the folder", "a folder for its lock", "a closed lock"])
def test_where_the_shared_folder_cannot_be_used_this_users_runs_queue_apart(tmp_path, way, monkeypatch):
    shared = tmp_path / "queue"
    if way == "a file for the folder":
        shared.write_text("stray")
    else:
        shared.mkdir()
        (shared / "draw.lock").mkdir()
    if way == "a closed lock":
        (shared / "draw.lock").rmdir()
        (shared / "draw.lock").touch()
        opened = os.open

        def closed(path, *arguments, **more):
            if str(path) == str(shared / "draw.lock"):
                raise PermissionError(13, "Permission denied")
            return opened(path, *arguments, **more)

        monkeypatch.setattr(os, "open", closed)

    def run():
        with timing_turn(folder=shared):
            assert heard_by_another(shared) == [1]

    with pytest.warns(UserWarning, match=r"The queue of measurements .*queue cannot be used .* remove it") as caught:
        run()
    assert caught[0].filename == __file__


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_run_that_stands_still_is_passed_and_told_so_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_STUCK_S", 1.0)
    holder = subprocess.Popen([sys.executable, "-c", HOLD.replace("600", "2"), str(tmp_path)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "mine\n"
    os.kill(holder.pid, signal.SIGSTOP)
    reports, began = [], time.monotonic()
    with timing_turn(hearing(reports.append), folder=tmp_path, poll_s=0.05):
        assert 1.0 < time.monotonic() - began < 20
        os.kill(holder.pid, signal.SIGCONT)
        assert "its times may be disturbed. Measure again" in holder.communicate(timeout=30)[1]
    assert set(reports) == {1}


def test_a_run_that_computes_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_STUCK_S", 1.0)
    holder = start(HOLD.replace("time.sleep(600)", "began = time.monotonic()\n"
                                "    while time.monotonic() < began + 6: sum(range(10_000))"), tmp_path)
    assert holder.stdout.readline() == "mine\n"
    with timing_turn(folder=tmp_path, poll_s=0.05):
        holder.communicate(timeout=10)
    assert holder.returncode == 0


def test_a_lock_that_outlives_its_process_is_passed(tmp_path, monkeypatch):
    """As one does that a child inherited in a library's own way of forking."""
    monkeypatch.setattr(timing, "_STUCK_S", 1.0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ticket, reports = tmp_path / "00000000000000000001.turn", []
    ticket.write_text(f"{timing._namespace()} {dead.pid}")
    with FileLock(ticket), timing_turn(hearing(reports.append), folder=tmp_path, poll_s=0.05):
        assert reports
        assert not ticket.exists()


@pytest.mark.parametrize("content", ["1 1", "", "\0\xff", "no numbers"])
def test_a_run_of_another_container_or_version_is_waited_for(tmp_path, monkeypatch, content):
    """Nobody here can see what it does."""
    monkeypatch.setattr(timing, "_STUCK_S", 0.2)
    ticket, reports = tmp_path / "00000000000000000001.turn", []
    ticket.write_text(content)
    until = time.monotonic() + 1.5
    with FileLock(ticket), pytest.raises(Cancelled), timing_turn(
            Progress(lambda *_: reports.append(1), lambda: time.monotonic() > until), folder=tmp_path, poll_s=0.05):
        pytest.fail("two turns at once")
    assert reports


def test_a_run_that_never_ends_is_passed_after_hours(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_MAX_TURN_S", 0.5)
    reports = []

    def hold():
        with timing_turn(folder=tmp_path):
            held.set()
            passed.wait(20)

    held, passed = threading.Event(), threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        holding = pool.submit(hold)
        held.wait(20)
        with timing_turn(hearing(reports.append), folder=tmp_path, poll_s=0.05):
            passed.set()
            with pytest.raises(InputError, match="took hours"):
                holding.result(20)
    assert reports


def test_a_number_that_cannot_be_drawn_is_a_sentence_and_cancel_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "_MAX_DRAW_S", 0.3)
    with FileLock(tmp_path / "draw.lock"):
        with pytest.raises(InputError, match=r"stands still holds .*draw\.lock: end it"), timing_turn(folder=tmp_path):
            pytest.fail("drawn twice")
        with (pytest.raises(Cancelled),
              timing_turn(Progress(cancelled=lambda: True), folder=tmp_path, poll_s=0.05)):
            pytest.fail("drawn twice")


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


def test_each_call_gets_the_next_inputs_and_those_of_no_whole_part_are_left_out():
    work = next_inputs(list, ["a", "b", "c", "d", "e"], at_once=2)
    assert [work(), work(), work()] == [["a", "b"], ["c", "d"], ["a", "b"]]


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
