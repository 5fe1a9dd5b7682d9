"""A notebook's main line is short: an hour's argument, and the rest under 'Go further'."""

import ast
import re

import nbformat
import pytest
from notebook_cells import FOLDER

HELD = {"5_cloud_distributed"}
MAX_CELLS = 25  # of code, without parameters and mere imports
BESIDE = ("go further", "exercise", "take it home")


def main_line(name: str) -> list[str]:
    """The code cells that stand under no heading of what goes further, exercises or take-home cells."""
    found, section, part = [], False, False  # whether the ## and the ### that a cell stands under are beside it
    for cell in nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells:
        heading = re.match(r"(#{2,3}) (.*)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            beside = heading[2].lower().startswith(BESIDE)
            section, part = (beside, False) if heading[1] == "##" else (section, beside)
        if cell.cell_type == "code" and not (section or part) and "parameters" not in cell.metadata.get("tags", []):
            found.append(cell.source)
    return [source for source in found if not only_imports(source)]


def only_imports(source: str) -> bool:
    lines = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source)).body
    return all(isinstance(line, ast.Import | ast.ImportFrom) for line in lines)


@pytest.mark.parametrize("name", sorted(HELD))
def test_the_main_line_is_one_hours_argument(name):
    assert 10 <= len(main_line(name)) <= MAX_CELLS
