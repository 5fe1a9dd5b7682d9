"""Who may import whom, as pyproject.toml's contracts say, and what each folder and each facade of helpers holds."""

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HELPERS = ROOT / "helpers"
FACADES = sorted(path.parent.name for path in HELPERS.glob("*/__init__.py") if "lazy_loader" in path.read_text())
FOLDERS = sorted({path.parent.relative_to(ROOT).as_posix() for path in HELPERS.rglob("*.py")})
# The surface that others build on: kept, whoever calls it here.
SURFACE = {
    "lab": {"load_task", "baseline", "compare", "cost", "Ledger", "InputError", "Cancelled", "Model", "endpoint",
            "prompted"},
    "model_optimization": {"quantize", "prune", "distill"},
    "cloud_distributed": {"replicate"},
    "app": {"run", "finding", "as_csv"},  # called by the scripts that a page writes
}
MAX_MODULES = 9
OF_A_WHOLE_FOLDER = {"app/test_facade.py", "app/server/test_probes.py", "app/server/test_probes_of_kernels.py",
                     "lab/test_torch_free.py", "lab/data/test_own_files.py", "lab/data/test_uploads.py",
                     "lab/models/test_save_and_load.py"}
WITH_APP = """
import importlib, importlib.util, pkgutil, helpers
app = importlib.util.find_spec("helpers.app")
for found in pkgutil.walk_packages(app.submodule_search_locations if app else [], "helpers.app."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
SHOW_HEAVY = "\nimport sys; print([name for name in ('torch', 'transformers', 'openvino') if name in sys.modules])"
WITH_RECORDS = ("from helpers.lab import Measurement, cost, offers\n"
                "from helpers.lab.measuring.measurement import read_recorded")


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


def facade(name: str) -> set[str]:
    """The names that the package exports."""
    return set(importlib.import_module(f"helpers.{name}").__all__)


def cells(notebook: Path) -> str:
    """A notebook's code, without the lines that only IPython understands."""
    sources = ["".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
               if cell["cell_type"] == "code"]
    return re.sub(r"^\s*[%!].*$", "", "\n".join(sources), flags=re.MULTILINE)


def users_of(name: str) -> Iterator[str]:
    """The code of all who may call a facade's names: not the package itself, not the tests."""
    files = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "recording").rglob("*.py")]
    files += [file for file in HELPERS.rglob("*.py") if file.relative_to(HELPERS).parts[0] != name]
    yield from (file.read_text(encoding="utf-8") for file in files)
    yield from (cells(notebook) for notebook in (ROOT / "notebooks").glob("*.ipynb"))


