"""How long a notebook takes: its cells are timed one by one, and what is silent for long is named."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.lab import InputError
from recording import minutes

WORDS = "word " * minutes.WORDS_A_MINUTE

LEARN = "**You will be able to** count.\n\n**You need** a clock.\n\n**For whom.** All."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("minutes")
    nbformat.write(new_notebook(cells=[
        new_markdown_cell("# A lesson"), new_markdown_cell(LEARN),
        new_markdown_cell("## The experiment\n\n" + WORDS * 3),
        new_code_cell("import time\ntime.sleep(2.1)"), new_code_cell("for _ in range(4):\n    print(1, flush=True)"),
        new_markdown_cell("### Go further: more\n\n" + WORDS * 9), new_code_cell("1 + 1"),
        new_markdown_cell("#### Its second part\n\n" + WORDS * 9), new_code_cell("2 + 2")],
        metadata={"title": "A lesson"}), made / "1_lesson.ipynb")
    return made


@pytest.fixture(scope="module")
def cells(folder):
    return minutes.run(folder / "1_lesson.ipynb", further=True)


def test_what_goes_further_runs_only_where_it_is_asked_for(folder):
    assert [cell.first_line for cell in minutes.run(folder / "1_lesson.ipynb")] == [
        "import time", "for _ in range(4):"]


def test_each_code_cell_is_timed_under_its_heading(cells):
    assert [(cell.heading, cell.first_line) for cell in cells] == [
        ("The experiment", "import time"), ("The experiment", "for _ in range(4):"), ("Go further: more", "1 + 1"),
        ("Go further: more", "2 + 2")]
    assert cells[0].seconds >= cells[0].silent_s >= 2.1
    assert cells[1].silent_s < cells[1].seconds  # what it prints in between is a sign of life


def test_minutes_are_those_of_the_main_line_and_of_reading_it(folder, cells):
    slow = minutes.Timed("The experiment", "train()", 240.0, 0.0)
    further = minutes.Timed("Go further: more", "train()", 6000.0, 0.0)
    assert minutes.minutes_of(folder / "1_lesson.ipynb", cells) == 3
    assert minutes.minutes_of(folder / "1_lesson.ipynb", [*cells, slow, further]) == 7


def test_they_are_written_with_the_machine_and_the_day_and_silent_cells_are_named(folder, capsys, monkeypatch, cells):
    monkeypatch.setattr(minutes, "run", lambda path, further: cells)
    before = json.loads((folder / "1_lesson.ipynb").read_text())
    minutes.main(["1_lesson", "--look"], folder)
    assert json.loads((folder / "1_lesson.ipynb").read_text()) == before
    minutes.main([], folder)
    after = json.loads((folder / "1_lesson.ipynb").read_text())
    assert after["metadata"]["minutes"] == 3
    assert " cores, 20" in after["metadata"]["minutes_on"]
    minutes.main([], folder)  # a second time: what stood there goes
    twice = json.loads((folder / "1_lesson.ipynb").read_text())
    assert twice == after
    told = "".join(after["cells"][1]["source"]).split("\n\n")
    assert [told[0], told[1], told[3]] == LEARN.split("\n\n")
    assert told[2].startswith("**Time.** 3 minutes to read and run on ")
    assert [cell for place, cell in enumerate(after["cells"]) if place != 1] == [
        cell for place, cell in enumerate(before["cells"]) if place != 1]
    assert "silent for 2 s of 2: The experiment: import time" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"Unknown notebook '9_none'\. Choose some of: 1_lesson"):
        minutes.main(["9_none"], folder)
