"""No cell works for long without a word: what takes a `progress` is given one, and shows it."""

import ast
import importlib
import inspect
import re

import nbformat
import pytest
from notebook_cells import NOTEBOOKS

AT_ONCE = {"score"}  # of a language model's answers, whose cell shows a bar; of a classifier's it takes no time


def takes_progress(function) -> bool:
    try:
        return "progress" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_reports_its_progress_is_asked_to(path):
    known, mute = {}, []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or {"take-home", "exercise", "solution"} & set(cell.metadata.get("tags", [])):
            continue
        tree = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", cell.source))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("helpers."):
                module = importlib.import_module(node.module)
                known |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        mute += [f"{cell.id}: {node.func.id}" for node in calls
                 if node.func.id in known.keys() - AT_ONCE and takes_progress(known[node.func.id])
                 and not any(keyword.arg == "progress" for keyword in node.keywords)
                 and "app.progress(" not in cell.source]
    assert mute == []
