"""The same function in several processes that talk to each other: torch.distributed on one machine."""

import contextlib
import datetime
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

from helpers.lab.errors import InputError, reason
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress, silent

LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_KILLED = (-9, -15)  # by the memory watchdog, an operator or a scheduler; not by an error of the process itself


def run_workers(fn: Callable[[], Any], workers: int = 2, *, timeout_s: float = 300.0,
                progress: Progress = silent) -> list[Any]:
    """Call `fn()` in `workers` new processes that form one torch.distributed group: their results by rank.

    Args:
        fn: a function that takes nothing; one written in a notebook may be sent too. It asks
            torch.distributed for its rank, and `worker_device()` for where to compute.
        timeout_s: after which all processes are ended.
        progress: asked several times a second; once it raises Cancelled, all processes are ended.

    The group speaks NCCL where there is a GPU for each worker, else gloo. Each process has one thread, so that one
    and two workers compare like with like. This is no process pool, and a pool (loky, as in `helpers.lab.sweep`)
    would not do: the workers must all run at the same time, know their rank and meet in a group, and the failure of
    one must end the others, which wait for it. Each process is a new Python, started by command line: unlike
    `multiprocessing.spawn` this works from a notebook, from a script without a main guard and from a daemon process.

    Raises:
        InputError: a number that makes no sense, or the function refused its input.
        RuntimeError: a worker failed, with its last words; or they did not end in time.
        Cancelled: by `progress`.
    """
    if workers < 1:
        raise InputError(f"Workers are counted from 1; got {workers}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "function").write_bytes(cloudpickle.dumps(fn))
        started = [_start(folder, rank, workers, timeout_s) for rank in range(workers)]
        try:
            _wait(started, folder, timeout_s, progress)
            return [pickle.loads((folder / f"result-{rank}").read_bytes()) for rank in range(workers)]
        finally:
            for process in started:  # one that waits for a failed partner would wait for ever
                process.kill()
                process.wait()


def worker_device() -> Any:
    """The torch.device of this worker: its own GPU where the group speaks NCCL, else the CPU."""
    import torch
    import torch.distributed as dist

    return torch.device("cuda", dist.get_rank()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _start(folder: Path, rank: int, workers: int, timeout_s: float) -> subprocess.Popen:
    here = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    if sys.platform in LOOPBACK:  # else gloo asks for this host's name, which need not resolve
        here["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", LOOPBACK[sys.platform])
    with (folder / f"words-{rank}").open("wb") as words:
        return subprocess.Popen([sys.executable, "-m", __name__, str(folder), str(rank), str(workers),
                                 str(timeout_s)], env=os.environ | here, stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=words)


def _wait(started: list[subprocess.Popen], folder: Path, timeout_s: float, progress: Progress) -> None:
    """Until all have ended, or the first has ended without a result: the others would wait for it."""
    deadline = time.monotonic() + timeout_s
    while None in [process.poll() for process in started]:  # each of them is asked, not only up to the first that runs
        progress.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(started)} workers did not end within {timeout_s:.0f} s; they were ended.")
        if _fallen(started, folder):
            break
        time.sleep(0.05)
    _raise_first_failure(started, folder)


def _fallen(started: list[subprocess.Popen], folder: Path) -> list[int]:
    """Ranks of the workers that ended without a result, whatever their exit code."""
    return [rank for rank, process in enumerate(started)
            if process.returncode is not None and (process.returncode or not (folder / f"result-{rank}").exists())]


def _raise_first_failure(started: list[subprocess.Popen], folder: Path) -> None:
    """The first to fail takes the others down with it, and only its own words tell why.

    One that was killed could say nothing: its partners' words are about the lost connection, and do not count.
    """
    fallen = _fallen(started, folder)
    silent_ranks = [rank for rank in fallen if not (folder / f"failed-{rank}").exists()]
    killed = [rank for rank in silent_ranks if started[rank].returncode in _KILLED]
    failures = sorted(folder.glob("failed-*"), key=lambda file: file.stat().st_mtime_ns)
    if failures and not killed:
        refused, words = pickle.loads(failures[0].read_bytes())
        raise InputError(words) if refused else RuntimeError(f"A worker failed: {words}")
    for rank in killed or silent_ranks:  # a crash without an exception
        lines = (folder / f"words-{rank}").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise RuntimeError(f"Worker {rank} of {len(started)} ended with code {started[rank].returncode}: "
                           f"{lines[-1] if lines else 'it said nothing'}")


def _main(folder: Path, rank: int, workers: int, timeout_s: float) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    own_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= workers
    if own_gpus:
        torch.cuda.set_device(rank)
    dist.init_process_group("nccl" if own_gpus else "gloo", init_method=(folder / "meeting-point").as_uri(), rank=rank,
                            world_size=workers, timeout=datetime.timedelta(seconds=timeout_s))
    try:
        result = pickle.loads((folder / "function").read_bytes())()
        (folder / f"result-{rank}").write_bytes(cloudpickle.dumps(result))
        dist.barrier()  # whoever leaves first would break a partner's last exchange
    except Exception as error:
        refused = isinstance(error, InputError)
        words = str(error) if refused else reason(error)
        write_atomically(folder / f"failed-{rank}", pickle.dumps((refused, words)))
        raise
    finally:
        with contextlib.suppress(RuntimeError):  # the group is already broken where a partner failed
            dist.destroy_process_group()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:4]), float(sys.argv[4]))