def shown_in_the_readme() -> set[str]:
    """All words of its code, in passages and in lines."""
    code = re.findall(r"```.*?```|`[^`\n]+`", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return set(re.findall(r"\w+", " ".join(code)))


def used_from(name: str) -> set[str]:
    """What is imported from helpers.<name>, or read as an attribute of it, or shown in the README."""
    imported = {used for code in users_of(name) for used in names_used(ast.parse(code), f"helpers.{name}")}
    return imported | shown_in_the_readme()


def names_used(tree: ast.AST, package: str) -> Iterator[str]:
    parent, _, last = package.rpartition(".")
    known_as = {package}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == package:
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module == parent:
            known_as |= {alias.asname or last for alias in node.names if alias.name == last}
        if isinstance(node, ast.Import):
            known_as |= {alias.asname for alias in node.names if alias.name == package and alias.asname}
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    yield from (node.attr for node in attributes if ast.unparse(node.value) in known_as)


def test_nobody_imports_what_the_contracts_forbid():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = run_python(code)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("code", [WITH_APP, WITH_RECORDS], ids=["app", "records"])
def test_a_page_of_recorded_results_opens_without_torch(code):
    run = run_python(code + SHOW_HEAVY)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


@pytest.mark.parametrize("name", FACADES)
def test_a_facade_and_its_options_load_no_torch(name):
    modules = [f"helpers.{name}"]
    if (HELPERS / name / "options.py").exists():
        modules.append(f"helpers.{name}.options")
    run = run_python(f"import {', '.join(modules)}" + SHOW_HEAVY)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_each_package_that_helpers_imports_is_a_direct_requirement():
    owners = importlib.metadata.packages_distributions()
    imported = imports_of(ROOT / "helpers") - sys.stdlib_module_names - {"helpers"}
    pinned = pinned_names()
    missing = {name for name in imported if not pinned & {comparable(owner) for owner in owners.get(name, [name])}}
    assert not missing, "CONTRIBUTING.md, 'A new package', says where to pin them"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_taken_in_at_a_glance(folder):
    modules = [file.stem for file in (ROOT / folder).glob("*.py") if file.stem != "__init__"]
    assert len(modules) <= MAX_MODULES, "CONTRIBUTING.md, 'Where things are': a folder for each section"


def test_contributing_draws_the_folders_that_there_are():
    tree = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("```")[1]
    drawn = tree.split("helpers/\n")[1].split("\nrecording/")[0]
    there = {Path(folder).name for folder in FOLDERS} - {"helpers"}
    assert set(re.findall(r"(\w+)/", drawn)) == there | {"facts", "data", "etc", "static", "template"}


@pytest.mark.parametrize("name", FACADES)
def test_each_name_of_a_facade_exists(name):
    package = importlib.import_module(f"helpers.{name}")
    assert [exported for exported in package.__all__ if not hasattr(package, exported)] == []


@pytest.mark.parametrize("name", FACADES)
def test_no_name_of_a_facade_is_also_a_module_or_a_folder(name):
    """Else `from helpers.x import y` gives the function or the module, by what was imported before."""
    below = [path for path in (HELPERS / name).rglob("*") if path.suffix == ".py" or path.is_dir()]
    assert facade(name) & {path.stem for path in below} == set()


@pytest.mark.parametrize("name", FACADES)
def test_a_facade_holds_only_what_somebody_calls(name):
    assert facade(name) - used_from(name) - SURFACE.get(name, set()) == set()


@pytest.mark.parametrize("notebook", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_a_notebook_imports_from_facades_alone(notebook):
    """A reader finds each name in one place."""
    code = cells(ROOT / "notebooks" / f"{notebook}.ipynb")
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert {module for module in modules if module and module.startswith("helpers.")} <= {
        f"helpers.{name}" for name in FACADES}


# What may write by itself: logs that only grow, and files in a folder that others make, and remove or rename.
WRITE_BY_THEMSELVES = {
    "helpers/app/jobs/worker.py:give_way", "helpers/app/server/kernels/forking.py:_run",  # to the system, not to a disk
    "helpers/app/panels/labelling.py:_file", "helpers/cloud_distributed/training/workers.py:_main",
    "helpers/cloud_distributed/training/workers.py:_start",
    "helpers/data_efficiency/cleaning/large_files.py:_vectors", "helpers/data_efficiency/cleaning/large_files.py:add",
    "helpers/data_efficiency/cleaning/large_files.py:packed", "helpers/data_efficiency/cleaning/reviews.py:append",
    "helpers/lab/language/causal.py:save", "helpers/lab/measuring/timing.py:timing_turn"}
WHOLE_OR_NOT = {"replacing", "saving", "cached", "TemporaryDirectory"}  # what these write is renamed, or removed


def names_called(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            yield getattr(call.func, "attr", getattr(call.func, "id", "")), call


def writes(node: ast.AST) -> bool:
    """Whether it writes a file with what pathlib and open give."""
    for name, call in names_called(node):
        modes = [value.value for value in (*call.args, *(keyword.value for keyword in call.keywords))
                 if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        if name in ("write_text", "write_bytes") or (name == "open" and any(
                re.fullmatch("[wax][bt+]*", mode) for mode in modes)):
            return True
    return False


def test_files_are_written_whole_or_not_at_all():
    """By `lab.paths.replacing` and `write_atomically`, which survive a full disk and a kill."""
    result = set()
    for folder in ("helpers", "recording"):
        for path in (ROOT / folder).rglob("*.py"):
            module = ast.parse(path.read_text(encoding="utf-8"))
            classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
            for node in [*module.body, *(method for one in classes for method in one.body)]:
                if isinstance(node, ast.FunctionDef) and writes(node) and not WHOLE_OR_NOT & {
                        name for name, _ in names_called(node)}:
                    result.add(f"{path.relative_to(ROOT).as_posix()}:{node.name}")
    assert result - WRITE_BY_THEMSELVES == set()


def test_tests_stand_where_the_modules_that_they_test_stand():
    tests = [path.relative_to(ROOT / "tests/unit") for path in (ROOT / "tests/unit").rglob("test_*.py")]
    nested = [path for path in tests if path.parent.parts]
    assert {path.as_posix() for path in nested
            if not (HELPERS / path.parent / path.name.removeprefix("test_")).exists()} <= OF_A_WHOLE_FOLDER
