"""Which tests a worker of pytest-xdist gets and when, and what all workers of a run share."""

import functools
import gc
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# What a process prepares for half a minute -> how a file of tests says that it needs it.
HEAVY = {"language models": re.compile("from (small_llama|tiny_gguf) import"),
         "docstrings": re.compile(r"load_task\(.docstrings.\)|import harvest"),
         "a tagger": re.compile("things_tagger"), "adapters": re.compile(r"def test_\w+\((\w+, )*tuned\b")}
APART = {"test_notebooks.py"}  # files whose tests take minutes each and share nothing


@functools.cache
def needed_by(file: Path) -> str:
    """The heavy thing that a file of tests needs, or else the file."""
    source = file.read_text(encoding="utf-8")
    return next((name for name, needs in HEAVY.items() if needs.search(source)), str(file))


def group_of(nodeid: str, root: Path) -> str:
    """What goes to one worker: all files that need the same heavy thing, a file, or a test."""
    file = root / nodeid.partition("::")[0]
    return nodeid if file.name in APART else needed_by(file)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest groups begin first, so that no worker is left alone at the end.

    Those are the ones that may take longest, then those with most slow tests, then those with most tests.
    """
    limit, slow, tests = Counter(), Counter(), Counter()
    groups = {item: group_of(item.nodeid, config.rootpath) for item in items}
    for item, group in groups.items():
        marked = item.get_closest_marker("timeout")
        limit[group] = max(limit[group], marked.args[0] if marked else 0)
        slow[group] += item.get_closest_marker("slow") is not None
        tests[group] += 1
    items.sort(key=lambda item: [(-limit[group], -slow[group], -tests[group], group) for group in [groups[item]]])


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
            return group_of(nodeid, config.rootpath)

    config.option.loadscopereorder = False
    return ByGroup(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def make_home(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[], Path]:
    """make_home() -> an empty HELPERS_HOME, but for the cache: what was computed once is there for the whole run."""
    cache = tmp_path_factory.getbasetemp() / "cache"
    if worker_id != "master":
        cache = cache.parents[1] / "cache"  # of all workers
    cache.mkdir(exist_ok=True)

    def made() -> Path:
        home = tmp_path_factory.mktemp("home")
        (home / "cache").symlink_to(cache)
        return home

    return made
