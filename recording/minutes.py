"""How long each notebook takes here, read and run as a participant does, cell by cell: written into the notebook.

python -m recording.minutes [NOTEBOOK ...] [--look] [--further]

With the settings that a notebook has, and what earlier runs have left in the caches: a second run is that of a class
for which `make warm` was run. What is written, into the metadata and on top, is the time of all cells but those under
'Go further', which the others do not need, and of reading them; the landing page shows it. Also said: which cells let a
reader wait for longer than two seconds without a sign of life. --look writes nothing, and --further runs the cells
under 'Go further' as well.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from helpers.lab import InputError, fingerprint
from helpers.lab.machine import brief
from helpers.lab.paths import write_atomically

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
WORDS_A_MINUTE = 200  # of technical prose (Brysbaert, 2019, has 238 for plain non-fiction)
SILENT_S = 2.0
NEEDS, TIME = "**You need**", "**Time.**"  # what paragraphs begin with


@dataclasses.dataclass(frozen=True)
class Timed:
    """A code cell that ran: its first line, its seconds, and the longest time in which it showed nothing."""

    heading: str
    first_line: str
    seconds: float
    silent_s: float


class _Watched(NotebookClient):
    """Notes when each cell began, showed something and ended."""

    def __init__(self, notebook: Any, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.moments: dict[int, list[float]] = {}
        self.on_cell_execute = self.on_cell_executed = self._note

    def _note(self, cell_index: int, **_: Any) -> None:
        self.moments.setdefault(cell_index, []).append(time.monotonic())

    def process_message(self, msg: dict, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data", "stream", "execute_result", "comm_msg"):
            self._note(cell_index)
        return super().process_message(msg, cell, cell_index)


def main(arguments: Sequence[str] | None = None, folder: Path = NOTEBOOKS) -> None:
    """Run the notebooks that are named, or all, one after another; what is done is kept when it is cut off.

    Raises:
        InputError: there is no such notebook.
    """
    parser = argparse.ArgumentParser("python -m recording.minutes")
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="as in 1_model_optimization; all without")
    parser.add_argument("--look", action="store_true", help="write nothing")
    parser.add_argument("--further", action="store_true", help="run what stands under 'Go further', too")
    asked = parser.parse_args(arguments)
    there = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    if unknown := set(asked.names) - set(there):
        raise InputError(f"Unknown notebook '{min(unknown)}'. Choose some of: {', '.join(there)}.")
    for name in asked.names or there:
        cells = run(there[name], further=asked.further)
        minutes = minutes_of(there[name], cells)
        print(f"{name}: {minutes} minutes to read and run on {brief(fingerprint())}")
        for cell in sorted(cells, key=lambda cell: -cell.silent_s):
            if cell.silent_s > SILENT_S:
                print(f"  silent for {cell.silent_s:.0f} s of {cell.seconds:.0f}: {cell.heading}: {cell.first_line}")
        if not asked.look:
            write_into(there[name], minutes)


def run(path: Path, further: bool = False) -> list[Timed]:
    """Execute a notebook from top to bottom in an empty folder, and time its code cells.

    Args:
        further: also those under 'Go further'.
    """
    notebook = nbformat.read(path, as_version=4)
    if not further:
        notebook.cells = [cell for heading, _, cell in _under_headings(notebook) if not _is_further(heading)]
    with tempfile.TemporaryDirectory() as folder:
        client = _Watched(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute()
    timed = []
    for heading, index, cell in _under_headings(notebook):
        if cell.cell_type == "code" and len(moments := client.moments.get(index, [])) > 1:
            longest = max(after - before for before, after in itertools.pairwise(moments))
            timed.append(Timed(heading, cell.source.splitlines()[0], moments[-1] - moments[0], longest))
    return timed


def minutes_of(path: Path, cells: Sequence[Timed]) -> int:
    """Minutes for the main line: its cells, and its words at a reader's pace; what goes further is left out."""
    words = sum(len(re.findall(r"\w+", cell.source))
                for heading, _, cell in _under_headings(nbformat.read(path, as_version=4))
                if cell.cell_type == "markdown" and not _is_further(heading))
    working = sum(cell.seconds for cell in cells if not _is_further(cell.heading))
    return max(1, round(working / 60 + words / WORDS_A_MINUTE))


def write_into(path: Path, minutes: int) -> None:
    """The minutes, with the machine and the day, into a notebook's metadata, and on top behind what one needs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    where = f"{brief(fingerprint())}, {datetime.datetime.now(datetime.UTC).date().isoformat()}"
    notebook["metadata"] |= {"minutes": minutes, "minutes_on": where}
    for cell in notebook["cells"]:
        paragraphs = [one for one in "".join(cell["source"]).split("\n\n") if not one.startswith(TIME)]
        if at := [place for place, one in enumerate(paragraphs) if one.startswith(NEEDS)]:
            paragraphs.insert(at[0] + 1, f"{TIME} {minutes} minutes to read and run on {where}, without the sections "
                              "called 'Go further'. The exercises take as long as you like.")
            cell["source"] = "\n\n".join(paragraphs).splitlines(keepends=True)
    write_atomically(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def _is_further(heading: str) -> bool:
    return heading.startswith("Go further")


def _under_headings(notebook: Any) -> Iterator[tuple[str, int, Any]]:
    """The heading that each cell stands under, of the second or third level; its place; the cell.

    One of the fourth level divides a section: what stands under it within a 'Go further' goes further, too.
    """
    heading = ""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown" and (lines := re.findall(r"(?m)^###? (.*)$", cell.source)):
            heading = lines[0]
        yield heading, index, cell


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
