"""The command line: the library's figures, and an exit status that a pipeline can act on."""

import functools
import json

import pytest

from helpers import __main__ as command
from helpers import app, lab
from helpers.app.export.bill_report import as_json
from helpers.lab.money.scenario import Scenario
from helpers.lab.training import baselines

TOML = 'volume = 9e8\ntraffic_hours = 6\noffer = "AWS m7i.large"\n'
WORDS = {"cat": "animals", "hammer": "tools", "rain": "weather"}
ASKED = Scenario(volume=9e8, traffic_hours=6, offer="AWS m7i.large")


@pytest.mark.parametrize(("budget", "status"), [("", 0), ("max_usd = 1e6", 0), ("max_usd = 1", 1),
                                                ("min_accuracy = 99.9", 1), ("deadline_ms = 1", 1)])
def test_the_bill_has_the_librarys_figures_and_a_broken_budget_fails(tmp_path, capsys, budget, status):
    (tmp_path / "scenario.toml").write_text(TOML + budget)
    out = tmp_path / "out.json"
    assert command.main(["bill", str(tmp_path / "scenario.toml"), "--json", str(out)]) == status
    written = json.loads(out.read_text())
    assert bool(written["broken"]) == bool(status)
    if not budget:
        wanted = json.loads(as_json(app.monthly_bill(ASKED)))
        assert {**written, "written": ""} == {**wanted, "written": ""}
        assert wanted["headline"] in capsys.readouterr().out


def test_two_bills_stand_side_by_side_and_the_budget_is_that_of_then(tmp_path, capsys):
    (tmp_path / "then.toml").write_text(TOML)
    (tmp_path / "today.toml").write_text("max_usd = 1")
    out = tmp_path / "out.json"
    assert command.main(["bill", str(tmp_path / "then.toml"), "--beside", str(tmp_path / "today.toml"),
                         "--json", str(out)]) == 0
    both = app.two_bills(Scenario(max_usd=1), ASKED)
    assert both.headline in capsys.readouterr().out
    assert json.loads(out.read_text())["rows"][0]["change"]["value"] == both.rows[0].change.value


@pytest.mark.parametrize(("text", "said"), [
    ("volume = 2e9", "Requests (volume) goes from 1 to 1,000,000,000 a month, not 2,000,000,000."),
    ("volume = 1" + "0" * 400, "Requests (volume) is a number"), ("volume = 1" + "0" * 5000, "no TOML file"),
    ("volume = " + "[" * 5000, "no TOML file")], ids=["too much", "beyond a float", "too long", "nested"])
def test_what_is_wrong_is_one_sentence_and_another_status_than_a_broken_budget(tmp_path, capsys, text, said):
    (tmp_path / "scenario.toml").write_text(text)
    assert command.main(["bill", str(tmp_path / "scenario.toml")]) == 2
    assert said in capsys.readouterr().err


ROWS = [{"accuracy_low": 0.9, "p95_ms": 20.0, "usd_per_million": 0.5}, {"accuracy_low": 0.8, "p95_ms": 5.0,
                                                                       "usd_per_million": None}]


@pytest.mark.parametrize(("budgets", "kept"), [
    ({}, True), ({"min_accuracy": 0.9}, True), ({"min_accuracy": 0.91}, False), ({"max_p95_ms": 5.0}, True),
    ({"max_p95_ms": 4.9}, False), ({"min_accuracy": 0.85, "max_p95_ms": 10.0}, False),
    ({"max_p95_ms": 10.0, "max_usd_per_million": 1.0}, False)])
def test_one_row_has_to_keep_all_budgets(budgets, kept):
    assert bool(command.broken_budgets(ROWS, budgets)) != kept


@pytest.fixture
def rows_file(tmp_path):
    """A reader's file, 120 rows of three labels, one of them wrong."""
    path = tmp_path / "tiny.csv"
    rows = [f"the {word} was seen {number} times,{label}" for number in range(40) for word, label in WORDS.items()]
    rows[60] = f"{rows[60].rpartition(',')[0]},{'tools' if rows[60].endswith('animals') else 'animals'}"
    path.write_text("\n".join(["message,intent", *rows]))
    return path


def test_a_run_writes_its_rows_and_fails_where_a_budget_is_broken(tmp_path, rows_file, monkeypatch, capsys):
    monkeypatch.setitem(command.STRATEGIES, "optimization", lambda task: [
        {"model": task.name, "accuracy_low": 0.8, "p95_ms": 5.0}])
    out = tmp_path / "out.json"
    arguments = ["run", "optimization", "--task", str(rows_file), "--text", "message", "--label", "intent", "--json",
                 str(out)]
    assert command.main(arguments) == 0
    assert command.main([*arguments, "--min-accuracy", "0.9"]) == 1
    written = json.loads(out.read_text())
    assert written["rows"] == [{"model": "tiny", "accuracy_low": 0.8, "p95_ms": 5.0}]
    assert written["settings"]["broken"] == ["No row keeps all budgets: accuracy_low at least 0.9."]
    assert "accuracy_low" in capsys.readouterr().out
    for budget, said in ((("--max-usd-month", "5"), "no column usd_month"),
                         (("--min-accuracy", "85"), "a share from 0 to 1, not 85: write 0.85")):
        assert command.main([*arguments, *budget]) == 2
        assert said in capsys.readouterr().err


def test_a_strategy_that_there_is_not_is_answered_with_those_there_are(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["run", "magic"])
    assert ended.value.code == 2
    assert "optimization" in capsys.readouterr().err


def test_what_finds_nothing_says_so(tmp_path, rows_file, monkeypatch, capsys):
    monkeypatch.setitem(command.STRATEGIES, "data", lambda task: [])
    out = tmp_path / "out.json"
    assert command.main(["run", "data", "--task", str(rows_file), "--text", "message", "--label", "intent", "--json",
                         str(out)]) == 0
    assert json.loads(out.read_text())["rows"] == []
    assert "nothing to list" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["architectures", "codesign", "data", "cloud", "optimization"])
def test_each_strategy_runs_on_a_file(tmp_path, rows_file, strategy, monkeypatch):
    monkeypatch.setattr(lab, "compare", functools.partial(lab.compare, rounds=2, energy=False, memory=False))  # seconds
    monkeypatch.setattr(baselines, "TRAINING_ROWS", 1)  # one epoch
    out = tmp_path / "out.json"
    assert command.main(["run", strategy, "--task", str(rows_file), "--text", "message", "--label", "intent", "--json",
                         str(out)]) == 0
    assert json.loads(out.read_text())["rows"]
