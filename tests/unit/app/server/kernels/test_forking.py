"""Kernels that are forked: each is a kernel of its own, has all that others have, and ends with its server."""

import asyncio
import multiprocessing.util
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from app_helpers import wait_until
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from traitlets.config import Config

from helpers.app.server.kernels import forking
from helpers.app.server.kernels.manager import GraceKernelManager
from helpers.lab.paths import SESSION

ROOT = Path(__file__).parents[5]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux alone")
FACTS = """
import os
import numpy as np
from IPython import get_ipython
has_target = "jupyter.widget.control" in get_ipython().kernel.comm_manager.targets
"""
# A server with one kernel, which says the kernel's process and then waits.
SERVER = """
import asyncio, signal, tempfile
from traitlets.config import Config
from helpers.app.server.kernels import forking
from helpers.app.server.kernels.manager import GraceKernelManager

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it

async def story():
    config = Config()
    forking.prepare(config)
    manager = GraceKernelManager(config=config, connection_dir=tempfile.gettempdir())
    kernel = manager.get_kernel(await manager.start_kernel())
    client = kernel.client()
    client.start_channels()
    await client.wait_for_ready(timeout=120)
    print(kernel.provisioner.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(story())
"""


@pytest.fixture
def manager(monkeypatch, tmp_path_factory):
    """A manager whose kernels are forked, with a short name for temporary files: sockets lie there."""
    with monkeypatch.context() as patch:  # the fork server's folder is the whole process's, which lives longer
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))
        multiprocessing.util.get_temp_dir()
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        config = Config()
        forking.prepare(config)
        KernelProvisionerFactory.clear_instance()
        yield GraceKernelManager(config=config, connection_dir=folder)
        KernelProvisionerFactory.clear_instance()


async def asked(client, expression: str, code: str = "") -> str:
    """What an expression is in a kernel, after some code."""
    if not client.channels_running:
        client.start_channels()
        await client.wait_for_ready(timeout=120)
    number = client.execute(code, user_expressions={"value": expression})
    while True:
        reply = await client.get_shell_msg(timeout=120)
        if reply["parent_header"]["msg_id"] == number:
            assert reply["content"]["status"] == "ok", reply["content"]
            return reply["content"]["user_expressions"]["value"]["data"]["text/plain"]


def test_two_forked_kernels_share_nothing_and_lack_nothing(manager, tmp_path):
    async def story():
        names = [await manager.start_kernel(cwd=str(tmp_path), env={**os.environ, "MARK": mark}) for mark in "ab"]
        kernels = [manager.get_kernel(name) for name in names]
        clients = [kernel.client() for kernel in kernels]
        for kernel, client, mark, name in zip(kernels, clients, "ab", names, strict=True):
            process = psutil.Process(kernel.provisioner.pid)
            assert process.name() == forking.TITLE
            assert "forkserver" in " ".join(process.parent().cmdline())
            assert os.getpgid(process.pid) == process.pid, "an interrupt goes to this one alone"
            assert await asked(client, "has_target", FACTS) == "True", "widgets of a page could not be asked for"
            assert await asked(client, "os.environ['MARK']") == repr(mark)
            assert await asked(client, f"os.environ[{SESSION!r}]") == repr(str(manager.folders / name))
            assert await asked(client, "os.getcwd()") == repr(str(tmp_path))
        for draw in ("np.random.random()", "__import__('random').random()", "__import__('uuid').uuid4().hex"):
            assert len({await asked(client, draw) for client in clients}) == 2, draw
        await asked(clients[0], "mine", "mine = 1")
        assert await asked(clients[1], "'mine' in globals()") == "False"

        client, kernel = clients[0], kernels[0]
        running = client.execute("import time\nprint('begun', flush=True)\ntime.sleep(60)")
        while (await client.get_iopub_msg(timeout=60))["msg_type"] != "stream":
            pass
        await kernel.interrupt_kernel()
        while (reply := await client.get_shell_msg(timeout=30))["parent_header"]["msg_id"] != running:
            pass
        assert reply["content"]["ename"] == "KeyboardInterrupt"

        await asked(clients[1], "None", "import atexit, pathlib\natexit.register(pathlib.Path('left').touch)")
        processes = [kernel.provisioner.process for kernel in kernels]
        processes[0].kill()
        assert await asyncio.wait_for(asyncio.to_thread(processes[0].wait), 30) == -signal.SIGKILL
        assert not await kernels[0].is_alive()
        for name, client in zip(names, clients, strict=True):
            client.stop_channels()
            await manager.shutdown_kernel(name)
        assert [process.poll() is None for process in processes] == [False, False]
        assert (tmp_path / "left").exists(), "one that is shut down ends as a program does"

    asyncio.run(story())


def test_a_fork_server_that_was_killed_is_replaced(manager):
    async def story():
        name = await manager.start_kernel()
        first = psutil.Process(manager.get_kernel(name).provisioner.pid)
        first.parent().kill()
        await asyncio.to_thread(wait_until, lambda: not first.is_running(), 30)
        await manager.shutdown_kernel(name)

        name = await manager.start_kernel()
        client = manager.get_kernel(name).client()
        assert await asked(client, "6 * 7") == "42"
        client.stop_channels()
        await manager.shutdown_kernel(name)

    asyncio.run(story())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_kernel_outlives_its_server(how):
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, cwd=ROOT,
                                  env=environment, start_new_session=True)
        kernel = psutil.Process(int(server.stdout.readline()))
        started = psutil.Process(server.pid).children(recursive=True)
        assert kernel in started
        server.send_signal(how)
        server.communicate(timeout=60)
        assert psutil.wait_procs(started, timeout=30)[1] == [], "these live on"


def test_what_pages_import_is_imported_before():
    """Else pages open late again: python -m recording.modules writes the list anew."""
    code = ("import sys, helpers.app.server.kernels.preload\nfrom recording import modules\n"
            "assert 'torch' not in sys.modules\n"
            "missing = modules.imported(modules.NOTEBOOKS)\nprint('missing:', *missing)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    missing = done.stdout.rpartition("missing:")[2].split()
    assert len(missing) <= 20, missing
    assert not [name for name in missing if name.startswith("helpers.")]
