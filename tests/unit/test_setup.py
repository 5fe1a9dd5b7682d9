"""The files that set the project up agree with each other, and the package is complete."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from helpers.app import change, cheaper, recorded
from helpers.app.server.pages import recorded_finding

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
PIN = r"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?==(\S+)"


def lines_of(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()


def pins(lines: list[str]) -> dict[str, str]:
    """Package name, as pip compares names -> version."""
    found = [re.match(r"\s*(?:- )?" + PIN, line) for line in lines]
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found if match}


def required() -> list[str]:
    return [line for line in lines_of("requirements.txt") if line and not line.startswith("#")]


def shipped_files() -> set[str]:
    files = (file for file in (ROOT / "helpers").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_conda_gets_the_same_pins_as_pip():
    assert pins(lines_of("environment.yml")) == pins(required())


@pytest.mark.parametrize("line", required()[:-1])
def test_each_requirement_is_pinned_and_says_why_it_is_here(line):
    assert re.fullmatch(PIN + r"  # \w.{9,}", line)


def test_the_requirements_alone_make_a_working_environment():
    assert required()[-1] == "-e ."


def test_each_direct_pin_is_in_the_constraints():
    assert pins(required()).items() <= pins(lines_of("constraints.txt")).items()


def test_the_constraints_fit_every_machine():
    """A local version (torch 2.13.0+cpu) or a path exists on one machine only."""
    entries = [line for line in lines_of("constraints.txt") if not line.startswith("#")]
    assert [line for line in entries if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_what_the_package_depends_on_is_what_was_tested():
    extras = [name.split("[")[0] for names in PROJECT["optional-dependencies"].values() for name in names]
    assert {*PROJECT["dependencies"], *extras} <= set(pins(required()))


def test_the_wheel_holds_every_file_of_helpers(tmp_path):
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    for name in filter(os.path.exists, [ROOT / "pyproject.toml", ROOT / "README.md"]):
        shutil.copy(name, tmp_path)
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("helpers/")}
    assert packed == shipped_files()


@pytest.mark.parametrize("target", ["apps", "lab", "test", "bench", "record", "html", "pictures"])
def test_each_make_target_sets_the_environment_up_first(target):
    assert re.search(rf"^{target}: setup\b.* ## \w", MAKEFILE, re.MULTILINE)


def test_ci_runs_the_tests_and_nothing_else():
    commands = [line for line in lines_of(".ci/run") if not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


@pytest.mark.parametrize("notebook", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_the_readme_says_what_the_pages_say(notebook):
    finding, date = recorded_finding(notebook)
    section = (ROOT / "README.md").read_text(encoding="utf-8").split(f"\n### {notebook[0]} ")[1].split("\n### ")[0]
    assert finding in section
    assert date in section


def test_the_readme_says_what_all_steps_give_together():
    pipelines = recorded("1_model_optimization_together")
    longest = max(pipelines, key=lambda record: len(record.settings.get("steps", ())))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"({longest.model}): {cheaper(longest)}; {change(longest)}." in readme
