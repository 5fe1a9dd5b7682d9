"""The process that computes for a page: started, spoken to over its pipes, and always ended.

Not a pool of loky, which is made for many short tasks whose results matter at their end: here one task reports how far
it is and sends results while it runs, for which a pool would need a second channel, and a shared queue stays locked
when its writer is killed. Cancel kills the one process in the midst of anything and says so at once, a kernel that is
killed takes its process along even when that is deep in a library, and what ended it is reported in a sentence.
"""

import atexit
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, BinaryIO

import psutil

_LENGTH = struct.Struct(">Q")
_LAST_WORDS = 8_000  # bytes of the worker's output that go to the log when it dies
_living: "weakref.WeakSet[Worker]" = weakref.WeakSet()


class Gone(Exception):
    """The worker has ended without an answer; `sentence` tells the reader why."""

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.sentence = sentence


def write(pipe: BinaryIO, content: bytes) -> None:
    """One message with its length before it."""
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def read(pipe: BinaryIO) -> bytes | None:
    """The next message, or None when the other side is gone."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    length = _LENGTH.unpack(head)[0]
    content = pipe.read(length)
    return content if len(content) == length else None


def kill_tree(pid: int) -> None:
    """End a process and everything that it started, also what left its process group."""
    with contextlib.suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        family = [*top.children(recursive=True), top]
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


class Worker:
    """A fresh interpreter that never imports this kernel's `__main__`; works on Windows, macOS and Linux."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        home = str(Path(__file__).parents[3])
        paths = [home, os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.app.jobs.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._said, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))})
        self._writing = threading.Lock()
        _living.add(self)
        self.send(pickle.dumps(sys.path))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can still be given work. One that was killed cannot, though it takes a moment to be gone."""
        return self in _living and self._process.poll() is None

    def send(self, content: bytes) -> None:
        """Give it a pickled (compute, settings); the very first message is its path for imports.

        Raises:
            Gone: the process has ended.
        """
        try:
            with self._writing:
                write(self._process.stdin, content)
        except OSError:
            raise Gone(self._epitaph()) from None

    def receive(self) -> tuple[str, Any]:
        """The next (kind, content); blocks.

        Raises:
            Gone: the process has ended.
        """
        content = read(self._process.stdout)
        if content is None:
            raise Gone(self._epitaph())
        return pickle.loads(content)

    def kill(self) -> None:
        """End it and its children; returns at once."""
        kill_tree(self.pid)
        _living.discard(self)

    def last_words(self) -> str:
        """The end of what it printed."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _LAST_WORDS))
        return self._said.read().decode(errors="replace")

    def _epitaph(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
            return "The measurement closed its connection and was ended: run it again."
        kill_tree(self.pid)
        if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
            return ("The system ended the measurement, most likely because memory ran out: "
                    "choose smaller settings, close other programs, and run it again.")
        return f"The measurement's process ended by itself (exit code {code}): run it again."


@atexit.register
def kill_all() -> None:
    """End every worker of this kernel, as its exit does."""
    for worker in list(_living):
        worker.kill()
