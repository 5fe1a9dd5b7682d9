"""The bar under a cell: the time left, and a sign of life while nothing is reported."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.app.jobs import cell_bar as bars
from recording import minutes

WAITS = """
import time
from IPython.core.display_functions import display as shown
from helpers import app
from helpers.app.jobs import cell_bar as bars
made = []
bars.display = lambda box: (made.append(box), shown(box))
report = app.progress("Exporting")
report(0.4, "one & two")
time.sleep(3.6)
print(made[0].children[1].value, flush=True)
"""


def test_the_time_left_is_without_that_in_the_queue(monkeypatch):
    shown, clock = [], [1.0]
    monkeypatch.setattr(bars, "display", shown.append)
    monkeypatch.setattr(bars.time, "monotonic", lambda: clock[0])
    report = bars.progress("Measuring")
    bar, text = shown[0].children
    assert text.value == "Measuring: starting"
    for clock[0], fraction, message in ((10.0, None, "waiting"), (500.0, 0.0, "rounds"), (504.0, 0.4, "rounds")):
        report(fraction, message)
    assert (bar.value, text.value) == (0.4, "Measuring: rounds, for 4 s, about 6 s left")
    clock[0] = 510.0
    report(1.0, "done")
    assert (bar.value, text.value) == (1.0, "Measuring: done")


@pytest.fixture
def lesson(tmp_path):
    def write(source):
        nbformat.write(new_notebook(cells=[new_markdown_cell("## The experiment"), new_code_cell(source),
                                           new_code_cell("made[0].children[1].value")]), tmp_path / "1_lesson.ipynb")
        return tmp_path / "1_lesson.ipynb"
    return write


@pytest.fixture
def ran(monkeypatch):
    """The notebooks that are executed, with their outputs."""
    notebooks, execute = [], minutes._Watched.execute
    monkeypatch.setattr(minutes._Watched, "execute", lambda self: (notebooks.append(self.nb), execute(self)))
    return notebooks


def test_a_step_that_reports_nothing_is_seen_to_go_on(lesson, ran):
    """Four seconds without a word: the bar counts them, and says at the cell's end how long it took."""
    cell, _ = minutes.run(lesson(WAITS))
    assert cell.seconds > 3.6
    assert cell.silent_s < minutes.SILENT_S
    assert "Exporting: one &amp; two, for 3 s" in str(ran[0].cells[1].outputs)
    assert "Exporting: done in" in str(ran[0].cells[2].outputs)


def test_a_cell_that_fails_is_not_done(lesson, ran):
    path = lesson(WAITS.replace("time.sleep(3.6)", "1 / 0"))
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, path)
    minutes.run(path)
    assert "Exporting: ended after 1 s, at &#x27;one &amp; two&#x27;" in str(ran[0].cells[2].outputs)
