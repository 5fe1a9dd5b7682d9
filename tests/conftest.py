"""Which tests a worker of pytest-xdist gets and when, and what all workers of a run share."""

import functools
import gc
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# What a process prepares for half a minute -> how a file of tests says that it needs it.
HEAVY = {"language models": re.compile("from (small_llama|tiny_gguf) import"),
         "docstrings": re.compile(r"load_task\(.docstrings.\)|import harvest")}


@functools.cache
def group_of(file: Path) -> str:
    """What goes to one worker: all files that need the same heavy thing, or else a file."""
    source = file.read_text(encoding="utf-8")
    return next((name for name, needs in HEAVY.items() if needs.search(source)), str(file))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The groups with most slow tests begin first, then those with most tests: no worker is left alone at the end."""
    tests, slow = Counter(), Counter()
    for item in items:
        tests[group_of(item.path)] += 1
        slow[group_of(item.path)] += item.get_closest_marker("slow") is not None
    items.sort(key=lambda item: (-slow[group_of(item.path)], -tests[group_of(item.path)], group_of(item.path)))


def pytest_collection_finish() -> None:
    """What the imports of a whole collection made stays: the garbage collector need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """--dist loadfile by groups instead of files, in the order of the collection."""
    from xdist.scheduler import LoadFileScheduling

    class ByGroup(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(config.rootpath / super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return ByGroup(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this run share."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent
