"""Slow imports in a cell: a bar under it. The first one of PyTorch takes seconds, from a cold disk half a minute."""

import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from helpers.lab.paths import is_page
from helpers.lab.progress import Progress

# Packages that take a second or more with those that they bring in, as they are imported.
SLOW = {"datasets", "evaluate", "nncf", "peft", "ray", "sentence_transformers", "sklearn", "torch", "torchao",
        "transformers"}


def announce_imports() -> None:
    """Show which slow package is being imported while a notebook's cell runs, until it is there; not on a page."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is None or is_page() or any(isinstance(one, _Finder) for one in sys.meta_path):
        return
    finder = _Finder()
    shell.events.register("pre_run_cell", lambda *_: finder.allow(True))
    shell.events.register("post_run_cell", lambda *_: finder.allow(False))
    sys.meta_path.insert(0, finder)


class _Finder(MetaPathFinder):
    """Finds slow packages as Python does, and has their loading seen: one bar a cell."""

    def __init__(self) -> None:
        self._in_cell = True  # this is called in one
        self._report: Progress | None = None
        self._depth = 0

    def allow(self, in_cell: bool) -> None:
        """A cell begins, or has ended: its bar is its own, and what is imported between cells has no place to show."""
        self._in_cell, self._report, self._depth = in_cell, None, 0

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where a slow package is, with a loader that shows the bar when it is loaded; None: ask the next finder."""
        if name not in SLOW or not self._in_cell or threading.current_thread() is not threading.main_thread():
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def shown(module: ModuleType) -> None:
            del spec.loader.exec_module  # the loader is again as Python made it
            if self._report is None:
                from helpers.app.jobs.cell_bar import progress

                self._report = progress("Loading libraries")
            self._report(None, name)
            self._depth += 1
            try:
                load(module)
            finally:  # who imports it may do without
                self._depth -= 1
                if self._depth == 0:
                    self._report(1.0, name)

        spec.loader.exec_module = shown
        return spec
