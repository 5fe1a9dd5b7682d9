"""Every notebook has the house's shape, runs from top to bottom, and its take-home cells run alone."""

import ast
import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest
from tiny_gguf import tiny_gguf

from helpers.lab.language.gguf import in_weight_type

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SMALL = {  # notebook -> parameters with which all of it runs in minutes
    "1_model_optimization": {"TRAIN_ROWS": 120, "TEST_ROWS": 48, "ROUNDS": 2, "TIMED_ROWS": 8, "METERS": False,
                             "FIRST_EPOCHS": 0.5, "EPOCHS": 0.1, "COPIES": 0, "BATCHES": [1, 4], "TOKENS": [8, 16],
                             "LANGUAGE": "tickets", "PEOPLE": 8, "TAUGHT": 4, "TUNED": 8, "DROPS": [1]},
    "2_efficient_architectures": {"TRAIN_ROWS": 144, "VALIDATION_ROWS": 72, "TEST_ROWS": 72, "TIMED_ROWS": 8,
                                  "ROUNDS": 3, "EPOCHS": 1, "SEEDS": 2, "LENGTHS": [128, 256, 512],
                                  "WAYS": ["full", "probe", "lora"],
                                  "LADDER": ["tagger", "patterns", "nearest examples"], "FIELD_ROWS": 96,
                                  "MESSAGES": 3, "TENANT_ROWS": 4},
    "3_hardware_codesign": {"TRAIN_ROWS": 120, "TEST_ROWS": 48, "EPOCHS": 0.1, "ROWS": 8, "ROUNDS": 2,
                            "MAX_TOKENS": 256, "SECONDS": 0.5,
                            "RUNTIMES": ["PyTorch fp32, padded to 128", "ONNX Runtime fp32", "ONNX Runtime int8"],
                            "SWITCHES": ["one by one", "continuous batching", "with prefix caching"]},
    "4_data_efficiency": {"TRAIN_ROWS": 360, "TEST_ROWS": 240, "SEEDS": 2, "ASKED": 8},
    "5_cloud_distributed": {"RATE": 150.0, "HOURS": 3, "SEEDS": 2, "STEPS": 5},
}
TRACE_DAY = "".join(f"2026-03-02T{minute // 60:02}:{minute % 60:02}:00Z,{300 + minute % 200}\n"
                    for minute in range(300))  # requests a minute
# Notebook -> its own parameters, the code that the run ends with, and what is said there. The second is in RARE.
OWN = {
    "1_model_optimization": ({"TASK": "my.csv", "TEXT": "body", "LABEL": "kind", "TIMED_ROWS": 8, "ROUNDS": 3,
                              "FIRST_EPOCHS": 0.5}, "compare(", "answers a second"),
    "3_hardware_codesign": ({"TASK": "my.csv", "TEXT": "body", "LABEL": "kind", "EPOCHS": 0.1},
                            "batch_frame(batch_times(", "texts a second: $"),
    "4_data_efficiency": ({"TASK": "my.csv", "TEXT": "body", "LABEL": "kind", "SEEDS": 2}, "find_label_errors(",
                          "labels are doubtful"),
    "5_cloud_distributed": ({"TRACE": "trace.csv"}, "a year at", "6.4 requests a second on average, 8.3 at the peak"),
}
TAKEN_HOME = {  # what its last cell prints
    "1_model_optimization": "MB", "2_efficient_architectures": "escalated: ",
    "3_hardware_codesign": "of what the cores can multiply is reached",
    "4_data_efficiency": "predicted for 1200 labels", "5_cloud_distributed": "autoscaled: $",
}
# Headings in the order that a reader meets them.
SHAPE = ["stake", "prediction", "experiment", "result", "explore", "verdict", "exercise", "take it home", "sources"]

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_solutions_are_folded(path):
    cells = nbformat.read(path, as_version=4).cells
    solutions = [cell for cell in cells if cell.cell_type == "code" and "solution" in cell.metadata.get("tags", [])]
    assert solutions
    assert all(cell.metadata.get("jupyter", {}).get("source_hidden") for cell in solutions)


