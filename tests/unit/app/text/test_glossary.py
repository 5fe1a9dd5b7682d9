"""One list of the field's terms: sound, where it says it is, and at hand on the pages."""

import csv
import html
import re
from collections import Counter

import nbformat
import pytest
from nbclient import NotebookClient

from helpers.app import headline, verdict
from helpers.app.records import recorded
from helpers.app.text.glossary import DOCUMENT, ROOT, document, explained, first_uses, found, sections, terms

WRITE_AGAIN = "python -m helpers.app.text.glossary writes both"
BUTTON = re.compile(r"<button type='button' class='app-term' popovertarget='([\w-]+)' aria-describedby='([\w-]+)'>"
                    r"([^<]*)</button>")
MEANING = re.compile(r"<span class='app-meaning mathjax_ignore' id='([\w-]+)' role='tooltip' popover><b>([^<]*)</b>")


def test_each_term_is_used_in_a_notebook_or_on_a_page_and_where_is_said():
    assert {term.name: term.first for term in terms()} == first_uses(), WRITE_AGAIN


def test_the_document_is_made_from_the_list():
    assert DOCUMENT.read_text(encoding="utf-8") == document({term.name: term.first for term in terms()}), WRITE_AGAIN


@pytest.mark.parametrize("term", [term for term in terms() if term.first != "pages"], ids=lambda term: term.name)
def test_a_term_stands_in_the_section_that_is_named(term):
    name, _, heading = term.first.partition(": ")
    path = ROOT / "notebooks" / f"{name}.ipynb"
    texts = [text for kind in ("markdown", "code") for under, text in sections(path, kind) if under == heading]
    spelled = re.compile("|".join(map(re.escape, (term.name, *term.others))), re.IGNORECASE)
    assert any(map(spelled.search, texts))


def test_no_term_and_no_spelling_is_there_twice():
    counts = Counter(spelling.casefold() for term in terms() for spelling in (term.name, *term.others))
    assert [spelling for spelling, count in counts.items() if count > 1] == []
    assert Counter(term.meaning for term in terms()).most_common(1)[0][1] == 1


def test_the_list_is_complete_in_the_order_of_the_alphabet():
    with (ROOT / "helpers/facts/glossary.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["term", "spellings", "meaning", "first"]
    assert 60 <= len(rows) == len(terms())
    assert all(len(row) == 4 and row[0] and row[2] and row[3] for row in rows)
    names = [row[0].casefold() for row in rows]
    assert names == sorted(names)


@pytest.mark.parametrize("term", terms(), ids=lambda term: term.name)
def test_a_meaning_is_one_short_sentence_that_does_not_explain_a_word_by_itself(term):
    assert len(term.meaning.split()) < 30
    assert re.fullmatch(r"[A-Z][^.!?]*\.", term.meaning)
    assert term.name not in [used.name for _, used in found(term.meaning)]


@pytest.mark.parametrize(("text", "names"), [
    ("Int8 and int8", ["int8", "int8"]), ("Dynamic int8", ["dynamic int8"]), ("ONNX Runtime", ["ONNX Runtime"]),
    ("MiniLM-L6-v2", []), ("paint8", []), ("p95_ms", []), ("LORA", []), ("two tenants", ["tenant"]),
    ("loses 2 points (95% intervals)", ["95% interval"])])
def test_whole_words_are_found_and_the_longest_spelling_wins(text, names):
    assert [term.name for _, term in found(text)] == names


def test_a_term_is_a_button_at_its_first_use_and_every_word_stays():
    text, meanings = explained("<b> int8 & LoRA, then int8")
    assert [use[3] for use in BUTTON.finditer(text)] == ["int8", "LoRA"]
    assert html.unescape(re.sub(r"</?(?:button|span)[^>]*>", "", text)) == "<b> int8 & LoRA, then int8"
    assert [use[2] for use in MEANING.finditer(meanings)] == ["int8", "LoRA"]


def test_each_button_opens_and_is_described_by_the_meaning_of_its_term():
    shown = verdict("VNNI makes int8 quick.").data + verdict("VNNI makes int8 quick.").data
    opened = dict(MEANING.findall(shown))
    assert len(opened) == 4
    assert [(opened[target], opened[described]) for target, described, _ in BUTTON.findall(shown)] == [
        ("VNNI", "VNNI"), ("int8", "int8")] * 2


def test_the_first_sentence_of_a_page_explains_its_terms():
    shown = headline(recorded("1_model_optimization_together")).data
    assert {name for _, name in MEANING.findall(shown)} >= {"MiniLM-L6", "fp32", "95% interval"}


def test_a_page_explains_a_term_once_and_again_when_the_same_cell_runs_again(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    first, other = ("from helpers import app; app.verdict('int8 here')", "app.verdict('int8 and LoRA there')")
    cells = [nbformat.v4.new_code_cell(source) for source in (first, other, first)]
    done = NotebookClient(nbformat.v4.new_notebook(cells=cells)).execute()
    buttons = [[use[3] for use in BUTTON.finditer(cell.outputs[0]["data"]["text/html"])] for cell in done.cells]
    assert buttons == [["int8"], ["LoRA"], ["int8"]]
