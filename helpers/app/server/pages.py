"""Page notebooks: the same source without the cells that belong to the lesson only."""

import dataclasses
import hashlib
import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

import platformdirs

from helpers.lab.errors import InputError
from helpers.lab.paths import own_folder, write_atomically

FINDINGS = Path(__file__).parents[2] / "facts" / "findings.json"
LESSON_TAGS = frozenset({"lesson", "solution"})  # Voila would hide these cells but still run them


@dataclasses.dataclass(frozen=True)
class Page:
    """Texts of the landing page and the header about a notebook."""

    name: str
    title: str
    short: str
    claim: str
    minutes: int | None  # measured by recording.minutes
    link: str
    result: str


def derive(notebooks: Path, build: Path | None = None) -> tuple[Path, list[Page]]:
    """Write the page notebooks of a folder and return where they are, with a description of each.

    Raises:
        InputError: the folder holds no notebook, or one that cannot be read; or the pages cannot be written.
    """
    sources = _notebooks(notebooks)
    if not sources:
        raise InputError(f"There is no notebook in {notebooks}. Name another folder with --notebooks.")
    build = build or build_folder(notebooks)
    pages = []
    for path in sources:
        notebook = without_lesson(_read(path))
        page = describe(path.stem, notebook)
        notebook["metadata"]["title"] = page.title
        write_atomically(build / path.name, json.dumps(notebook, ensure_ascii=False))
        pages.append(page)
    for stale in _notebooks(build):
        if stale.name not in {path.name for path in sources}:
            stale.unlink()
    return build, pages


def described(notebooks: Path) -> list[Page]:
    """The description of each notebook of a folder."""
    return [describe(path.stem, _read(path)) for path in _notebooks(notebooks)]


def without_lesson(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook itself, its lesson's cells dropped."""
    notebook["cells"] = [cell for cell in notebook["cells"] if not LESSON_TAGS & _tags(cell)]
    return notebook


def build_folder(notebooks: Path) -> Path:
    """Under the user's cache, one for each folder of notebooks; `HELPERS_HOME` moves it."""
    cache = own_folder(platformdirs.user_cache_path, "cache")
    return cache / "pages" / hashlib.sha256(str(notebooks.resolve()).encode()).hexdigest()[:12]


def describe(name: str, notebook: dict[str, Any]) -> Page:
    """Title and claim from the notebook's metadata, else from its first heading and paragraph."""
    metadata = notebook["metadata"]
    heading, paragraph = _opening(notebook)
    title = metadata.get("title") or heading or name.replace("_", " ")
    short = metadata.get("short") or re.sub(r"^\d+[\s_.]*", "", name).replace("_", " ").capitalize()
    return Page(name, title, short, metadata.get("claim") or paragraph, metadata.get("minutes"),
                f"voila/render/{urllib.parse.quote(name)}.ipynb", _result(name))


def recorded_finding(name: str) -> tuple[str, str]:
    """The sentence that a notebook's page opens with, as helpers/facts/findings.json has it, and its date.

    `python -m recording.pictures` writes the file from the pages. Both are empty for any other notebook.
    """
    entry = json.loads(FINDINGS.read_text(encoding="utf-8")).get(name, {})
    return entry.get("finding", ""), entry.get("date", "")


def _result(name: str) -> str:
    finding, date = recorded_finding(name)
    return f"{finding} ({date})" if finding else ""


def _notebooks(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))


def _opening(notebook: dict[str, Any]) -> tuple[str, str]:
    text = next(("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"), "")
    blocks = [block.strip() for block in re.split(r"\n\s*\n|(?<=\S)\n(?=#)|(?m:^(?=#))", text) if block.strip()]
    headings = [block.splitlines()[0].lstrip("# ") for block in blocks if block.startswith("#")]
    rests = ["\n".join(block.splitlines()[1:]).strip() if block.startswith("#") else block for block in blocks]
    return (headings or [""])[0], next((_plain(rest) for rest in rests if rest), "")


def _plain(markdown: str) -> str:
    without_links = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    return " ".join(re.sub(r"[*`>]", "", without_links).split())


def _tags(cell: dict[str, Any]) -> set[str]:
    return set(cell.get("metadata", {}).get("tags", []))


def _read(path: Path) -> dict[str, Any]:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return {**notebook, "cells": list(notebook["cells"]), "metadata": dict(notebook["metadata"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is not a notebook of format 4: open it in JupyterLab and save it.") from error
