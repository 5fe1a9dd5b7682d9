"""Files that a reader sends through the browser: one at a time, of a bounded size, gone with the session."""

import re
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from helpers.app.panels.frame import Status, source
from helpers.app.problems import guarded
from helpers.app.text.figures import two
from helpers.lab.errors import InputError
from helpers.lab.paths import uploads, write_atomically

LONGEST_NAME = 48  # characters, of which a file system may count four bytes each, and some more while it is written


class Upload(anywidget.AnyWidget):
    """A button that takes one file; `file` is where it lies, None before the first and after one that was refused.

    Args:
        label: stands beside the button.
        status: says what came, or what is wrong with it.
    """

    _esm = source("upload.js")
    label = traitlets.Unicode().tag(sync=True)
    accept = traitlets.Unicode().tag(sync=True)
    max_bytes = traitlets.Int().tag(sync=True)  # what the browser holds itself to; _take checks it

    def __init__(self, label: str, status: Status) -> None:
        from helpers.lab.data.files import MAX_UPLOAD_BYTES  # with pandas, which a page can open without
        from helpers.lab.data.tables import PACKED, READABLE

        super().__init__(label=label, accept=",".join([*READABLE, PACKED]), max_bytes=MAX_UPLOAD_BYTES)
        self.file: Path | None = None
        self._status = status
        self.on_msg(guarded(status.fail)(self._take))

    def _take(self, _widget: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        from helpers.lab.data.files import MAX_UPLOAD_BYTES, too_large

        if self.file is not None:
            self.file.unlink(missing_ok=True)
            self.file = None  # first of all: whatever comes of the new one, the old one is not taken for it
        name = file_name(message.get("name"))
        size = memoryview(buffers[0]).nbytes if buffers else message.get("size")
        if isinstance(size, int) and size > MAX_UPLOAD_BYTES:  # not the trait, which the browser may set
            raise too_large(name, size)
        if not buffers:
            raise InputError(f"Your browser could not read {name}: is it still there? Choose it again.")
        path = uploads() / name
        write_atomically(path, bytes(buffers[0]))
        self.file = path
        self._status.say(f"{name} has arrived ({two(size / 1e6)} MB).")


def file_name(sent: object) -> str:
    """A browser's name for a file as a name on this machine: of no folder, of plain signs, short, with its ending.

    >>> from helpers.app.panels.uploads import file_name
    >>> [file_name(name) for name in ("../../etc/passwd", r"C:\\rows.csv", "my rows (2).csv", "..")]
    ['passwd', 'rows.csv', 'my rows (2).csv', 'file']
    """
    last = re.split(r"[\\/]", str(sent))[-1]
    return re.sub(r"[^\w.() -]", "_", last)[-LONGEST_NAME:].strip(". ") or "file"
