"""Page notebooks: what is derived from the notebooks, and how it opens."""

import ast
import html
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.app.server.pages import derive, describe, described, recorded_finding, without_lesson
from helpers.lab.errors import InputError

ROOT = Path(__file__).parents[4]


def cell(source: str, *tags: str, kind: str = "code") -> dict:
    return {"cell_type": kind, "source": source.splitlines(keepends=True), "metadata": {"tags": list(tags)}}


def write(folder: Path, name: str, cells: list[dict], **metadata: object) -> Path:
    path = folder / name
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_lesson_and_solution_cells_are_dropped_and_the_source_stays(tmp_path):
    cells = [cell("# Title\n\nA claim.", kind="markdown"), cell("a", "lesson"), cell("b", "solution"), cell("c"),
             cell("d", "parameters")]
    source = write(tmp_path, "1_topic.ipynb", cells)
    before = source.read_text()
    build, pages = derive(tmp_path, tmp_path / "build")
    kept = json.loads((build / "1_topic.ipynb").read_text())["cells"]
    assert ["".join(cell["source"]) for cell in kept[1:]] == ["c", "d"]
    assert source.read_text() == before
    assert (pages[0].title, pages[0].claim, pages[0].short) == ("Title", "A claim.", "Topic")


def test_a_page_whose_notebook_is_gone_goes_too(tmp_path):
    old = write(tmp_path, "old.ipynb", [])
    write(tmp_path, "new.ipynb", [])
    build, _ = derive(tmp_path, tmp_path / "build")
    old.unlink()
    derive(tmp_path, build)
    assert [path.name for path in build.glob("*.ipynb")] == ["new.ipynb"]


@pytest.mark.parametrize(("text", "title", "claim"), [
    ("# Heading\nRight below, with a [link](http://x).", "Heading", "Right below, with a link."),
    ("## Heading\n\n*First* paragraph\nin two lines.\n\nSecond.", "Heading", "First paragraph in two lines."),
    ("No heading.", "a name", "No heading.")])
def test_title_and_claim_come_from_the_first_cell(text, title, claim):
    page = describe("a_name", {"cells": [cell(text, kind="markdown")], "metadata": {}})
    assert (page.title, page.claim) == (title, claim)


def test_metadata_says_it_better():
    said = {"title": "T", "claim": "C", "minutes": 20, "short": "S"}
    page = describe("a_name", {"cells": [cell("# Other", kind="markdown")], "metadata": said})
    assert (page.title, page.claim, page.minutes, page.short) == ("T", "C", 20, "S")


def test_the_landing_page_tells_the_whole_finding_of_each_page():
    notebook = {"cells": [], "metadata": {}}
    for page in described(ROOT / "notebooks"):
        finding, date = recorded_finding(page.name)
        assert describe(page.name, notebook).result == f"{finding} ({date})"
        assert re.search(r"\d.*[.]$", finding), finding
    assert describe("nothing_recorded", notebook).result == ""


def test_a_folder_without_notebooks_and_a_broken_notebook_are_sentences(tmp_path):
    with pytest.raises(InputError, match="no notebook in"):
        derive(tmp_path)
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"broken\.ipynb is not a notebook"):
        derive(tmp_path)


def test_pages_that_cannot_be_written_are_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"1_model_optimization\.ipynb cannot be written"):
        derive(ROOT / "notebooks", tmp_path / "file" / "build")


def html_of(data, state):
    """What an output shows as HTML, also by a widget that holds nothing else."""
    widget = data.get("application/vnd.jupyter.widget-view+json", {}).get("model_id")
    shown = state[widget] if widget else {}
    return shown["state"]["value"] if shown.get("model_name") == "HTMLModel" else data.get("text/html", "")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebooks_page_opens_without_torch_and_with_the_finding_that_is_shipped(path, tmp_path, monkeypatch):
    """In a kernel of its own, with all the cells that the page runs."""
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    build, _ = derive(path.parent, tmp_path / "build")
    notebook = nbformat.read(build / path.name, as_version=4)
    ask = "import sys; print([name for name in ('torch', 'transformers', 'openvino') if name in sys.modules])"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    done = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert done.cells[-1].outputs[0]["text"].strip() == "[]"
    outputs = [output for one in done.cells for output in one.get("outputs", [])]
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    state = done.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    in_order = "".join(html_of(output.get("data", {}), state) for output in outputs)
    said = re.search(r"class='app-verdict[^>]*>(.*?)</div>", in_order)
    words = html.unescape(re.sub("<[^>]+>", "", said[1]))  # its terms are buttons
    assert words == recorded_finding(path.stem)[0], "make pictures writes the findings"
    if "app.Panel(" in str(notebook.cells):  # others simulate
        assert "recorded" in str(done.metadata["widgets"])
    simulates = "helpers.cloud_distributed" in str(notebook.cells)  # and names its records in its panels
    for part in shown.split("<style>")[1:] if "app.recorded_table(" in str(notebook.cells) and not simulates else ():
        assert "Recorded on t" in part, "which data, and on which machine"


def test_each_notebook_has_a_name_and_a_claim_of_its_own():
    pages = described(ROOT / "notebooks")
    assert len({page.short for page in pages}) == len({page.claim for page in pages}) == len(pages) == 5


# What a visitor can only move or choose from. A box to type in could take a path of the server: ask `is_page` first.
CONTROLS = {"Dropdown", "FloatLogSlider", "FloatSlider", "HTML", "IntSlider", "ToggleButtons", "VBox"}
TYPED = {"2_efficient_architectures": {"Textarea"}}  # answers of the visitor's own model: parsed, never a path


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_page_has_a_control_in_which_a_visitor_types(path):
    cells = without_lesson(json.loads(path.read_text(encoding="utf-8")))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    nodes = list(ast.walk(ast.parse(code)))
    taken = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "ipywidgets"
             for alias in node.names}
    assert taken <= CONTROLS | TYPED.get(path.stem, set())
    assert not {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names} & {
        "ipywidgets", "anywidget", "traitlets"}, "a whole module hides which of its controls are used"
    asks = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not asks & {"input", "open", "eval", "exec"}
