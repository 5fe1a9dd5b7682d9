"""What is told about the machine."""

import os
import re
import subprocess
import sys

import pytest

from helpers.lab.machine import describe, fingerprint, peak_resident_bytes


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


def test_peak_memory_counts_what_was_given_back():
    before = peak_resident_bytes()
    block = bytearray(os.urandom(1)) * 300_000_000
    del block
    assert peak_resident_bytes() >= max(before, 300_000_000)
