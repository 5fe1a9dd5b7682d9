"""Work that is killed at any moment keeps what it acknowledged; and the benchmark that says so sees what is lost."""

import sqlite3
import sys

import pytest
import torch

from benchmarks.faults import forked, looked_at, measuring, survived, training, writing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a fork may not compute")
KILLS = {"training": 3, "measuring": 3, "writing": 4}


@pytest.fixture(params=KILLS)
def work(request, tiny_task, narrow_encoder):
    return {"training": lambda: training(tiny_task, narrow_encoder), "measuring": lambda: measuring(tiny_task),
            "writing": writing}[request.param]()


def test_ten_kills_lose_nothing_that_was_told_and_leave_nothing_half_written(work, tmp_path):
    wrong, acknowledged = survived(work, tmp_path / "home", KILLS[work.name])
    assert wrong == []
    assert len(acknowledged) >= 2


def done(work, folder):
    folder.mkdir()
    return forked(lambda acknowledge: work.run(folder, acknowledge), folder, results=1)


def test_a_model_that_is_cut_short_or_gone_is_seen(tiny_task, narrow_encoder, tmp_path):
    work = training(tiny_task, narrow_encoder)
    acknowledged = done(work, tmp_path / "home")
    assert looked_at(work, tmp_path / "home", acknowledged) == []
    [weights] = (tmp_path / "home").rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "damaged or incomplete" in " ".join(looked_at(work, tmp_path / "home", acknowledged))
    weights.parent.rename(tmp_path / "elsewhere")
    assert "is lost" in " ".join(looked_at(work, tmp_path / "home", acknowledged))


def test_a_record_that_is_gone_is_seen(tiny_task, tmp_path):
    work = measuring(tiny_task)
    acknowledged = done(work, tmp_path / "home")
    assert looked_at(work, tmp_path / "home", acknowledged) == []
    with sqlite3.connect(tmp_path / "home" / "ledger.sqlite") as connection:
        connection.execute("DELETE FROM measurements")
    assert looked_at(work, tmp_path / "home", acknowledged[:1]) == [f"the record {acknowledged[0]} is lost"]


def test_a_file_that_is_cut_short_and_a_decision_that_is_gone_are_seen(tmp_path):
    work, home = writing(), tmp_path / "home"
    acknowledged = done(work, home)
    assert looked_at(work, home, acknowledged) == []
    log = (home / "log.jsonl").read_text()
    (home / "log.jsonl").write_text("".join(log.splitlines(keepends=True)[:int(acknowledged[-1])]))
    assert "decisions, and" in " ".join(looked_at(work, home, acknowledged))
    (home / "log.jsonl").write_text(log)
    (home / "file.json").write_text((home / "file.json").read_text()[:1000])
    assert "JSONDecodeError" in " ".join(looked_at(work, home, acknowledged))


def test_a_process_that_fails_by_itself_is_no_survivor(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="ended with an error"):
        forked(lambda acknowledge: 1 / 0, tmp_path)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_fork_computes_though_its_parent_has_computed_on_several_threads(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.ones(500_000).exp()
        assert forked(lambda acknowledge: acknowledge(str(torch.ones(500_000).sum().item())), tmp_path) == ["500000.0"]
    finally:
        torch.set_num_threads(before)
