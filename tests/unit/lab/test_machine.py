"""What is told about the machine."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.lab.machine import brief, describe, fingerprint, peak_resident_bytes

ROOT = Path(__file__).parents[3]

def test_the_fingerprint_names_neither_user_nor_host():
    code = ("import getpass, os, platform, socket\n"
            "os.environ |= {'USER': 'Zaphod', 'LOGNAME': 'Zaphod', 'HOME': '/home/Zaphod', 'HOSTNAME': 'Magrathea'}\n"
            "platform.node = socket.gethostname = socket.getfqdn = lambda *a: 'Magrathea'\n"
            "getpass.getuser = lambda: 'Zaphod'\n"
            "real = platform.uname()\n"
            "platform.uname = lambda: real._replace(node='Magrathea')\n"
            "from helpers.lab import fingerprint\nprint(fingerprint())\nprint(os.environ['USER'], platform.node())")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    facts, names = printed.strip().split("\n")
    assert names == "Zaphod Magrathea"
    assert "Zaphod" not in facts
    assert "Magrathea" not in facts
    assert os.uname().nodename not in facts or len(os.uname().nodename) < 4


def test_the_fingerprint_says_what_a_figure_depends_on():
    facts = fingerprint()
    assert re.fullmatch("[0-9a-f]{12}", facts["id"])
    assert facts["cores"] == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert facts["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    assert {"torch", "onnxruntime", "openvino"} <= set(facts["libraries"])
    assert facts["cpu"] in describe(facts)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_cores_that_the_process_may_not_use_are_not_counted():
    code = ("import os; from helpers.lab.machine import usable_cores\n"
            "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(usable_cores())")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(("machine", "said"), [
    ({"cpu": "AMD EPYC", "cores": 2, "gpu": None}, "AMD EPYC, 2 cores"),
    ({"cpu": "Intel(R) Xeon(R) Processor", "cores": 2}, "Intel Xeon, 2 cores"),
    ({"cpu": "Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz", "cores": 12}, "Intel Core i7-9750H, 12 cores"),
    ({"cpu": "AMD EPYC 7B13 64-Core Processor", "cores": 4}, "AMD EPYC 7B13, 4 cores"),
    ({"cpu": "Apple M2", "cores": 8}, "Apple M2, 8 cores"),
    ({"cpu": "some CPU", "cores": 16, "gpu": "NVIDIA H100 80GB HBM3"}, "NVIDIA H100 80GB HBM3"), ({}, "")])
def test_a_machine_in_a_sentences_few_words(machine, said):
    assert brief(machine) == said


def test_peak_memory_counts_what_was_given_back():
    before = peak_resident_bytes()
    block = bytearray(os.urandom(1)) * 300_000_000
    del block
    assert peak_resident_bytes() >= max(before, 300_000_000)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.parametrize(("before", "heaps"), [("share_one_heap()", 1), ("pass", 5)])
def test_threads_share_one_heap_where_that_is_asked_for(before, heaps):
    code = ("import ctypes, threading; from helpers.lab.machine import share_one_heap\n"
            f"{before}\n"
            "libc, together, kept = ctypes.CDLL(None), threading.Barrier(5), []\n"
            "libc.malloc.restype = ctypes.c_void_p\n"
            "work = lambda: (together.wait(), kept.append(libc.malloc(100_000)), together.wait())\n"
            "threads = [threading.Thread(target=work) for _ in range(4)]\n"
            "[thread.start() for thread in threads]; work()\n"
            "libc.fopen.restype = ctypes.c_void_p\n"
            "out = libc.fopen(b'/dev/stdout', b'w')\n"
            "libc.malloc_info(0, ctypes.c_void_p(out)); libc.fflush(ctypes.c_void_p(out))")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.count("<heap ") == heaps, run.stdout
