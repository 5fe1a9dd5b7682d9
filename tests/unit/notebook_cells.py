"""What the tests of notebooks share: a cell run with given results, and what it says."""

import ast
import html
import re
from pathlib import Path
from typing import Any

import nbformat

from helpers import app
from helpers.app.panels.guesses import Guess

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SOURCES = {(path.name[0], cell.id): cell.source for path in NOTEBOOKS
           for cell in nbformat.read(path, as_version=4).cells}
NONSENSE = [  # in a sentence about a result, whichever way it falls
    r"\bnan\b|\binf\b|\bNone\b", r"\b1\.0+ times (?:as|less|more|fewer|faster|slower)",
    r"(?<![\d.,])0(?:\.\d+)? times ",
    r"[-\N{MINUS SIGN}]\$?\d[\d,.]* (?:labels )?(?:fewer|more|less)\b", r"\$[-\N{MINUS SIGN}]",
    r"\b(?:saves|loses|gains) [-\N{MINUS SIGN}]", r"\b0\.\d+x the answers"]


def guessed(value: float) -> Guess:
    """A guess that somebody has made."""
    guess = Guess("how many", value - 1, value + 2)
    guess.slider.value = value
    return guess


def plain(shown: Any) -> str:
    """The words of what a cell displays, without markup."""
    inside = re.sub(r"</?(?:button|span|b|i|em|strong|code)\b[^>]*>", "", shown.data)  # within a sentence
    return html.unescape(" ".join(re.sub(r"(?s)<style>.*?</style>|<[^>]+>", " ", inside).split()))


def value_of(source: str, names: dict[str, Any]) -> Any:
    """What a cell shows: the value of its last line; None where that is no value."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None


def said(number: str, cell: str, **given: Any) -> str:
    """The sentence of a cell's verdict; what the cell would assign to a name that is given is left out."""
    tree = ast.parse(SOURCES[number, cell])
    tree.body = [line for line in tree.body if not set(assigned(line)) & set(given)]
    text = plain(value_of(ast.unparse(tree), {"app": app, "display": lambda *_: None, **given}))
    return sensible(text)


def functions(number: str, cell: str, **given: Any) -> dict[str, Any]:
    """The functions that a cell defines, with the names that they use."""
    names = {"app": app, **given}
    tree = ast.parse(SOURCES[number, cell])
    tree.body = [line for line in tree.body if isinstance(line, ast.FunctionDef)]
    exec(compile(tree, cell, "exec"), names)
    return names


def sensible(text: str) -> str:
    """The text, unless it holds what no result can mean."""
    assert not [pattern for pattern in NONSENSE if re.search(pattern, text)], text
    return text


def assigned(line: ast.stmt) -> list[str]:
    """The names that a line assigns to, or into."""
    targets = line.targets if isinstance(line, ast.Assign) else []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
