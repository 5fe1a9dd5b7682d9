"""The table of records."""

from app_helpers import record

from helpers.app import table


def test_the_table_shows_provenance_and_leaves_out_what_was_not_measured():
    shown = table([record(), record("fine", 2.0, provenance="measured")]).data
    assert "<td>recorded<small>2026-01-02</small></td>" in shown
    assert "<td>measured<small>2026-01-02</small></td>" in shown
    assert "Wh per 1,000" not in shown


def test_the_table_shows_the_constant_and_the_weakest_class_where_they_are_known():
    known = record("new", 2.0, majority=0.99, macro_f1=0.497, weakest_recall=0.0, weakest_class="yes")
    shown = table([record(), known]).data
    assert "<td>99</td><td>0.50</td><td>0<small>yes</small></td>" in shown
    assert "<td>\N{EN DASH}</td><td>0.90</td><td>\N{EN DASH}</td>" in shown
    assert "Constant<small>" not in table([record()]).data


def test_the_footnote_tells_what_the_encoders_cut_off_and_cannot_read():
    read = {"unknown": 0.6, "rows_cut": 0.25, "tokens_cut": 0.125}
    both = table([record(**read), record("small", 2.0, **read)]).data
    assert "Every model: 25.0% of the rows are longer than its token limit; of all tokens 12.5% are cut off" in both
    assert "base: 25.0% of the rows" in table([record(**read), record("tfidf", 2.0)]).data
    assert "token limit" not in table([record()]).data


def test_energy_is_in_watt_hours_beside_what_ai_energy_score_measured():
    """3.6 J a prediction are 1 Wh for 1,000 of them."""
    told = {"joules_low": 1.8, "joules": 3.6, "joules_high": 7.2}
    shown = table([record(**told, rows_cut=0.0, tokens_cut=0.0, unknown=0.0)]).data
    assert "<td>1.0<small>0.50 to 2.0</small></td>" in shown
    assert "AI Energy Score, text classification, Wh per 1,000 queries on one NVIDIA H100" in shown
    assert "AI Energy Score" not in table([record(**told)]).data  # images


def test_the_footnote_tells_what_was_repeated():
    assert "timed in turns, 5 rounds in each of 3 processes;" in table([record(settings={"rounds": 5, "processes": 3})]
                                                                       ).data
    assert "timed in turns, 7 rounds;" in table([record(settings={"rounds": 7, "processes": 1})]).data
    assert "timed in turns;" in table([record(settings={})]).data
