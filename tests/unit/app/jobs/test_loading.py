"""What a cell shows while a package is imported that takes seconds."""

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

SLEEPS = "import time\nimport swift\ntime.sleep(2.5)\nVALUE = 7\n"
SWIFT = "import time\ntime.sleep(0.1)\n"
START = """
import sys
sys.path.insert(0, {folder!r})
from helpers import app
from helpers.app.jobs import loading
loading.SLOW |= {{"crawling", "swift", "failing"}}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "crawling.py").write_text(SLEEPS)
    (tmp_path / "swift.py").write_text(SWIFT)
    (tmp_path / "failing.py").write_text("1 / 0\n")

    def outputs(*cells, page=False):
        if page:
            monkeypatch.setenv("VOILA_REQUEST_URL", "/")
        notebook = new_notebook(cells=[new_code_cell(START.format(folder=str(tmp_path))), *map(new_code_cell, cells)])
        NotebookClient(notebook, timeout=60, allow_errors=True).execute()
        widgets = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values() if (
            "widgets" in notebook.metadata) else ()
        said = [one["state"]["value"] for one in widgets if one["model_name"] == "HTMLModel"]
        return said, "".join(str(cell.outputs) for cell in notebook.cells)
    return outputs


def test_a_slow_import_is_seen_with_what_it_brings_in_under_one_bar(run):
    said, shown = run("import crawling", "print('it is', crawling.VALUE, 'exec_module' in vars(crawling.__loader__))")
    assert len(said) == 1
    assert said[0].startswith("Loading libraries: done in ")
    assert "it is 7 False" in shown


def test_packages_that_come_one_after_another_share_a_cells_bar(run):
    said, _ = run("import swift\nimport crawling")
    assert len(said) == 1
    assert "done in" in said[0]


def test_a_package_that_is_there_already_is_not_loaded_again(run):
    assert len(run("import crawling", "import crawling")[0]) == 1


def test_an_import_that_fails_fails_as_it_would_without_a_bar(run):
    said, shown = run("import failing", "import swift")
    assert "ZeroDivisionError" in shown
    assert said[0].startswith("Loading libraries: ended after")
    assert said[1].startswith("Loading libraries: done in")


def test_nothing_is_shown_of_a_thread_or_on_a_page(run):
    assert run("import threading\nthread = threading.Thread(target=__import__, args=['swift'])\nthread.start()\n"
               "thread.join()")[0] == []
    assert run("import swift", page=True)[0] == []
