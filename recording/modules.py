"""List what the pages import: python -m recording.modules, after a change of what they show or are built on.

A module that an earlier one of the list brings along is left out. What is listed and not there is skipped.
"""

import contextlib
import importlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from helpers.app.server.kernels.forking import MODULES
from helpers.app.server.pages import derive
from helpers.lab.paths import write_atomically

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
KERNEL = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell")


def imported(notebooks: Path) -> list[str]:
    """Run all pages' cells in this process, and return what that imported, in order, beyond what a kernel has."""
    from IPython.core.interactiveshell import InteractiveShell

    for name in KERNEL:
        importlib.import_module(name)
    shell = InteractiveShell.instance()
    before = set(sys.modules)
    with tempfile.TemporaryDirectory() as folder:
        build, _ = derive(notebooks, Path(folder))
        os.chdir(notebooks)
        for path in sorted(build.glob("*.ipynb")):
            for cell in nbformat.read(path, as_version=4).cells:
                if cell.cell_type == "code":
                    shell.run_cell(cell.source).raise_error()
    return [name for name in sys.modules if name not in before]


def is_public(name: str) -> bool:
    """Whether it is meant to be imported by name."""
    return "__" not in name and not any(part.startswith("_") for part in name.split("."))


def first_of(names: list[str]) -> list[str]:
    """Of modules in the order of their import those that no earlier one brings along, and that can be imported."""
    for name in KERNEL:
        importlib.import_module(name)
    roots = list(KERNEL)
    for name in names:
        if name not in sys.modules and is_public(name):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
                roots.append(name)
    return roots


def main() -> None:
    """Run the pages in one process, and look in another one for what each module brings along."""
    if "--names" in sys.argv:
        with contextlib.redirect_stdout(io.StringIO()):
            names = imported(NOTEBOOKS)
        print("\n".join(names))
        return
    command = [sys.executable, "-m", "recording.modules", "--names"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    roots = first_of(names)
    write_atomically(MODULES, "".join(f"{name}\n" for name in roots))
    print(f"{len(roots)} modules, which bring {len(names)}")


if __name__ == "__main__":
    main()
