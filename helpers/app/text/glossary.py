"""The glossary: one list of the field's terms, for the sentences of pages and for docs/glossary.md.

`python -m helpers.app.text.glossary` writes again where each term is first used, and the document.
"""

import csv
import dataclasses
import functools
import html
import io
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from IPython import get_ipython

from helpers.lab.facts import read_facts
from helpers.lab.paths import write_atomically

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "glossary.md"
_FACTS = ROOT / "helpers" / "facts"
_OPENS, _CLOSES = "([{\"'", ")]},.;:!?…%\"'"  # marks that a line may not end with, and not begin with
_OPENING = """# Glossary

The terms of the notebooks and pages, each in one sentence. On a page, a term with a dotted line under it opens its \
sentence: click or tap it, or press Enter on it; Escape closes it.

This file is made from `helpers/facts/glossary.csv`. Edit that, then run `python -m helpers.app.text.glossary`.

| term | also written | meaning | first used |
| --- | --- | --- | --- |
"""
_explained_in: dict[str, str] = {}  # term -> the cell that has explained it in this kernel, which is one page's


@dataclasses.dataclass(frozen=True)
class Term:
    """One row of helpers/facts/glossary.csv.

    Args:
        name: as the notebooks write it.
        others: other spellings, such as the plural.
        meaning: one plain sentence.
        first: notebook and heading, '1_model_optimization: Explore', or 'pages'.
    """

    name: str
    others: tuple[str, ...]
    meaning: str
    first: str


@functools.cache
def terms() -> tuple[Term, ...]:
    """All terms, by the alphabet.

    >>> from helpers.app.text.glossary import terms
    >>> [term.meaning for term in terms() if term.name == "quantization"]
    ['Storing the numbers of a model in fewer bits.']
    """
    return tuple(Term(row["term"], tuple(filter(None, row["spellings"].split("; "))), row["meaning"], row["first"])
                 for row in read_facts("glossary"))


@functools.cache
def _by_spelling() -> dict[str, Term]:
    return {spelling: term for term in terms() for spelling in (term.name, *term.others)}


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Any spelling as a whole word, the longest first; small first letters may be capital, as where a sentence begins.

    A hyphen belongs to the word: 'MiniLM-L6-v2' is not 'MiniLM-L6'.
    """
    longest_first = sorted(_by_spelling(), key=len, reverse=True)
    either = "|".join(f"[{text[0]}{text[0].upper()}]{re.escape(text[1:])}" if text[0].islower() else re.escape(text)
                      for text in longest_first)
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])")


def found(text: str) -> Iterator[tuple[re.Match[str], Term]]:
    """Each use of a term in a text, from left to right.

    >>> from helpers.app.text.glossary import found
    >>> [(use[0], term.name) for use, term in found("Dynamic int8 in 2 streams")]
    [('Dynamic int8', 'dynamic int8'), ('streams', 'streams')]
    """
    spellings = _by_spelling()
    for use in _pattern().finditer(text):
        term = spellings.get(use[0]) or spellings[use[0][0].lower() + use[0][1:]]
        yield use, term


def explained(text: str) -> tuple[str, str]:
    """A text as HTML in which each term is a button, once on a page, and the meanings that the buttons open.

    A meaning is a popover, so that the browser itself opens it by mouse, touch and keyboard, and closes it by Escape;
    it belongs after the element that holds the text, whose words stay as they are.

    Args:
        text: plain; markup in it is shown, not obeyed.

    Returns:
        The text's HTML, and the meanings' HTML. A cell that is run again explains again what it explained before.

    >>> from helpers.app.text.glossary import explained
    >>> text, meanings = explained("LoRA & LoRA")
    >>> text.count("<button"), text.endswith("&amp; LoRA"), "two thin tables" in meanings
    (1, True, True)
    """
    cell, at, seen = _running_cell(), 0, set()
    parts, meanings = [], []
    for use, term in found(text):
        if term.name in seen or _explained_in.setdefault(term.name, cell) != cell:
            continue
        seen.add(term.name)
        key = f"meaning-{uuid.uuid4().hex[:12]}"  # a document may hold several pages, such as JupyterLab's tabs
        # A browser may break a line on either side of a button, even before a comma: what touches it is held to it.
        start = at + len(text[at:use.start()].rstrip(_OPENS))
        end = len(text) - len(text[use.end():].lstrip(_CLOSES))
        parts += [html.escape(text[at:start]), f"<span class='app-held'>{html.escape(text[start:use.start()])}"
                  f"<button type='button' class='app-term' popovertarget='{key}' aria-describedby='{key}'>"
                  f"{html.escape(use[0])}</button>{html.escape(text[use.end():end])}</span>"]
        meanings.append(f"<span class='app-meaning mathjax_ignore' id='{key}' role='tooltip' popover>"
                        f"<b>{html.escape(term.name)}</b>: {html.escape(term.meaning)}</span>")
        at = end
    return "".join([*parts, html.escape(text[at:])]), "".join(meanings)


def _running_cell() -> str:
    """The source of the cell that runs, which tells it from others when it runs again; empty outside of notebooks."""
    shell = get_ipython()
    return shell.user_ns["In"][-1] if shell else ""


def sections(notebook: Path, kind: str) -> Iterator[tuple[str, str]]:
    """Heading and text of each cell of a kind, 'markdown' or 'code', with the headings of all cells before it."""
    heading = ""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = (re.findall(r"^#+ (.*)$", text, re.MULTILINE) or [heading])[-1]
        if cell["cell_type"] == kind:
            yield heading, re.sub(r"[*`]", "", text) if kind == "markdown" else text


@functools.cache
def first_uses() -> dict[str, str]:
    """Term -> where it is first used: by notebook, in each the prose before the code, and the pages' words last."""
    uses: dict[str, str] = {}
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for kind in ("markdown", "code"):
            for heading, text in sections(notebook, kind):
                for _, term in found(text):
                    uses.setdefault(term.name, f"{notebook.stem}: {heading}")
    sources = [path for path in (ROOT / "helpers" / "app").rglob("*.py") if path != Path(__file__)]
    for path in [_FACTS / "findings.json", *sources]:
        for _, term in found(path.read_text(encoding="utf-8")):
            uses.setdefault(term.name, "pages")
    return uses


def document(places: dict[str, str]) -> str:
    """The text of docs/glossary.md.

    Args:
        places: term -> where it is first used.
    """
    return _OPENING + "".join(f"| {term.name} | {', '.join(term.others)} | {term.meaning} | "
                              f"{_linked(places[term.name])} |\n" for term in terms())


def _linked(place: str) -> str:
    name, _, heading = place.partition(": ")
    title = heading.removeprefix(f"{name[0]} ")  # the first heading has the number, too
    return f"[{name[0]}: {title}](../notebooks/{name}.ipynb)" if heading else f"the {name}"


def main() -> None:
    """Write the column `first` of the list, and the document."""
    places, table = first_uses(), io.StringIO()
    rows = read_facts("glossary")
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "first": places.get(row["term"], "")} for row in rows)
    write_atomically(_FACTS / "glossary.csv", table.getvalue())
    write_atomically(DOCUMENT, document(places))


if __name__ == "__main__":
    main()