@by_name
def test_a_page_that_shows_tickets_says_that_they_are_synthetic(path):
    """No customer wrote them: who opens a page learns that beside the first figures, not in the README."""
    shown = [cell for cell in nbformat.read(path, as_version=4).cells if "lesson" not in cell.metadata.get("tags", [])]
    if any("tickets" in cell.source for cell in shown if "parameters" not in cell.metadata.get("tags", [])):
        said = " ".join(cell.source for cell in shown if cell.cell_type == "markdown")
        assert re.search(r"`tickets(-balanced)?`[^.:;]*\bsynthetic\b", said)


@pytest.mark.parametrize("name", ["2_efficient_architectures", "4_data_efficiency"])
def test_methods_are_compared_over_at_least_five_seeds(name):
    code = "\n".join(cell.source for cell in cells(FOLDER / f"{name}.ipynb"))
    seeds, passed = None, []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign):
            names = [ast.unparse(target) for target in ast.walk(node.targets[0]) if isinstance(target, ast.Name)]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            seeds = dict(zip(names, values, strict=False)).get("SEEDS", seeds)
        if isinstance(node, ast.Call):
            passed += [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg == "seeds"]
    assert ast.literal_eval(seeds) >= 5
    assert passed
    assert set(passed) <= {"SEEDS", "range(SEEDS)"}


def cells(path: Path, tag: str | None = None, kind: str = "code") -> list:
    result = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]
    return [cell for cell in result if tag is None or tag in cell.metadata.get("tags", [])]


def test_there_are_notebooks():
    assert NOTEBOOKS


@by_name
def test_headings_follow_the_shape(path):
    headings = [line.lower() for cell in cells(path, kind="markdown") for line in cell.source.splitlines()
                if line.startswith("## ")]
    places = [next((i for i, heading in enumerate(headings) if word in heading), None) for word in SHAPE]
    assert None not in places, f"missing: {[word for word, at in zip(SHAPE, places, strict=True) if at is None]}"
    assert places == sorted(places)


@by_name
def test_cells_are_short_and_stripped(path):
    for cell in cells(path):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 15, cell.source
        assert not cell.outputs
        assert cell.execution_count is None


# What only a measurement gives: dollars, so many times or points ('at most' is a rule), and two figures compared.
RESULT = re.compile(r"""\$\s?\d | \b\d[\d.,]*x\b
    | (?<!at\ most\ )\b\d[\d.,]*\ (?:times|points)\ (?:as|less|more|fewer|better|worse|cheaper|dearer|faster|slower|of)
    | \b(?:cheaper|faster|slower|dearer|better|worse)\ (?:by|than)\ \d""", re.VERBOSE)
VERDICT = re.compile(r"""\b(?:cheap|fast|slow|dear|bett|few|small|larg)er\b
    | \b(?:worse|less|more|best|most|least|wins?|loses?|gains?|too\ many|none|all\ of\ them|cheapest|fastest)\b""",
                     re.IGNORECASE | re.VERBOSE)


def sentences(path: Path) -> list[str]:
    """Of the text cells, but for questions, headings, exercises with given numbers, and the section of sources."""
    texts = [cell.source for cell in cells(path, kind="markdown")
             if "sources" not in cell.source.splitlines()[0].lower()]
    lines = [line for text in texts for line in text.splitlines() if not line.startswith("#")]
    return [one for line in lines for one in re.split(r"(?<=[.?!:])\s+", line) if not one.endswith("?")]


@by_name
def test_no_result_is_typed_into_a_sentence(path):
    """Others run on other data and machines: a figure that is measured is computed."""
    assert [one for one in sentences(path) if RESULT.search(one)] == []


def test_results_that_are_typed_would_be_seen():
    for typed in ("It costs $28 a month.", "Int8 is 2.9x as fast.", "It costs 1.2 times less.",
                  "It is 7.4 times cheaper.", "It loses 0.67 points of accuracy.", "Students are faster by 30%."):
        assert RESULT.search(typed), typed


