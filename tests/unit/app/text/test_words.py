"""Sentences and big figures between the charts."""

from app_helpers import record

from helpers import app
from helpers.app import check, headline, table, verdict


def test_the_headline_gives_three_figures():
    shown = headline([record(), record("fine", 2.0, 0.895, made_in_s=7200.0)]).data
    assert shown.count("class='app-figure'") == 3
    assert "predictions to break even" in shown


def test_what_took_no_extra_work_breaks_even_at_once():
    assert "<b>at once</b>" in headline([record(), record("fine", 2.0, 0.895)]).data


def test_work_that_saves_nothing_never_breaks_even():
    assert "<b>never</b>" in headline([record(), record("slow", 0.5)]).data


def test_markup_in_words_is_shown_not_obeyed():
    shown = verdict("<script>").data + table([record("<img>")]).data + check(False, "yes", "<b>").data
    assert "<script>" not in shown
    assert "<img>" not in shown
    assert "&lt;b&gt;" in shown


def test_figures_are_shown_and_not_obeyed():
    shown = app.tiles([("$1", "<b>a month</b>")]).data
    assert "&lt;b&gt;a month" in shown
