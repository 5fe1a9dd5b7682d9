"""The table of records."""

from app_helpers import record

from helpers.app import table


def test_the_table_shows_provenance_and_leaves_out_what_was_not_measured():
    shown = table([record(), record("fine", 2.0, provenance="measured")]).data
    assert "<td>recorded<small>2026-01-02</small></td>" in shown
    assert "<td>measured<small>2026-01-02</small></td>" in shown
    assert "J per 1,000" not in shown
