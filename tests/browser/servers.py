"""Servers as a user starts them, each with a home of its own."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
START_S = 60


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(command: list[str], log: Path, port: int, home: Path, temporary: Path | None = None) -> Iterator[None]:
    """A server process with a home and a queue of measurements of its own, from when it listens to the block's end.

    `temporary` is its folder for temporary files, where a test looks into it.
    """
    short = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # for sockets, of 107 letters at most
    own = {"HELPERS_HOME": home, "TMPDIR": temporary or short.name, "JUPYTER_CONFIG_DIR": home / "config",
           "JUPYTER_RUNTIME_DIR": home / "run", "JUPYTERLAB_SETTINGS_DIR": home / "settings",
           "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces"}
    environment = {**os.environ, **{name: str(path) for name, path in own.items()},
                   "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    with short, log.open("wb") as file:
        server = subprocess.Popen([sys.executable, *command], stdout=file, stderr=file, env=environment, cwd=home)
        try:
            _wait_for(port, server, log)
            yield
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.3)
    pytest.fail(f"the server did not start:\n{log.read_text()}")
