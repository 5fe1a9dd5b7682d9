"""A panel's computation as a script: made in a notebook's kernel, run in a process that knows nothing of it."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.app import run
from helpers.app.export.scripts import explore_script

ROOT = Path(__file__).parents[4]
CELLS = ["""
import json
import math as maths
from collections import Counter, namedtuple
from fractions import Fraction as F
from functools import lru_cache
from helpers.app.charts.parts import Mark
from helpers.app.export.scripts import explore_script

TASK, TEST, ROWS, SIZES = "tickets", None, 3, {"a": [1, 2], "b": (0.5,), "c": {float("inf")}}
POINT = [Mark("m", 1, 2, 3, 4.5, 5, 6)]
task = open("/dev/null")  # not copied: measure only has a local variable of that name
""", """
def half(x, of=ROWS):
    return x / of

def other(n):
    return n if n < 1 else other(n - 1)
third = other

@lru_cache
def cached(x):
    return x
""", """
def measure(scheme, rows: int = ROWS, *, limit=maths.inf):
    task = [half(number) for number in range(rows)]
    inner = lambda: (TASK, TEST, {key: sorted(value) for key, value in SIZES.items()})
    json.dumps(scheme)
    return [scheme, task, inner(), third(2), POINT[0].y, str(F(1, 3)), Counter(scheme)["d"], limit]

SETTINGS = {"scheme": "dy'na\\nmic", "rows": 4, "limit": 0.1}
print(explore_script(measure, SETTINGS))
""", "print(measure(**SETTINGS))", """
def refused(function):
    try:
        explore_script(function, {})
    except ValueError as error:
        return str(error)

def uses_file(): return task
def uses_nothing(): return missing
def outer():
    x = 1
    return lambda: x
print([refused(f) for f in (uses_file, uses_nothing, outer(), len, lambda: 1)])
"""]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each cell printed."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in CELLS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        done = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path_factory.mktemp("cwd"))}}).execute()
    return ["".join(output["text"] for output in cell.outputs if output.output_type == "stream") for cell in done.cells]


def test_the_script_runs_alone_and_gives_the_same(printed, tmp_path):
    (tmp_path / "copied.py").write_text(printed[2])
    alone = subprocess.run([sys.executable, "copied.py"], cwd=tmp_path, capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert alone.stdout == printed[3], alone.stderr
    assert "dy'na" in alone.stdout
    assert "/dev/null" not in printed[2]
    assert "cached" not in printed[2]


def test_what_cannot_be_copied_is_a_sentence(printed):
    said = eval(printed[4])
    assert said[0].startswith("'task' holds a TextIOWrapper")
    assert said[1] == "'uses_nothing' uses 'missing', which is not defined."
    assert all("written with def" in sentence for sentence in said[2:])


def test_a_function_of_a_package_is_imported():
    assert explore_script(run, {"x": 1}).splitlines()[0] == "from helpers.app.jobs.job import run"
