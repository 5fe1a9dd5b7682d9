"""Who may import whom, as pyproject.toml's contracts say, and what a page must not load."""

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITH_APP = """
import importlib, importlib.util, pkgutil, helpers
app = importlib.util.find_spec("helpers.app")
for found in pkgutil.walk_packages(app.submodule_search_locations if app else [], "helpers.app."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
SHOW_HEAVY = "\nimport sys; print([name for name in ('torch', 'transformers', 'openvino') if name in sys.modules])"
WITH_RECORDS = "from helpers.lab import Measurement, read_recorded, cost, offers"


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def pinned_names() -> set[str]:
    names = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return {comparable(name) for name in names}


def comparable(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imports_of(folder: Path) -> set[str]:
    """The first part of the name of each module imported below `folder`, wherever in the file."""
    nodes = [node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    from_ = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.split(".")[0] for name in plain | from_}


def test_nobody_imports_what_the_contracts_forbid():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = run_python(code)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("code", [WITH_APP, WITH_RECORDS], ids=["app", "records"])
def test_a_page_of_recorded_results_opens_without_torch(code):
    run = run_python(code + SHOW_HEAVY)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_each_package_that_helpers_imports_is_a_direct_requirement():
    owners = importlib.metadata.packages_distributions()
    imported = imports_of(ROOT / "helpers") - sys.stdlib_module_names - {"helpers"}
    pinned = pinned_names()
    missing = {name for name in imported if not pinned & {comparable(owner) for owner in owners.get(name, [name])}}
    assert not missing, "CONTRIBUTING.md, 'A new package', says where to pin them"
