"""A question that a notebook asks gets its verdict in the next output."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from notebook_cells import NOTEBOOKS

# What answers: a sentence, a title or a control that is computed, or the reader, who is asked for a guess.
ANSWERS = re.compile(r"verdict\(|title=|\.sentence\(|app\.(?:guess|changes|speedups|chart|headline|latency_over_time|"
                     r"Panel|Explore|Exercise)\(|(?:Review|Label)Panel\(")


def shows(cell) -> bool:
    """Whether a cell has an output: its last line is a value, or it asks for a guess."""
    lines = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", cell.source)).body
    return isinstance(lines[-1], ast.Expr) or "app.guess(" in cell.source


def unanswered(path: Path) -> list[str]:
    """Questions of text cells after which the next cell with an output holds no answer."""
    cells, results = nbformat.read(path, as_version=4).cells, []
    for number, cell in enumerate(cells):
        asked = re.findall(r"[^.?!:]*\?", cell.source) if cell.cell_type == "markdown" else []
        if not asked or cell.source.startswith("# "):  # the notebook's own question, which all of it answers
            continue
        rest = cells[number + 1:]
        after = next((one for one in rest if one.cell_type == "code" and shows(one)), None)
        if after is None or "exercise" in rest[0].metadata.get("tags", []):
            continue
        if not ANSWERS.search(after.source):
            results.append(f"{cell.id}: {asked[-1].strip()}")
    return results


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_question_gets_a_verdict(path):
    assert unanswered(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_sentence_takes_an_unmoved_slider_for_a_guess(path):
    """`said` tells one from the other; a chart leaves out what is NaN."""
    sources = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [source for source in sources if re.search(r"guess\w*\.value[:}]", source)] == []
    asked = {name for source in sources for name in re.findall(r"(\w*guess\w*) = app\.guess\(", source)}
    shown = "\n".join(sources)
    assert [name for name in asked if not re.search(
        rf"\b{name}\.said\(|\b{name}\.value\b|(?:guess|reference)={name}\b", shown)] == []
