"""make bench: goes on where it was cut off, writes what it measured and nothing else, and its page says what it did."""

import dataclasses
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import results
from benchmarks.cloud_distributed import panel_rows
from benchmarks.common import Budget, at_least, shown
from benchmarks.results import Result, as_page, read_results, store
from helpers.lab import InputError, fingerprint
from recording import quiet

FAST = at_least("twice as fast | or more", 2.1, 2.0, "x", low=1.9, high=2.3)
RIGHT = at_least("right", 0.9, 0.8, "", low=0.85, high=0.95)
PARTS = (bench.Part("one"), bench.Part("two", ("a", "b")), bench.Part("soaked", if_named=True))


def result(**changes) -> Result:
    return dataclasses.replace(Result("python -m benchmarks.one", 90, "2026-11-01", "0123456789ab", fingerprint(),
                                      [Budget("ours", "default", 4096)], [FAST, RIGHT, shown("rows", None, "")]),
                               **changes)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(*arguments, fails=()): the names of the parts that ran, and the exit status."""
    monkeypatch.setattr(quiet, "BUSY", 64)
    monkeypatch.setattr(quiet, "LOOK_S", 0.01)

    def start(*arguments, fails=()):
        ran = []

        def measured(part):
            ran.append(part.name)
            return None if part.name in fails else result(code=bench.code_version())
        monkeypatch.setattr(bench, "measured", measured)
        return ran, bench.main(arguments, PARTS, tmp_path)
    return start


def test_the_page_says_what_was_stored():
    assert (results.FOLDER / "README.md").read_text(encoding="utf-8") == as_page(
        read_results(), [part.name for part in bench.PARTS])


def test_every_benchmark_has_its_part():
    modules = {path.stem for path in results.FOLDER.glob("*.py")} - {"__init__", "__main__", "common", "results"}
    assert {part.module for part in bench.PARTS} == modules
    for module in modules:
        offered = getattr(__import__(f"benchmarks.{module}", fromlist=["PARTS"]), "PARTS", ())
        named = [name for part in bench.PARTS if part.module == module for name in part.only]
        assert len(named) == len(set(named))
        assert set(offered) - set(named) <= {"trace"}, "needs a file"
        assert set(named) <= set(offered)


def test_a_result_survives_the_file(tmp_path):
    store("two", result(), ["one", "two"], tmp_path)
    store("one", result(seconds=5), ["one", "two"], tmp_path)
    assert list(read_results(tmp_path).items()) == [("one", result(seconds=5)), ("two", result())]
    store("one", result(), ["one"], tmp_path)
    assert list(read_results(tmp_path)) == ["one"]  # there is no part 'two' any more


def test_the_page_names_what_falls_short_and_what_was_not_run():
    page = as_page({"one": result()}, ["one", "two"])
    assert "Of 2 figures with a target, 1 hold and 1 fall short:" in page
    assert "- one: twice as fast \\| or more: 2.1 (1.9 to 2.3) x, target >= 2" in page
    assert "Not run yet: two." in page
    assert "`python -m benchmarks.one`, 2026-11-01, 2 min, code 0123456789ab, on " in page
    assert "| twice as fast \\| or more | 2.1 (1.9 to 2.3) x | >= 2 | FALLS SHORT |" in page
    assert "| ours | 4,096 | 0 | none | default |" in page


def test_what_is_done_is_skipped_until_it_is_wanted_again(run):
    assert run() == (["one", "two: a, b"], 0)
    assert run() == ([], 0)
    assert run("--again", "two") == (["two: a, b"], 0)
    assert run("soaked") == (["soaked"], 0)


def test_a_part_that_gave_no_result_is_left_and_said(run, capsys):
    assert run(fails=("one",)) == (["one", "two: a, b"], 1)
    assert "No result of: one." in capsys.readouterr().err
    assert run("--list") == ([], 0)
    assert capsys.readouterr().out == "Left: one.\n"
    assert run() == (["one"], 0)
    run("--again", "--list")
    assert "2 of them took 3 minutes last time." in capsys.readouterr().out


def test_another_machine_s_result_is_measured_anew_and_other_code_s_is_said(run, tmp_path, capsys):
    run()
    path = tmp_path / "results.json"
    stored = json.loads(path.read_text())
    stored["one"]["machine"]["id"] = stored["two: a, b"]["code"] = "fedcba987654"
    path.write_text(json.dumps(stored))
    assert run() == (["one"], 0)
    assert "two: a, b is done, by other code (fedcba987654)" in capsys.readouterr().out


def test_an_unknown_part_is_a_sentence(run):
    with pytest.raises(InputError, match=r"Unknown part 'three'\. Choose some of: one; two: a, b; soaked\."):
        run("three")


def test_a_part_runs_in_its_own_process_and_leaves_its_rows():
    one = bench.measured(bench.Part("language_serving", ("conserved",)))
    assert one.command == "python -m benchmarks.language_serving --only conserved"
    assert all(row.holds for row in one.rows)
    assert one.machine["id"] == fingerprint()["id"]
    assert bench.measured(bench.Part("language_serving", ("no such part",))) is None


def test_a_look_writes_nothing(tmp_path):
    assert bench.main(["--quick"], (bench.Part("cloud_distributed", ("fcfs",)),), tmp_path) == 0
    assert not list(Path(tmp_path).iterdir())


def test_the_panel_s_benchmark_runs_the_notebook_s_own_cells():
    assert [row.name for row in panel_rows(quick=True) if row.value > 0] == [
        f"notebook 5's panel, {length}: p95 of {settings} settings" for length, settings in (("an hour", 12),
                                                                                            ("a day", 4))]
