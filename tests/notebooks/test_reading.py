"""Prose that can be read at once: its grade, and how many terms a page asks the reader to know."""

import re
from collections.abc import Iterator

import nbformat
import pyphen
import pytest
from notebook_cells import NOTEBOOKS

from helpers.app.text.glossary import found

MAX_GRADE, MAX_TERMS = 10.0, 20
MIN_WORDS = 25  # of less prose, one long word decides
SYLLABLES = pyphen.Pyphen(lang="en_US", left=1, right=1)

by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def grade(prose: str) -> float:
    """Years of school that a text takes (Kincaid et al., 1975); a colon ends a sentence, as Flesch counted."""
    sentences = [sentence for sentence in re.split(r"[.!?:;](?:\s|$)", prose) if sentence.strip()]
    words = re.findall(r"[A-Za-z][A-Za-z'-]*", prose)
    syllables = sum(len(SYLLABLES.positions(part)) + 1 for word in words for part in word.split("-") if part)
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


def prose_of(markdown: str) -> str:
    """A text cell without headings, tables, code, markup and addresses; each line and each item ends a sentence."""
    text = re.sub(r"(?s)```.*?```|<[^>]+>", "", markdown)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    lines = [line.strip(" -*") for line in text.splitlines() if not line.startswith(("#", "|"))]
    return " ".join(line if line.endswith((".", "!", "?", ":", ";")) else f"{line}." for line in lines if line)


def prose_cells(path) -> Iterator[str]:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and "sources" not in cell.source.splitlines()[0].lower():
            yield prose_of(re.sub(r"`[^`]*`", "code", cell.source))


def test_the_grade_is_flesch_and_kincaids():
    assert grade("The cat sat on the mat.") == pytest.approx(0.39 * 6 + 11.8 - 15.59)  # six words of one syllable
    assert grade("Information is compression of information.") == pytest.approx(0.39 * 5 + 11.8 * 13 / 5 - 15.59)


@by_name
def test_no_text_cell_is_harder_to_read_than_the_tenth_grade(path):
    graded = [(round(grade(prose), 1), prose) for prose in prose_cells(path) if len(prose.split()) >= MIN_WORDS]
    assert graded
    assert [one for one in graded if one[0] > MAX_GRADE] == []


@by_name
def test_what_a_page_says_itself_takes_at_most_twenty_terms(path):
    """Those in its text, but for titles of sources; computed sentences and tables explain theirs where they stand."""
    shown = [cell.source for cell in nbformat.read(path, as_version=4).cells
             if cell.cell_type == "markdown" and "lesson" not in cell.metadata.get("tags", [])
             and "sources" not in cell.source.splitlines()[0].lower()]
    assert len({term.name for text in shown for _, term in found(text)}) <= MAX_TERMS
