"""One main line of argument that a class gets through in an hour; what goes beyond stands under 'Go further'."""

import ast
import re

import nbformat
import pytest
from notebook_cells import NOTEBOOKS

MAX_CELLS = 25
BESIDE = ("go further", "exercise", "take it home")


def main_line(path) -> list[str]:
    """The ids of its code cells: not those under the headings BESIDE, of parameters, or of imports alone.

    Nor the reader's bill on top, the same line in each notebook.
    """
    results, beside = [], False
    for cell in nbformat.read(path, as_version=4).cells:
        heading = re.match(r"(#{2,3}) (.*)", cell.source)
        if cell.cell_type == "markdown" and heading:
            inside = heading[1] == "###" and beside == "exercise"  # each exercise has its own heading
            named = next((word for word in BESIDE if word in heading[2].lower()), False)
            beside = beside if inside and not named else named
        elif cell.cell_type == "code" and not beside and "parameters" not in cell.metadata.get("tags", []):
            lines = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", cell.source)).body
            only_imports = all(isinstance(line, ast.Import | ast.ImportFrom) for line in lines)
            results += [] if only_imports or "app.PageBill(" in cell.source else [cell.id]
    return results


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_main_line_is_short_and_whole(path):
    cells = main_line(path)
    assert len(cells) <= MAX_CELLS, cells
    sources = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    assert any("app.verdict(" in sources[cell] for cell in cells)
    assert any("app.guess(" in sources[cell] for cell in cells)
