"""The examples in docstrings run, and give what they say."""

import contextlib
import doctest
import importlib
import io
from pathlib import Path

import pytest

import helpers

HELPERS = Path(helpers.__file__).parent
MODULES = sorted(".".join(("helpers", *path.relative_to(HELPERS).with_suffix("").parts)).removesuffix(".__init__")
                 for path in HELPERS.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_give_what_they_say(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write a file
    actual = io.StringIO()
    with contextlib.redirect_stdout(actual):
        result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0, actual.getvalue()


def test_there_are_examples():
    assert len(MODULES) > 100
