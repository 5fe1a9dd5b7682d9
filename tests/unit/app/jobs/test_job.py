"""Jobs: another process computes, the page follows, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
from app_helpers import record, wait_until

from helpers.app.jobs import job as jobs_module
from helpers.app.jobs.job import Job, TimeLeft, run
from helpers.app.jobs.processes import kill_all
from helpers.lab.errors import InputError
from helpers.lab.paths import SESSION

ROOT = Path(__file__).parents[4]
SLOW_S = 60  # longer than any test waits


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))


def square(report, number):
    report(0.5, "halfway")
    return number**2


def sleep(report, seconds=SLOW_S):
    report(0.1, str(os.getpid()))
    time.sleep(seconds)


def started(compute, **settings) -> Job:
    """A job that has reported once."""
    job = Job(compute)
    job.start(**settings)
    wait_until(lambda: job.progress > 0 or job.state not in ("waiting", "running"))
    return job


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_job_gives_its_result():
    job = Job(square)
    job.start(number=7)
    assert job.wait(20)
    assert (job.state, job.result, job.progress, job.error) == ("done", 49, 1.0, "")


def test_on_a_page_the_process_stays_warm_for_a_while_only(monkeypatch, tmp_path):
    """Thirty visitors who measured once would leave thirty processes with torch."""
    monkeypatch.setenv(SESSION, str(tmp_path))
    monkeypatch.setattr(jobs_module, "KEEP_S", 0.5)
    kill_all()  # what the tests before have left
    job = started(sleep, seconds=2)
    pid = int(job.message)
    assert job.wait(20)
    again = started(sleep, seconds=2)
    assert int(again.message) == pid, "the next job takes it"
    assert again.wait(20)
    assert again.state == "done", "and keeps it, although its time is over"
    wait_until(lambda: not is_running(pid))


def test_the_process_stays_warm_for_the_next_job():
    def pid(report):
        return os.getpid()

    pids = []
    for _ in range(2):
        job = Job(pid)
        job.start()
        assert job.wait(20)
        pids.append(job.result)
    assert pids[0] == pids[1] != os.getpid()


def test_reports_and_partial_results_arrive_in_order():
    def compute(report):
        report(None, "2 runs ahead")
        for step in range(3):
            report((step + 1) / 3, f"step {step}")
            report.partial(step)

    job, seen = Job(compute), []
    job.observe(lambda change: seen.append((change["name"], change["new"])), ["state", "partials"])
    job.start()
    assert job.wait(20)
    assert job.partials == [0, 1, 2]
    assert [new for name, new in seen if name == "state"] == ["running", "waiting", "running", "done"]


def test_time_in_the_queue_does_not_count_for_the_time_left(monkeypatch):
    """40 of 100 steps in the 4 s after the first report: 6 s to go, however long the queue was."""
    now = iter([100.0, 100.1, 104.0])
    monkeypatch.setattr(jobs_module.time, "monotonic", lambda: next(now))
    left = TimeLeft()
    assert [left(None), left(0.0), left(0.01)] == [None] * 3
    assert left(0.4) == pytest.approx(6.0)


def test_time_left_follows_from_what_is_done():
    def compute(report):
        for step in range(1, 11):
            report(step / 20, f"step {step}")
            time.sleep(0.15)

    lefts = []
    job = Job(compute)
    job.observe(lambda change: lefts.append(change["new"]), "seconds_left")
    job.start()
    assert job.wait(20)
    assert 1.0 < [left for left in lefts if left is not None][-1] < 3.0


def test_cancel_ends_the_process_and_its_children_within_a_second():
    def compute(report):
        child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({SLOW_S})"], start_new_session=True)
        report(0.1, f"{os.getpid()} {child.pid}")
        while True:  # never looks whether it is cancelled
            pass

    job = started(compute)
    pids = [int(pid) for pid in job.message.split()]
    begun = time.monotonic()
    job.cancel()
    assert job.wait(1)
    assert time.monotonic() - begun < 1
    assert job.state == "cancelled"
    wait_until(lambda: not any(map(is_running, pids)), 1)


def test_after_a_cancel_the_next_job_runs():
    job = started(sleep)
    job.cancel()
    again = Job(square)
    again.start(number=3)
    assert again.wait(20)
    assert again.result == 9


def test_a_second_job_is_refused_while_one_runs():
    job = started(sleep)
    with pytest.raises(InputError, match="already running"):
        Job(square).start(number=2)
    job.cancel()


def test_a_second_press_while_it_runs_changes_nothing():
    """A double-click is two presses."""
    job, errors = started(sleep), []
    worker = job.message
    job.observe(lambda change: errors.append(change["new"]), ["error", "state"])
    job.start()
    assert (job.state, job.message, errors) == ("running", worker, [])
    job.cancel()
    job.start(seconds=0)
    assert job.wait(20)
    assert job.state == "done"


def test_a_press_at_the_very_end_of_a_run_begins_another_whole_one():
    """Between the result and the end of the first run, while what shows it is still being told."""
    def compute(report):
        import time

        time.sleep(0.5)
        return 7

    job, presses = Job(compute), []

    def press_again(change):
        if change["new"] == "done" and not presses:
            presses.append(threading.Thread(target=job.start))
            presses[0].start()
            presses[0].join(0.2)

    job.observe(press_again, "state")
    job.start()
    assert job.wait(20)
    presses[0].join()
    assert job.wait(20)
    assert (job.state, job.result) == ("done", 7)


def test_what_could_not_be_stored_is_told_and_other_warnings_are_not():
    def compute(report):
        import warnings

        from helpers.lab.errors import NotStored

        for _ in range(2):
            warnings.warn("The disk is full.", NotStored, stacklevel=1)
        warnings.warn("for programmers", UserWarning, stacklevel=1)
        return "fine"

    job = Job(compute)
    for _ in range(2):
        job.start()
        assert job.wait(20)
        assert (job.result, job.notes) == ("fine", ["The disk is full."])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no signals")
def test_a_process_killed_by_the_system_is_a_clear_failure():
    job = started(sleep)
    os.kill(int(job.message), signal.SIGKILL)
    assert job.wait(10)
    assert job.state == "failed"
    assert "memory ran out" in job.error


def test_an_input_error_is_shown_as_it_is():
    def compute(report):
        raise InputError("There is no column 'label'.")

    job = Job(compute)
    job.start()
    assert job.wait(20)
    assert (job.state, job.error) == ("failed", "There is no column 'label'.")


def test_another_error_is_a_sentence_and_its_traceback_is_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_module, "logged", lambda told, trace: f"{told} {trace.splitlines()[-1]}")

    def compute(report):
        raise ZeroDivisionError("secret detail")

    job = Job(compute)
    job.start()
    assert job.wait(20)
    assert job.error == "The measurement stopped with an error that is not your fault. ZeroDivisionError: secret detail"


def test_what_a_library_prints_does_not_disturb_the_answers():
    def compute(report):
        print("x" * 100_000)
        os.write(1, b"straight to the descriptor")
        return "fine"

    job = Job(compute)
    job.start()
    assert job.wait(20)
    assert job.result == "fine"


def test_something_that_cannot_be_copied_is_refused():
    import threading

    lock = threading.Lock()
    with pytest.raises(InputError, match="cannot be sent"):
        Job(lambda report: lock).start()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no signals")
def test_the_worker_ends_when_the_kernel_is_killed(tmp_path):
    script = tmp_path / "kernel.py"
    script.write_text(textwrap.dedent(f"""
        import os, time
        from helpers.app.jobs.job import Job

        print("main runs once", flush=True)

        def compute(report):
            report(0.1, str(os.getpid()))
            time.sleep({SLOW_S})

        if __name__ == "__main__":
            job = Job(compute)
            job.start()
            while not job.message.isdigit():
                time.sleep(0.01)
            print(job.message, flush=True)
            time.sleep({SLOW_S})
    """))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as kernel:
        assert kernel.stdout.readline().strip() == "main runs once"
        worker = int(kernel.stdout.readline())
        kernel.kill()
    wait_until(lambda: not is_running(worker), 5)


def test_a_computation_runs_without_its_panel(capsys):
    def compute(report, speedup):
        report(None, "1 run ahead")
        report(0.5, "timing")
        report.partial(record("fast", 9.0))
        return [record(), record("fast", speedup)] if speedup > 1 else None

    assert [(r.model, r.speedup) for r in run(compute, speedup=2.0)] == [("fast", 2.0), ("base", 1.0)]
    assert [r.speedup for r in run(compute, speedup=1.0)] == [9.0]
    assert capsys.readouterr().err.splitlines()[:2] == ["waiting 1 run ahead", " 50% timing"]
    with pytest.raises(InputError):
        run(lambda report: "text")
