"""What helpers.app offers, and what it must not load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_only_records_costs_errors_and_machine_are_taken_from_lab():
    code = ("import importlib, pkgutil, sys, helpers.app\n"
            "for found in pkgutil.walk_packages(helpers.app.__path__, 'helpers.app.'):\n"
            "    if not found.name.endswith('.preload'):  # of a list of names, for kernels alone\n"
            "        importlib.import_module(found.name)\n"
            "print(sorted(name for name in sys.modules if name.startswith('helpers.lab.')), 'torch' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    allowed = ["helpers.lab.errors", "helpers.lab.facts", "helpers.lab.machine", "helpers.lab.measuring",
               "helpers.lab.measuring.measurement", "helpers.lab.money", "helpers.lab.money.bill",
               "helpers.lab.money.costs", "helpers.lab.money.power", "helpers.lab.money.scenario",
               "helpers.lab.paths", "helpers.lab.progress"]
    assert run.stdout.strip() == f"{allowed} False", run.stdout + run.stderr


def test_nothing_in_the_template_comes_from_another_host():
    files = [path for path in (ROOT / "helpers/app/template").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert "http" not in path.read_text().replace("http-equiv", ""), path


def test_every_file_is_short():
    for path in (ROOT / "helpers/app").rglob("*.py"):
        assert len(path.read_text().splitlines()) < 300, path


def test_charts_come_without_the_grammar_that_takes_seconds():
    code = ("import sys; from helpers import app; from helpers.app.charts.vega import Chart\n"
            "print('altair' in sys.modules, 'lark' in sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "True False", run.stderr


def test_a_panel_of_measurements_opens_without_pandas():
    code = "import sys; from helpers.app import Panel, headline, guess, chart; print('pandas' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == "False", run.stderr