def told(path: Path) -> list[ast.expr]:
    """What stands in verdicts and titles."""
    results = []
    for cell in cells(path):
        for node in ast.walk(ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", cell.source))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                results += node.args[:1] if name == "verdict" else []
                results += [keyword.value for keyword in node.keywords if keyword.arg == "title"]
    return results


@by_name
def test_no_verdict_and_no_title_is_told_whatever_came_out(path):
    """A comparison stands in an f-string with a figure, or is one of several that a condition chooses from."""
    typed = [node.value for node in told(path) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in typed if VERDICT.search(text)] == []


@pytest.mark.parametrize("name", ["1_model_optimization", "2_efficient_architectures", "3_hardware_codesign"])
def test_nothing_that_was_measured_is_clamped(name):
    sources = [cell.source for cell in cells(FOLDER / f"{name}.ipynb")
               if not {"solution", "take-home"} & set(cell.metadata.get("tags", []))]
    assert [source for source in sources if re.search(r"\.clip\(|\bmin\(1\b|\bmax\(0\b", source)] == []


@by_name
def test_on_top_stands_what_one_learns_and_needs_and_whom_it_is_for(path):
    top = nbformat.read(path, as_version=4).cells[1]
    assert [bold in top.source for bold in ("**You will be able to**", "**You need**", "**For whom.**")] == [True] * 3
    assert "../docs/glossary.md" in top.source
    assert "lesson" in top.metadata.tags  # the page answers at once


@by_name
def test_minutes_are_those_that_were_measured(path):
    """By `python -m recording.minutes`, which says where; nobody's guess stands on the landing page."""
    metadata = nbformat.read(path, as_version=4).metadata
    assert ("minutes" in metadata) == ("minutes_on" in metadata)


@by_name
def test_one_cell_holds_the_parameters(path):
    assert len(cells(path, "parameters")) == 1


@by_name
def test_a_sentence_stands_before_each_lesson_cell(path):
    previous = None
    for cell in nbformat.read(path, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "lesson" in tags and "exercise" not in tags:
            assert previous == "markdown", cell.source
        previous = cell.cell_type


@pytest.fixture
def home_alone(make_home, monkeypatch):
    """A home and a queue of measurements of its own: no time is read off here, so none waits for another's turn."""
    monkeypatch.setenv("HELPERS_HOME", str(make_home()))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short:  # for sockets, of 107 letters at most
        monkeypatch.setenv("TMPDIR", short)
        yield


def small(path: Path) -> dict:
    """SMALL, and a random language model in SmolLM2's place, which answers in a moment."""
    if not re.search(r"\bLLM\b", cells(path, "parameters")[0].source):
        return SMALL[path.stem]
    return SMALL[path.stem] | {"LLM": str(in_weight_type(tiny_gguf(), "F16"))}


@by_name
@pytest.mark.slow
@pytest.mark.timeout(1500)  # trains, exports and times for real: eight minutes on two cores
def test_it_runs_from_top_to_bottom(path, tmp_path, home_alone):
    done = papermill.execute_notebook(str(path), str(tmp_path / "out.ipynb"), parameters=small(path),
                                      cwd=str(tmp_path), progress_bar=False, execution_timeout=900)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "\n".join(str(output) for output in outputs)
    assert "app-verdict" in text
    assert [output.text for output in outputs if output.get("name") == "stderr"] == [], "no library's warnings"
    assert "'Output(" not in text, "nor its bars, which leave blank spaces"
    tables = "\n".join(str(output.get("data", {}).get("text/html")) for output in outputs)
    headings = re.findall(r"<th scope='col'[^>]*>([^<]*)", tables)
    assert 'class="dataframe"' not in text, "tables are in words"
    assert [heading for heading in headings if "_" in heading] == []
    assert [gain for gain in points(tables) if abs(gain) >= 100] == [], "a ratio is no difference between shares"
    assert text.count("<b>Right.</b>") == len(cells(path, "solution")), "each folded solution solves its exercise"
    assert text.count("<b>Not yet.</b>") == len(cells(path, "exercise")), "and before it no check passes by itself"


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_it_runs_on_a_file_of_the_users(name, tmp_path, home_alone):
    """Up to the first measurement: what follows takes the same objects."""
    rows = [(f"{word} {number} please", label) for number in range(60)
            for word, label in (("refund the amount of", "money"), ("where is parcel", "parcel"))]
    (tmp_path / "my.csv").write_text("body,kind\n" + "".join(f"{text},{label}\n" for text, label in rows))
    (tmp_path / "trace.csv").write_text("timestamp,count\n" + TRACE_DAY)
    own, ends_with, said = OWN[name]
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if ends_with in cell.source)
    notebook.cells = notebook.cells[:last + 1]
    nbformat.write(notebook, tmp_path / "short.ipynb")
    done = papermill.execute_notebook(str(tmp_path / "short.ipynb"), str(tmp_path / "out.ipynb"), parameters=own,
                                      cwd=str(tmp_path), progress_bar=False, execution_timeout=300)
    assert said in str(done.cells[-1].outputs)


# Notebook -> its parameters, the code that the run ends with (a verdict), and what is said before, in which cell.
RARE = {
    "2_efficient_architectures": ({"TIMED_ROWS": 8, "ROUNDS": 3, "EPOCHS": 1}, "tfidf.accuracy_delta",
                                  ("compare(", "answers a second of the large model")),
    "4_data_efficiency": ({"SEEDS": 2}, "buy {full:.1%}", ("", "")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RARE)
def test_99_percent_right_is_no_success_where_99_percent_have_one_label(name, tmp_path, home_alone):
    words = ["late", "order", "parcel", "invoice", "refund", "please", "again", "thanks", "where", "when"]
    texts = [" ".join(words[(number * step) % 10] for step in (1, 3, 7, 9)) + f" {number}" for number in range(600)]
    (tmp_path / "rare.csv").write_text("body,kind\n" + "".join(
        f"{text},{'yes' if number % 100 == 0 else 'no'}\n" for number, text in enumerate(texts)))
    parameters, ends_with, (code, before) = RARE[name]
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    last = next(i for i, cell in enumerate(notebook.cells) if ends_with in cell.source)
    notebook.cells = notebook.cells[:last + 1]
    nbformat.write(notebook, tmp_path / "short.ipynb")
    done = papermill.execute_notebook(str(tmp_path / "short.ipynb"), str(tmp_path / "out.ipynb"), cwd=str(tmp_path),
                                      parameters={"TASK": "rare.csv", "TEXT": "body", "LABEL": "kind", **parameters},
                                      progress_bar=False, execution_timeout=300)
    assert before in "".join(str(cell.get("outputs")) for cell in done.cells if code in cell.source)
    said = html.unescape(str(done.cells[-1].outputs))
    assert "learned no more than the constant answer: always giving the most frequent label is right in 99%" in said
    assert "the weakest class, 'yes'" in said


def points(tables: str) -> list[float]:
    """What stands in columns of differences between shares, which cannot be as large as 100 points."""
    found = []
    for table in re.findall(r"app-frame.*?</table>", tables, re.DOTALL):
        heads, *rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        places = [place for place, head in enumerate(heads.split("</th>")) if "<small>points</small>" in head
                  and "max_lost" not in head]
        cells = [row.split("</td>")[place] for row in rows for place in places]
        found += [float(figure[1].replace("\N{MINUS SIGN}", "-").replace(",", "")) for cell in cells
                  if (figure := re.search(r">([+\N{MINUS SIGN}][\d.,]+)", cell))]
    return found


@by_name
def test_take_home_cells_run_alone_in_an_empty_folder(path, tmp_path):
    sources = [cell.source for cell in cells(path, "take-home")]
    assert sources
    code = "import sys\nsys.modules['helpers'] = None  # any import of it fails\n" + "\n".join(sources)
    assert "helpers" not in {name.name.split(".")[0] for source in sources for node in ast.walk(ast.parse(source))
                             if isinstance(node, ast.Import) for name in node.names}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Warning" not in done.stderr, "what torchao logs as it is imported is its own"
    assert "[torch.onnx]" not in done.stdout, "nor the exporter's steps"
    assert TAKEN_HOME[path.stem] in done.stdout
