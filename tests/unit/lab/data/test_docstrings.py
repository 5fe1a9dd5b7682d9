"""Docstrings are parsed, masked, labelled by domain and split by file."""

import subprocess
import sys

import pandas as pd
import pytest

from helpers.lab import InputError, load_task
from helpers.lab.data import docstrings
from helpers.lab.data.docstrings import harvest

MODULE = '''"""About {name}, number {number}: numpy and scikit-learn are named here, to have something to mask."""
from pathlib import Path
Path(__file__).with_suffix(".ran").write_text("imported")
{functions}
'''

FUNCTION = '''
def f{n}():
    """{name} {number} {n}: a docstring that is long enough to be taken, since it goes on for a good while."""
'''


@pytest.fixture
def packages(tmp_path, monkeypatch, fresh_home):
    """Two packages of 12 files with 21 docstrings each, and a third that is too small."""
    for name, files in (("cats", 12), ("dogs", 12), ("fleas", 2)):
        (tmp_path / name / "inner").mkdir(parents=True)
        for number in range(files):
            functions = "".join(FUNCTION.format(name=name, number=number, n=n) for n in range(20))
            (tmp_path / name / "inner" / f"m{number}.py").write_text(
                MODULE.format(name=name, number=number, functions=functions))
        (tmp_path / name / "broken.py").write_text("def template({{ name }}): '''not Python''' (")
    monkeypatch.setattr(docstrings, "DOMAINS", {"feline": ("cats", "missing"), "canine": ("dogs",), "tiny": ("fleas",)})
    monkeypatch.setattr(docstrings, "_folder", lambda name: tmp_path / name if (tmp_path / name).exists() else None)
    return tmp_path


def test_docstrings_are_labelled_by_the_domain_of_their_package(packages):
    rows = harvest()
    assert set(rows["label"]) == {"feline", "canine"}
    assert (rows.loc[rows["label"] == "feline", "text"].str.contains("cats")).all()
    assert len(rows) == 2 * 12 * 20  # at most 20 of each file


def test_sources_are_parsed_and_never_run(packages):
    harvest()
    assert list(packages.rglob("*.ran")) == []


def test_names_of_packages_are_masked(packages):
    text = harvest().query("text.str.startswith('About')")["text"].iloc[0]
    assert "PACKAGE and PACKAGE are named here" in text


def test_the_rows_of_a_file_stay_in_one_split(packages):
    rows = harvest()
    assert (rows.groupby("file")["split"].nunique() == 1).all()
    assert set(rows["split"]) >= {"train", "test"}


def test_a_new_file_moves_no_old_row_to_another_split(packages, monkeypatch):
    before = harvest().set_index("text")["split"]
    (packages / "cats" / "new.py").write_text(MODULE.format(name="cats", number=99, functions=""))
    monkeypatch.setattr(docstrings, "cache", lambda name: packages / f"second-{name}")
    after = harvest().set_index("text")["split"]
    assert len(after) == len(before) + 1
    pd.testing.assert_series_equal(after.loc[before.index], before)


def test_a_second_harvest_comes_from_the_cache(packages, monkeypatch):
    before = harvest()
    monkeypatch.setattr(docstrings, "_docstrings", lambda path: pytest.fail("harvested again"))
    pd.testing.assert_frame_equal(harvest(), before.reset_index(drop=True), check_index_type=False)


def test_a_damaged_cache_of_docstrings_is_quarantined_and_harvested_again(packages, fresh_home):
    before = harvest()
    [stored] = fresh_home.rglob("*.parquet")
    stored.write_bytes(b"half a file")
    with pytest.warns(UserWarning, match=r"quarantined as .*damaged-1; it is made again"):
        again = harvest()
    pd.testing.assert_frame_equal(again, before)
    assert stored.with_name(f"{stored.name}.damaged-1").read_bytes() == b"half a file"


def test_too_few_installed_sources_are_said(packages, monkeypatch):
    monkeypatch.setattr(docstrings, "DOMAINS", {"feline": ("cats",), "tiny": ("fleas",)})
    with pytest.raises(InputError, match="Too few of the packages"):
        harvest()


@pytest.mark.slow
def test_the_installed_packages_give_over_10000_docstrings_in_10_domains():
    task = load_task("docstrings")
    assert sum(len(split) for split in (task.train, task.validation, task.test)) > 10_000
    assert len(task.labels) == 10


def test_harvesting_imports_none_of_the_packages():
    code = ("import sys; from helpers.lab.data import docstrings; docstrings._installed_digest()\n"
            "print([name for name in ('sympy', 'sklearn', 'torch', 'openvino', 'IPython') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
