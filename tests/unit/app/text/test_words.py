"""Sentences and big figures between the charts."""

from app_helpers import record

from helpers import app
from helpers.app import headline, table, verdict
from helpers.app.text.words import check_html


def test_the_headline_gives_three_figures():
    shown = headline([record(), record("fine", 2.0, 0.895, made_in_s=7200.0)]).data
    assert shown.count("class='app-figure'") == 3
    assert "predictions to break even" in shown


def test_what_took_no_extra_work_breaks_even_at_once():
    assert "<b>at once</b>" in headline([record(), record("fine", 2.0, 0.895)]).data


def test_work_that_saves_nothing_never_breaks_even():
    assert "<b>never</b>" in headline([record(), record("slow", 0.5)]).data


def test_markup_in_words_is_shown_not_obeyed():
    shown = verdict("<script>").data + table([record("<img>")]).data + check_html(False, "yes", "<b>", ["<i>"])
    assert "<script>" not in shown
    assert "<img>" not in shown
    assert "&lt;b&gt;" in shown
    assert "<i>" not in shown


def test_figures_are_shown_and_not_obeyed():
    shown = app.tiles([("$1", "<b>a month</b>")]).data
    assert "&lt;b&gt;a month" in shown


def test_a_headline_on_what_learned_nothing_shows_no_saving():
    rare = {"majority": 0.99, "weakest_recall": 0.0, "weakest_class": "yes"}
    shown = headline([record("base", 1.0, 0.99, **rare), record("quick", 9.0, 0.99, **rare)]).data
    assert "cheaper" not in shown
    assert "<b>0%</b><span>of the weakest class found: yes</span>" in shown


def test_the_headline_names_the_data_and_the_machine():
    assert "Recorded on the task made up, 800 test rows, 2026-01-02, on a machine" in headline([record()]).data


def test_a_verdict_on_what_learned_nothing_is_not_given():
    rare = record("base", 1.0, 0.99, majority=0.99, weakest_recall=0.0, weakest_class="yes")
    assert "99% right" not in verdict("It is 99% right.", of=[rare]).data
    assert "It is 99% right." in verdict("It is 99% right.", of=[record()]).data


def test_what_python_writes_with_a_hyphen_is_said_with_a_minus():
    lines = app.verdict("It loses -2.5.").data, app.notes(["-2.5"]).data, app.tiles([("-2.5", "points (-2.5)")]).data
    assert [line.count("\N{MINUS SIGN}2.5") for line in lines] == [1, 1, 2]
