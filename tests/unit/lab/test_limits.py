"""A process with limits: what it may take, what is said of more, and that nothing of it is left."""

import os
import time

import psutil
import pytest
from app_helpers import commands_of

from helpers.lab.limits import Limits, OverLimit, run_limited

ROOMY = Limits(seconds=20, memory_bytes=2**29, answer_bytes=1_000_000)
NEEDS_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no limits for a process")


@pytest.fixture
def module(tmp_path, monkeypatch):
    """module(body of a function of `request`) -> the name of a module that answers with it."""
    def written(body: str) -> str:
        (tmp_path / "answering.py").write_text(
            "from helpers.lab.limits import serve\n\n\ndef answer(request):\n    " + body.replace("\n", "\n    ")
            + "\n\n\nserve(answer)\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "answering"

    return written


def test_the_answer_is_what_the_function_returns(module):
    assert run_limited(module("return {'got': request, 'half': '\\ud83d'}"), {"a": [1, None, "ü"]}, ROOMY) == {
        "got": {"a": [1, None, "ü"]}, "half": "\ud83d"}


def test_what_a_library_prints_on_the_error_stream_does_not_mix_with_the_answer(module):
    assert run_limited(module("import sys\nprint('a warning', file=sys.stderr)\nreturn 1"), None, ROOMY) == 1


@NEEDS_POSIX
def test_memory_beyond_the_limit_is_not_given(module):
    with pytest.raises(OverLimit, match=r"^takes more than 0\.5 GiB of memory to read$"):
        run_limited(module("return len(bytearray(2**30))"), None, ROOMY)
    assert run_limited(module("return len(bytearray(2**28))"), None, ROOMY) == 2**28


@NEEDS_POSIX
def test_a_loop_is_ended_when_its_seconds_of_the_processor_are_over(module):
    start = time.monotonic()
    with pytest.raises(OverLimit, match=r"^takes more than 4 s to read$"):
        run_limited(module("while True: pass"), None, Limits(4, 2**29, 1000))
    assert time.monotonic() - start < 20


def test_a_process_that_sleeps_is_ended_by_the_clock_and_gone(module):
    with pytest.raises(OverLimit, match=r"^takes more than 6 s to read$"):
        run_limited(module("import time\ntime.sleep(600)"), None, Limits(1, 2**29, 1000))
    assert "answering" not in commands_of(psutil.Process().children())


def test_an_answer_that_is_too_long_is_not_read(module):
    with pytest.raises(OverLimit, match=r"^is more than 0.001 MB when it is unpacked$"):
        run_limited(module("return 'x' * 2000"), None, Limits(20, 2**29, 1000))


@NEEDS_POSIX
def test_no_file_can_be_filled_beyond_the_answer(module, tmp_path):
    body = f"with open({str(tmp_path / 'big')!r}, 'wb', 0) as file:\n    file.write(bytes(10**6))\nreturn 1"
    run_limited(module(body), None, Limits(20, 2**29, 1000))
    assert (tmp_path / "big").stat().st_size == 1001


@NEEDS_POSIX
def test_a_library_that_crashes_takes_only_its_own_process_along(module):
    with pytest.raises(OverLimit, match=r"^breaks the program that reads it"):
        run_limited(module("import os\nos.abort()"), None, ROOMY)


def test_an_error_of_ours_is_raised_with_its_trace(module):
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_limited(module("return 1 / 0"), None, ROOMY)
