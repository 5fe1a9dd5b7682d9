"""What has to be installed: the closure of hand-made packages, their bytes, and sentences that fall as they do."""

from importlib.metadata import Distribution, PackageNotFoundError

import pandas as pd
import pytest

from helpers.hardware_codesign import compare_installed, import_seconds, installed_verdict
from helpers.hardware_codesign.runtimes.installed import required_packages
from helpers.lab.errors import InputError

REQUIRES = {
    "app": ["Left_Pad>=1", "speed[fast]", "elsewhere; sys_platform == 'no-such-system'", "docs; extra == 'docs'"],
    "left-pad": ["app"],  # a circle
    "speed": ["base", "engine; extra == 'fast'", "slow; extra == 'slow'"],
    "base": [], "engine": ["base"], "lonely": [], "broken": ["not-there"],
}
SIZES = {"app": 5, "left-pad": 7, "speed": 11, "base": 13, "engine": 17, "lonely": 100, "broken": 1}


@pytest.fixture
def find(tmp_path):
    """Distributions on disk, as an installer leaves them: metadata, and a record of the files."""
    def found(name):
        if name not in REQUIRES:
            raise PackageNotFoundError(name)
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        lines = [f"Name: {name}", "Version: 1.0", *(f"Requires-Dist: {line}" for line in REQUIRES[name])]
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (tmp_path / f"{name}.py").write_bytes(b"x" * SIZES[name])
        (tmp_path / f"{name}.pyc").write_bytes(b"x" * 1000)
        (folder / "RECORD").write_text(f"{name}.py,,\n{name}.pyc,,\ngone.py,,\n", encoding="utf-8")
        return Distribution.at(folder)
    return found


def test_all_that_is_required_here_is_found_once(find):
    assert set(required_packages(["App"], find)) == {"app", "left-pad", "speed", "base", "engine"}
    assert set(required_packages(["speed"], find)) == {"speed", "base"}  # no extra was asked for
    assert set(required_packages(["speed", "speed[fast]"], find)) == {"speed", "base", "engine"}


def test_what_is_missing_is_named(find):
    with pytest.raises(InputError, match="'not-there' is not installed"):
        required_packages(["broken"], find)


def test_bytes_are_those_of_the_recorded_files(find):
    frame = compare_installed({"whole": (["app"], ["app", "lonely"]), "less": (["engine"], ["engine"])}, find)
    assert frame["packages"].tolist() == [5, 2]
    assert (frame["megabytes"] * 1e6).round().tolist() == [5 + 7 + 11 + 13 + 17, 17 + 13]
    assert (frame["make_megabytes"] * 1e6).round().tolist() == [153, 30]


def table(*rows):
    return pd.DataFrame(rows, columns=["stack", "packages", "megabytes", "make_packages", "make_megabytes"])


@pytest.mark.parametrize(("rows", "words"), [
    ([("A", 20, 900.0, 20, 900.0), ("B", 8, 90.0, 25, 990.0)],
     "B serves with 90 MB and 8 packages, A with 900 MB and 20: 10.0 times less on disk, fewer packages. Making it is "
     "not simpler: 5 packages and 90 MB more than training alone."),
    ([("A", 20, 900.0, 20, 900.0), ("B", 21, 90.0, 20, 900.0)], "no fewer packages. Making it needs no more packages"),
    ([("A", 20, 90.0, 20, 90.0), ("B", 8, 900.0, 25, 990.0)], "Nothing is simpler than A: 20 packages, 90 MB on")])
def test_the_verdict_falls_as_the_table_does(rows, words):
    assert words in installed_verdict(table(*rows))


def test_a_module_that_cannot_be_imported_is_named_and_another_takes_time():
    assert 0 < import_seconds(["json"]) < 60
    with pytest.raises(InputError, match="no_such_module cannot be imported"):
        import_seconds(["no_such_module"])
