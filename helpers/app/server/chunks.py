"""The scripts that every page needs, as two files instead of some eighty.

Voila's page loads its script in small parts (webpack's chunks), six at a time, each asked for by another one. A part
that is on the page already is not asked for, so these are sent together, before the script itself. The list is in
static/chunks.txt (`python -m recording.chunks` writes it, from what a browser loads); a part that another version of
Voila does not have is left out, and one that is not listed is loaded as ever. Vega comes by a file of its own, side by
side with the rest; where it does not, as in JupyterLab, the charts get it from the kernel.
"""

import functools
import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

from jupyter_core.paths import jupyter_path

from helpers.app.charts.bundle import FILE as VEGA

LIST = Path(__file__).parents[1] / "static" / "chunks.txt"


def places(name: str) -> list[Path]:
    """Where the listed part may be, the folders of Jupyter's data in their order."""
    return [path for path in (Path(root) / name for root in jupyter_path()) if path.is_file()]


def chunks() -> bytes:
    """The listed parts in one, gzip."""
    found = [places(name) for name in LIST.read_text(encoding="utf-8").split()]
    text = b"".join(files[0].read_bytes() + b"\n;\n" for files in found if files)
    return gzip.compress(text, 6, mtime=0)


class Script:
    """A script that is served under an address that changes with its content; read when first asked for."""

    def __init__(self, name: str, read: Callable[[], bytes]) -> None:
        self._name, self._read = name, read

    @functools.cached_property
    def packed(self) -> bytes:
        """The script, gzip."""
        return self._read()

    @functools.cached_property
    def address(self) -> str:
        """Under the server's base address, such as app/chunks-0123456789abcdef.js."""
        return f"app/{self._name}-{hashlib.sha256(self.packed).hexdigest()[:16]}.js"


SCRIPTS = {"chunks": Script("chunks", chunks), "vega": Script("vega", VEGA.read_bytes)}
