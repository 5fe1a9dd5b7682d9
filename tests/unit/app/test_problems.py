"""Errors as sentences."""

from helpers.app.problems import guarded, sentence
from helpers.lab.errors import InputError


def test_an_unexpected_error_is_a_sentence_with_an_id_in_the_log(tmp_path, monkeypatch):
    from helpers.app import problems

    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    problems.logger.cache_clear()
    reports = []
    guarded(reports.append)(lambda: 1 / 0)()
    number = reports[0].rstrip(".").split()[-1]
    log = (tmp_path / "logs" / "app.log").read_text()
    assert number in log
    assert "ZeroDivisionError" in log
    assert "ZeroDivisionError" not in reports[0]
    assert sentence(InputError("Plain.")) == "Plain."
    problems.logger().handlers.clear()
    problems.logger.cache_clear()


def test_where_no_log_can_be_written_the_servers_own_has_the_trace(tmp_path, monkeypatch, capsys):
    from helpers.app import problems

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "file"))
    problems.logger.cache_clear()
    reports = []
    guarded(reports.append)(lambda: 1 / 0)()
    assert "not your fault" in reports[0]
    assert "ZeroDivisionError" in capsys.readouterr().err
    problems.logger().handlers.clear()
    problems.logger.cache_clear()
