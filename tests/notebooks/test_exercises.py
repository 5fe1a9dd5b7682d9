"""Each exercise, in its own cells alone: every right form passes, wrong ones do not, and nothing hangs."""

import ast
import re
import time
import tomllib
from pathlib import Path

import nbformat
import pytest
from notebook_cells import NOTEBOOKS, plain, value_of

from helpers.app.jobs.processes import kill_all

FORMS = tomllib.loads((Path(__file__).parent / "exercise_forms.toml").read_text(encoding="utf-8"))
MISTAKES = ["1 / 0", "no_such_name", "'about seven'"]
HANGS = ["    while True:\n        pass", "    while True:\n        print('still here')", "__import__('os')._exit(1)"]
ENDED = ["softened_loss", "wanted_replicas"]  # one function that is called, and one that is compiled
SENTENCE_S = 5.0


class Cells:
    """An exercise's cells, and the names that they have defined, with nothing else of the notebook."""

    def __init__(self, cells):
        self.sources = [cell.source for cell in cells]
        self.start, *self.checks, self.solution = self.sources
        self.function = next(node.name for node in ast.parse(self.start).body if isinstance(node, ast.FunctionDef))
        self.arguments = re.search(rf"def {self.function}(\(.*\)):", self.start)[1]
        self.names = {"__name__": "__main__"}
        self.first = [value_of(source, self.names) for source in [self.start, *self.checks]][-1]
        self.check = self.names[ast.parse(self.checks[-1]).body[-1].value.func.id]

    def said(self, form: str) -> str:
        body = form if form.startswith("    ") else f"    return {form}"
        exec(f"import numpy as np\nimport math\n\n\ndef {self.function}{self.arguments}:\n{body}\n", self.names)
        return plain(self.check(self.names[self.function]))


def exercises_of(path: Path) -> list[list]:
    """The code cells of each exercise, from the one to fill in to the solution."""
    result: list[list] = []
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            result.append([])
            inside = True
        if inside and cell.cell_type == "code":
            result[-1].append(cell)
            inside = "solution" not in tags
    return result


BY_FUNCTION = {re.search(r"(?m)^def (\w+)", cells[0].source)[1]: cells for path in NOTEBOOKS for cells in
               exercises_of(path)}


def forms_that_are(kind: str) -> list[tuple[str, str]]:
    return [(name, form) for name, forms in FORMS.items() for form in forms[kind]]


_made: dict[str, Cells] = {}


@pytest.fixture
def cells(function):
    if function not in _made:
        _made[function] = Cells(BY_FUNCTION[function])
    return _made[function]


@pytest.fixture(autouse=True, scope="module")
def _processes():
    yield
    kill_all()


def test_every_exercise_is_tried_here():
    assert set(BY_FUNCTION) == set(FORMS)
    assert len(BY_FUNCTION) == sum(len(exercises_of(path)) for path in NOTEBOOKS)
    assert all(len(forms["right"]) >= 5 for forms in FORMS.values())
    assert all(len(forms["wrong"]) >= 8 for forms in FORMS.values())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_solution_belongs_to_an_exercise_with_a_check_of_the_house(path):
    cells = nbformat.read(path, as_version=4).cells
    solutions = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
    groups = exercises_of(path)
    assert [group[-1].id for group in groups] == [cell.id for cell in solutions]
    for group in groups:
        assert "app.Exercise(" in group[-2].source
        assert group[-1].metadata.jupyter.source_hidden


@pytest.mark.parametrize("function", BY_FUNCTION)
def test_what_is_not_written_yet_does_not_pass(function, cells):
    assert plain(cells.first).startswith("Not yet. ")


@pytest.mark.parametrize("function", BY_FUNCTION)
def test_its_own_solution_passes(function, cells):
    assert plain(value_of(cells.solution, cells.names)).startswith("Right. ")


@pytest.mark.parametrize("function", BY_FUNCTION)
def test_there_are_three_hints(function, cells):
    hints = cells.check._hints
    assert len(hints) == len(set(hints)) == 3
    assert all(hint.endswith((".", "?")) for hint in hints)


@pytest.mark.parametrize(("function", "form"), forms_that_are("right"))
def test_every_right_form_passes(cells, form):
    assert cells.said(form).startswith("Right. ")


@pytest.mark.parametrize(("function", "form"), forms_that_are("wrong"))
def test_a_wrong_one_does_not(cells, form):
    assert cells.said(form).startswith("Not yet. ")


@pytest.mark.parametrize(("function", "form"), [
    *((name, form) for name in BY_FUNCTION for form in MISTAKES), *((name, form) for name in ENDED for form in HANGS)])
def test_nothing_hangs(cells, form):
    value_of(cells.solution, cells.names)  # a process is there
    began = time.perf_counter()
    said = cells.said(form)
    assert time.perf_counter() - began < SENTENCE_S
    assert said.startswith("Not yet. ")
