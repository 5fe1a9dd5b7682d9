"""Sentences and tables follow from the records, whichever way they went."""

import pytest
from test_app_records import record

from helpers.app import check, guess, headline, table, verdict
from helpers.app.panels.findings import best, finding, short_finding
from helpers.app.text.figures import change, cheaper, count, interval, seconds, two
from helpers.app.text.problems import guarded, sentence
from helpers.lab.errors import InputError

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (0.0123, "0.012"), (0.996, "1.0"), (9.96, "10"), (123.4, "120"), (45678, "46,000"),
    (-0.3, f"{MINUS}0.30"), (None, "\N{EN DASH}"), (float("nan"), "\N{EN DASH}")])
def test_two_significant_digits(value, text):
    assert two(value) == text


def test_large_numbers_and_times_are_words():
    assert (count(1_234_567), count(950), seconds(7.2), seconds(100)) == ("1.2 million", "950", "8 s", "2 min")


def test_an_interval_without_width_is_left_out():
    assert interval(1.0, 1.0) == ""


def test_a_slower_candidate_is_dearer():
    slow = record("slow", 0.5)
    assert cheaper(slow) == "2.0 times (1.6 to 2.5) dearer"
    assert change(slow).startswith("as often right")


def test_the_best_is_the_cheapest_that_surely_holds_both_promises():
    records = [record(), record("fine", 2.0, 0.895), record("lossy", 9.0, 0.7), record("unsure", 1.1, 0.9)]
    assert best(records).model == "fine"
    assert finding(records).startswith("fine is 2.0 times (1.6 to 2.5) cheaper than base and loses 0.50 points")
    assert short_finding(records) == "fine costs 2.0x less and loses 0.50 points"


@pytest.mark.parametrize(("records", "said"), [
    ([], "Nothing has been measured"),
    ([record()], "only the reference"),
    ([record(), record("slow", 0.5)], "None of these is surely cheaper"),
    ([record(), record("lossy", 3.0, 0.5)], "no candidate is surely cheaper and surely within")])
def test_losing_cases_are_said_plainly(records, said):
    assert said in finding(records)


def test_the_headline_gives_three_figures():
    shown = headline([record(), record("fine", 2.0, 0.895, made_in_s=7200.0)]).data
    assert shown.count("class='app-figure'") == 3
    assert "predictions until its making is repaid" in shown


def test_what_took_no_extra_work_is_repaid_at_once():
    assert "<b>at once</b>" in headline([record(), record("fine", 2.0, 0.895)]).data


def test_work_that_saves_nothing_is_never_repaid():
    assert "<b>never</b>" in headline([record(), record("slow", 0.5)]).data


def test_markup_in_words_is_shown_not_obeyed():
    shown = verdict("<script>").data + table([record("<img>")]).data + check(False, "yes", "<b>").data
    assert "<script>" not in shown
    assert "<img>" not in shown
    assert "&lt;b&gt;" in shown


def test_the_table_shows_provenance_and_leaves_out_what_was_not_measured():
    shown = table([record(), record("fine", 2.0, provenance="measured")]).data
    assert "<td>recorded<small>2026-01-02</small></td>" in shown
    assert "<td>measured<small>2026-01-02</small></td>" in shown
    assert "J per 1,000" not in shown


def test_a_guess_follows_its_slider(capsys):
    asked = guess("speed-up", low=0.5, high=4)
    asked.slider.value = 3.0
    assert asked.value == 3.0
    with pytest.raises(InputError, match="low < high"):
        guess("speed-up", low=4, high=1)


def test_an_unexpected_error_is_a_sentence_with_an_id_in_the_log(tmp_path, monkeypatch):
    from helpers.app.text import problems

    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    problems.logger.cache_clear()
    told = []
    guarded(told.append)(lambda: 1 / 0)()
    number = told[0].rstrip(".").split()[-1]
    log = (tmp_path / "logs" / "app.log").read_text()
    assert number in log
    assert "ZeroDivisionError" in log
    assert "ZeroDivisionError" not in told[0]
    assert sentence(InputError("Plain.")) == "Plain."
    problems.logger().handlers.clear()
    problems.logger.cache_clear()
