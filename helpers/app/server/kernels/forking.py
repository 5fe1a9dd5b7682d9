"""Kernels that are forked from one process which has imported what the pages need: ready in a fraction of the time.

A page's kernel spends most of its processor time on imports: two of three seconds. One process imports once, and each
kernel is a copy of it, whose memory the system shares until it is written to. The process is the fork server of
Python's own `multiprocessing`. It never runs a cell, and no thread of Python's: so nothing is copied half-way.
"""

import asyncio
import atexit
import contextlib
import importlib.metadata
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

MODULES = Path(__file__).parents[2] / "static" / "modules.txt"  # `python -m recording.modules` writes it
PRELOAD = "helpers.app.server.kernels.preload"
LAUNCHER = "ipykernel_launcher"
PROVISIONER = "compute-smarter-forked"
TITLE = "ipykernel-page"  # what the system's lists of processes show; 15 bytes at most


def prepare(config: Any) -> None:
    """Let all kernels of a server with this configuration be forked, where the system can be trusted with that.

    On macOS libraries of the system may end a forked process, and Windows cannot fork.
    """
    if sys.platform != "linux":
        return
    entry = importlib.metadata.EntryPoint(PROVISIONER, f"{__name__}:{ForkedProvisioner.__name__}",
                                          KernelProvisionerFactory.GROUP_NAME)
    KernelProvisionerFactory.provisioners[PROVISIONER] = entry
    config.KernelProvisionerFactory.default_provisioner_name = PROVISIONER
    multiprocessing.set_forkserver_preload([PRELOAD])


class ForkedKernel:
    """A forked kernel, with what Jupyter asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
        self._process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(list(command), dict(environment), folder or os.getcwd()))
        self._process.start()
        self.pid = self._process.pid
        _started.add(self)

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it lives."""
        return self._process.exitcode

    def wait(self) -> int | None:
        """The exit code, once it has ended."""
        self._process.join()
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


_started: "weakref.WeakSet[ForkedKernel]" = weakref.WeakSet()


@atexit.register  # after multiprocessing's own, hence called before it, which would wait for them for ever
def _end_all() -> None:
    for kernel in list(_started):
        kernel.kill()


class ForkedProvisioner(LocalProvisioner):
    """Starts this Python's kernels by forking, and all others as Jupyter does."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start a kernel, in a process group of its own."""
        if cmd[:3] != [sys.executable, "-m", LAUNCHER]:
            return await super().launch_kernel(cmd, **kwargs)
        # In a thread: the first one waits until the fork server has imported everything.
        self.process = await asyncio.to_thread(ForkedKernel, cmd[3:], kwargs["env"], kwargs.get("cwd"))
        self.pid = self.pgid = self.process.pid
        self.cwd = kwargs.get("cwd") or os.getcwd()
        return self.connection_info


def _run(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Be a kernel, in the forked process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    Path("/proc/self/comm").write_text(TITLE, encoding="ascii")
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    sys.argv = [LAUNCHER, *arguments, f"--IPKernelApp.parent_handle={os.getppid()}"]
    _reseed()
    import ipywidgets
    from ipykernel.kernelapp import IPKernelApp

    try:
        kernel = IPKernelApp.instance()
        kernel.initialize()
        ipywidgets.register_comm_target()  # on its import there was no kernel, to which it would have made itself known
        kernel.start()
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without them


def _end_with(server: int) -> None:
    """End this process as soon as the server's has ended, whatever that died of."""
    multiprocessing.connection.wait([server])
    os._exit(1)


def _reseed() -> None:
    """Give NumPy's global generator a state of its own: Python's own does that when a process is forked."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
