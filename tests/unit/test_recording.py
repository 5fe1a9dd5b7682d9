"""make record: what is done is skipped, a fault stops it, machines do not mix, and each shipped file has its part."""

import json
from pathlib import Path

import pandas as pd
import pytest

import helpers
from helpers.lab import InputError, write_table
from recording import __main__ as record
from recording import quiet

SHIPPED = Path(helpers.__file__).parent / "facts" / "recorded"


@pytest.fixture
def run(fresh_home, tmp_path, monkeypatch):
    """run(*arguments, **figures): two parts, `trains` and `times`; the names of those that ran."""
    monkeypatch.setattr(quiet, "LOOK_S", 0.01)
    monkeypatch.setattr(quiet, "BUSY", 64)

    def start(*arguments, trains=0.5, times=0.5):
        ran = []

        def part(name, share, is_timing):
            def work():
                ran.append(name)
                write_table(tmp_path / f"1_{name}.json", pd.DataFrame({"name": ["a"], "share": [share]}))
            return record.Part(name, work, (f"1_{name}",), 3, times=is_timing)
        record.main(arguments, (part("trains", trains, False), part("times", times, True)), tmp_path)
        return ran
    return start


def from_another_machine(path: Path) -> None:
    content = json.loads(path.read_text())
    content["machine"]["id"] = "0123456789ab"
    path.write_text(json.dumps(content))


def test_what_is_done_is_skipped_until_it_is_wanted_again(run, capsys):
    assert run() == ["trains", "times"]
    assert run() == []
    assert "Nothing is left to record." in capsys.readouterr().out
    assert run("--again", "times") == ["times"]


def test_a_run_that_was_cut_off_goes_on_and_says_how_long_it_takes(run, capsys):
    with pytest.raises(InputError, match=r"share of 1\.5"):
        run(times=1.5)
    capsys.readouterr()
    assert run("--list") == []
    assert capsys.readouterr().out == "Left, about 3 minutes: times.\n"
    assert run() == ["times"]


def test_a_part_of_another_machine_is_recorded_anew_and_not_mixed_with(run, tmp_path):
    run()
    from_another_machine(tmp_path / "1_trains.json")
    with pytest.raises(InputError, match=r"1_trains.json and 0 other files were recorded on another machine"):
        run("--again", "times")
    assert run() == ["trains"]


def test_the_other_story_may_be_another_machine_s(run, tmp_path):
    run()
    from_another_machine(tmp_path / "1_trains.json")
    parts = [record.Part("trains", list, ("1_trains",), 3),
             record.LanguagePart("speaks", lambda: write_table(tmp_path / "1_speaks.json", pd.DataFrame({"a": [1]})),
                                 ("1_speaks",), 3)]
    record.main(["--language"], parts, tmp_path)
    assert (tmp_path / "1_speaks.json").is_file()


@pytest.mark.parametrize("of_language", [False, True])
def test_each_shipped_story_comes_from_one_machine(of_language):
    parts = [part for part in record.PARTS if part.of_language == of_language]
    assert len({record.machine_of(path)["id"] for part in parts for path in record.files_of(part, SHIPPED)}) == 1


def test_an_accelerator_s_tables_are_nobody_s_part(run, tmp_path):
    run()
    content = json.loads((tmp_path / "1_times.json").read_text())
    content["machine"] |= {"gpu": "NVIDIA H100", "id": "fedcba987654"}
    (tmp_path / "1_times_gpu.json").write_text(json.dumps(content))
    assert run() == []


def test_a_busy_machine_times_nothing(run, monkeypatch):
    monkeypatch.setattr(quiet, "BUSY", -1)
    monkeypatch.setattr(quiet, "PATIENCE_S", 0.02)
    with pytest.raises(InputError, match="Other processes use"):
        run()
    monkeypatch.setattr(quiet, "BUSY", 64)
    assert run() == ["times"]  # what trains was done by then


def test_an_unknown_part_is_a_sentence(run):
    with pytest.raises(InputError, match="Unknown part 'timing'"):
        run("timing")


def test_what_trains_comes_before_what_times_and_all_takes_some_hours():
    """On two cores; two are aimed at. Adapters, models and the rungs of a language model are the largest."""
    order = [part.times for part in record.PARTS]
    assert order == sorted(order)
    assert sum(part.minutes for part in record.PARTS) < 360


def test_each_shipped_file_belongs_to_one_part():
    owners = [path.name for part in record.PARTS for path in record.files_of(part, SHIPPED)]
    here = [path.name for path in SHIPPED.glob("*.json*") if not record.machine_of(path)["gpu"]]
    assert sorted(owners) == sorted(here)
