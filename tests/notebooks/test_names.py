"""A name means one thing in a notebook, whichever cells are left out or run again."""

import ast
import builtins
import dataclasses
import dis
import re
import types
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from notebook_cells import NOTEBOOKS

by_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
AT_ONCE = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}  # run where they stand
GIVEN = {*dir(builtins), "display", "__name__"}  # IPython's own


@dataclasses.dataclass
class Cell:
    """A code cell: what it defines and imports at its top level, and what it needs from others.

    needs: read before it is defined here; calls: read by its functions, whenever they are called.
    part: the number of its 'Go further' section, else 0.
    alone: the number of the exercise or of the take-home section that it belongs to, else 0.
    """

    id: str
    defines: set[str]
    imports: dict[str, str]
    needs: set[str]
    calls: set[str]
    part: int
    alone: int


def names_of(source: str) -> tuple[set[str], dict[str, str], set[str], set[str]]:
    """What a cell defines and imports at its top level, and needs from others, as Python compiles it; see Cell."""
    tree = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
    lines = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = {alias.asname or alias.name.split(".")[0]: f"{getattr(node, 'module', '')}.{alias.name}"
               for node in lines for alias in node.names}
    code, stored, needs = compile(tree, "<cell>", "exec"), set(), set()
    for step in dis.get_instructions(code):
        if step.opname == "STORE_NAME":
            stored.add(step.argval)
        elif step.opname == "LOAD_NAME" and step.argval not in stored:
            needs.add(step.argval)
    return (stored - set(imports), imports, (needs | globals_of(code, AT_ONCE) - stored) - GIVEN,
            globals_of(code, None) - GIVEN)


def globals_of(code: types.CodeType, named: set[str] | None) -> set[str]:
    """What code inside of it reads from the outermost level: comprehensions, or functions with all that is in them."""
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    if named is None:
        functions = [one for one in inner if one.co_name not in AT_ONCE]
        return set().union(*(read_in(one) for one in functions),
                           *(globals_of(one, None) for one in inner if one.co_name in AT_ONCE))
    return set().union(*(read_in(one) for one in inner if one.co_name in named))


def read_in(code: types.CodeType) -> set[str]:
    own = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    return own.union(*(read_in(one) for one in code.co_consts if isinstance(one, types.CodeType)))


def cells_of(path: Path) -> list[Cell]:
    results, part, alone, parts, inside = [], 0, 0, 0, False
    for cell in nbformat.read(path, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        heading = re.match(r"#{2,3} .*", cell.source)
        if cell.cell_type == "markdown" and heading:
            further = "go further" in heading[0].lower()
            parts += further
            part = parts if further else 0
        if cell.cell_type != "code":
            continue
        if "exercise" in tags:
            alone, inside = alone + 1, True
        group = -1 if "take-home" in tags else alone if inside else 0
        results.append(Cell(cell.id, *names_of(cell.source), part, group))
        inside = inside and "solution" not in tags
    return results


def others(cells: list[Cell], cell: Cell) -> Iterator[Cell]:
    """Cells of another exercise, of the lesson, or, of a cell of the lesson, all that stand alone."""
    return (one for one in cells if one.alone != cell.alone)


@by_notebook
def test_an_exercise_and_a_take_home_cell_need_only_their_own_cells(path):
    cells = cells_of(path)
    for number in {cell.alone for cell in cells} - {0}:
        group = [cell for cell in cells if cell.alone == number]
        there = {name for cell in group for name in (*cell.defines, *cell.imports)}
        assert {name for cell in group for name in cell.needs | cell.calls} <= there


@by_notebook
def test_an_exercise_and_a_take_home_cell_leave_all_other_names_alone(path):
    """Else a reader who takes a cell home and comes back gets other bills, silently."""
    cells = cells_of(path)
    taken = []
    for cell in (cell for cell in cells if cell.alone):
        for other in others(cells, cell):
            taken += [(cell.id, name, other.id) for name in cell.defines & (other.defines | other.needs | other.calls)]
            taken += [(cell.id, name, other.id) for name in cell.defines & set(other.imports)]
            taken += [(cell.id, name, other.id) for name in set(cell.imports) & (other.defines | set(other.imports))
                      if cell.imports[name] != other.imports.get(name)]
    assert sorted(set(taken)) == []


@by_notebook
def test_the_main_line_needs_nothing_of_go_further(path):
    """Nor does one 'Go further' need another."""
    cells = cells_of(path)
    for number in {cell.part for cell in cells}:
        left = [cell for cell in cells if cell.part in (0, number) and not cell.alone]
        there = {name for cell in left for name in (*cell.defines, *cell.imports)}
        assert {cell.id: missing for cell in left if (missing := (cell.needs | cell.calls) - there)} == {}


@by_notebook
def test_a_cell_that_is_run_again_finds_what_it_found_the_first_time(path):
    """A name that a cell needs is defined by one cell, the same whatever has run since."""
    cells = [cell for cell in cells_of(path) if not cell.alone]
    assert [(cell.id, cell.needs & cell.defines) for cell in cells if cell.needs & cell.defines] == []
    needed = {name for cell in cells for name in cell.needs | cell.calls}
    twice = {name: [cell.id for cell in cells if name in cell.defines | set(cell.imports)] for name in needed}
    kinds = {name: {cell.imports.get(name) for cell in cells if name in cell.defines | set(cell.imports)}
             for name in needed}
    assert {name: ids for name, ids in twice.items()
            if len(ids) > 1 and (None in kinds[name] or len(kinds[name]) > 1)} == {}
