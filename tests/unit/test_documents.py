"""What the documents say of the notebooks, the Makefile and the pins is so, and the class's set-ups follow the lock."""

import ast
import json
import os
import re
import runpy
import shutil
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from nbconvert import SlidesExporter

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
NOTEBOOKS = {path.name[0]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
SECTION = re.compile(r'\b([1-5]) "([^"]+)"')  # 1 "What is at stake"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
NONE, NOT_YET = "none", "not taught yet"
HOW = ("measured", "simulated", "on paper", "named", NOT_YET)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def headings(number: str) -> set[str]:
    cells = json.loads(NOTEBOOKS[number].read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    return {heading for text in texts for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def rows(table: str) -> list[list[str]]:
    """The cells of each row of a document's tables, without the rows of titles."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    titles = {number - 1 for number, line in enumerate(lines) if set(line) <= set("|- ")}
    return [row for number, row in enumerate(cells) if number not in titles and number - 1 not in titles]


def test_percentages_are_written_in_one_way():
    """As formats of Python and of charts write them: 65%, without a blank."""
    shown = [ROOT / "README.md", *DOCS, *NOTEBOOKS.values(), *ROOT.glob("helpers/**/*.py"),
             *(ROOT / "helpers" / "facts" / name for name in ("glossary.csv", "findings.json"))]
    blank = re.compile(r"[0-9}] %(?=[\s.,;:)'\"])(?! [0-9a-z]+\))")  # not the rest of a division
    assert [f"{path.name}: {line}" for path in shown for line in path.read_text(encoding="utf-8").splitlines()
            if blank.search(line) and "//" not in line] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_section_that_is_named_exists(path):
    named = SECTION.findall(path.read_text(encoding="utf-8"))
    assert [(number, heading) for number, heading in named if heading not in headings(number)] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_file_that_is_linked_exists(path):
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_each_target_of_make_that_is_named_exists(path):
    named = set(re.findall(r"`make ([a-z]+)", path.read_text(encoding="utf-8")))
    assert named <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("row", rows(text_of("docs/coverage.md")), ids=lambda row: row[1])
def test_no_row_of_the_coverage_is_empty_and_each_says_how(row):
    strategy, item, where, how = row
    assert strategy in {*"12345", "gains", "price", "outlook", "to do"}
    assert item
    assert (where == NONE) == (not SECTION.search(where))
    assert any(word in how for word in HOW)
    assert where != NONE or how == NOT_YET


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_there_is_a_quiz_for_the_sections_of_each_notebook(number):
    part = re.split(r"^## ", text_of("docs/quizzes.md"), flags=re.MULTILINE)[int(number)]
    title, quiz = part.splitlines()[0], rows(part)
    sections = [section for section, _, _ in quiz]
    assert title in headings(number)
    assert set(sections) <= headings(number)
    further = {heading for heading in headings(number) if heading.startswith("Go further")}
    assert {"What is at stake", "Explore", "The verdict", "Exercise", *further} <= set(sections)
    assert all(question.endswith("?") or question.endswith(".") for _, question, _ in quiz)
    assert all(answer.endswith(".") for _, _, answer in quiz)


def test_no_question_is_asked_twice():
    counts = Counter(row[1] for row in rows(text_of("docs/quizzes.md")))
    assert [question for question, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("plan", ["Half a day", "A full day"])
def test_the_minutes_of_a_plan_add_up(plan):
    minutes, table = re.search(rf"^## {plan}: (\d+) minutes\n(.*?)(?=^## )", text_of("docs/teaching.md"),
                               re.MULTILINE | re.DOTALL).groups()
    assert sum(int(row[0]) for row in rows(table)) == int(minutes)


def test_the_settings_for_slow_machines_are_those_that_the_notebooks_are_tested_with():
    tree = ast.parse(text_of("tests/notebooks/test_notebooks.py"))
    small = next(ast.literal_eval(node.value) for node in tree.body
                 if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SMALL")
    written = dict(re.findall(r"^\| ([1-5]) \| `([A-Z_]+=.*)` \|$", text_of("docs/teaching.md"), re.MULTILINE))
    calls = {number: ast.parse(f"dict({settings})").body[0].value for number, settings in written.items()}
    assert {number: {one.arg: ast.literal_eval(one.value) for one in call.keywords} for number, call in calls.items()
            } == {name[0]: settings for name, settings in small.items()}


def test_the_slides_have_one_for_each_heading(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", text_of("docs/teaching.md"), re.DOTALL)
    (tmp_path / "slides.py").write_text(code, encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(NOTEBOOKS["4"], tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("slides.py")
    shown, _ = SlidesExporter().from_filename(f"build/slides/{NOTEBOOKS['4'].name}")
    cells = json.loads(NOTEBOOKS["4"].read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert shown.count("<section><section") == sum(text.startswith("#") for text in texts)
    assert shown.count("<section") == len(texts) + sum(text.startswith("#") for text in texts)


def test_the_container_sets_up_as_the_readme_does():
    container = json.loads(text_of(".devcontainer/devcontainer.json"))
    assert container["postCreateCommand"].startswith("make setup")
    assert container["image"].rpartition(":")[2] in {"3.11", "3.12", "3.13"}
    assert int(re.search(r"^PORT \?= (\d+)", MAKEFILE, re.MULTILINE)[1]) in container["forwardPorts"]
    assert {int(port) for port in container["portsAttributes"]} == set(container["forwardPorts"])


def test_binder_installs_the_versions_of_the_lock():
    lines = [line for line in text_of("binder/requirements.txt").splitlines() if not line.startswith("#")]
    included = [line.split()[1] for line in lines if line.startswith(("-r", "-c"))]
    assert [(ROOT / "binder" / name).resolve() for name in included] == [ROOT / "constraints.txt",
                                                                        ROOT / "requirements.txt"]
    assert [line for line in lines if not line.startswith(("-r", "-c"))] == [
        "--extra-index-url https://download.pytorch.org/whl/cpu"]
    assert text_of("binder/runtime.txt").strip() == "python-3.11"
    assert os.access(ROOT / "binder/postBuild", os.X_OK)


def test_each_file_that_binder_copies_and_each_module_that_it_runs_exists():
    script = text_of("binder/postBuild")
    assert all((ROOT / name).is_file() for name in re.findall(r"^cp (\S+)", script, re.MULTILINE))
    assert all((ROOT / name.replace(".", "/") / "__main__.py").is_file()
               for name in re.findall(r"python -m (\S+)", script))


def test_each_version_that_a_set_up_or_a_document_names_is_the_locks():
    lock = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text_of("requirements.lock"), re.MULTILINE))
    files = [*DOCS, *(ROOT / "binder").iterdir(), *(ROOT / ".devcontainer").iterdir()]
    named = {pin for file in files for pin in re.findall(r"([\w.-]+)==([\w.]+)", file.read_text(encoding="utf-8"))}
    assert named
    assert {(name, version) for name, version in named if lock.get(name) != version} == set()


def test_the_pythons_of_the_set_ups_are_the_projects():
    [lowest, above] = re.findall(r"3\.(\d+)", tomllib.loads(text_of("pyproject.toml"))["project"]["requires-python"])
    pythons = {f"3.{minor}" for minor in range(int(lowest), int(above))}
    container = json.loads(text_of(".devcontainer/devcontainer.json"))["image"].rpartition(":")[2]
    assert {container, text_of("binder/runtime.txt").strip().removeprefix("python-")} <= pythons
