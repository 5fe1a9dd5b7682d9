"""The panel of measurements without a browser: recorded results first, then fresh ones."""

import math

import ipywidgets as widgets
from app_helpers import record

from helpers.app import Panel


def test_a_panel_shows_recorded_results_until_fresh_ones_arrive():
    def compute(report, speedup):
        report(0.5, "measuring")
        report.partial(record("fast", speedup, provenance="measured"))
        return [record(provenance="measured"), record("fast", speedup, provenance="measured")]

    panel = Panel(compute, {"speedup": widgets.FloatSlider(3.0, min=1, max=9)}, [record(), record("fast", 2.0)])
    chart = panel._right.children[0]
    assert "fast is 2.0 times" in panel._top.value
    panel._buttons.run.click()
    assert panel.job.wait(20)
    assert [r.provenance for r in panel.records] == ["measured"] * 2
    assert "fast is 3.0 times" in panel._top.value
    assert panel._right.children[0] is chart
    assert (panel._buttons.run.disabled, panel._buttons.cancel.disabled) == (False, True)


def test_a_panel_with_nothing_recorded_says_so():
    panel = Panel(lambda report: [], {}, [])
    assert "Nothing has been recorded" in panel._top.value
    assert panel._right.children == ()


def test_a_computation_without_records_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    panel = Panel(lambda report: math.pi, {}, [record()])
    panel._buttons.run.click()
    assert panel.job.wait(20)
    assert "returned no records" in panel._status.value


def test_results_that_could_not_be_stored_are_shown_and_the_reader_is_told():
    def compute(report):
        import warnings

        from helpers.lab.errors import NotStored

        warnings.warn("The ledger cannot be written.", NotStored, stacklevel=1)
        return [record(provenance="measured"), record("fast", 3.0, provenance="measured")]

    panel = Panel(compute, {}, [record(), record("fast", 2.0)])
    panel._buttons.run.click()
    panel._buttons.run.click()  # a double-click
    assert "already running" not in panel._status.value
    assert panel.job.wait(20)
    assert "fast is 3.0 times" in panel._top.value
    assert "Measured on this machine just now. The ledger cannot be written." in panel._status.value


def test_a_panels_verdict_is_told_once_something_fresh_is_there():
    panel = Panel(lambda report: record("fast", 3.0, provenance="measured"), {}, [record(), record("fast", 2.0)])
    assert panel._top.layout.display == "none"
    panel._buttons.run.click()
    assert panel.job.wait(20)
    assert panel._top.layout.display is None
    assert Panel(lambda report: [], {}, [])._top.layout.display is None


def test_results_on_other_data_take_the_place_of_what_was_recorded():
    def compute(report):
        return [record(provenance="measured", task="mine"),
                record("fast", 1.5, provenance="measured", task="mine")]

    panel = Panel(compute, {}, [record(), record("fast", 2.0), record("recorded best", 9.0)])
    panel._buttons.run.click()
    assert panel.job.wait(20)
    assert [(r.model, r.task) for r in panel.records] == [("base", "mine"), ("fast", "mine")]
    assert "What was recorded on made up is no longer shown" in panel._status.value


def test_a_verdict_after_measuring_rests_on_this_machine_alone():
    def compute(report):
        return [record(provenance="measured"), record("fast", 1.5, provenance="measured")]

    panel = Panel(compute, {}, [record(), record("recorded best", 9.0)])
    panel._buttons.run.click()
    assert panel.job.wait(20)
    assert "fast is 1.5 times" in panel._top.value
    assert "recorded best" in panel._table.value
    assert "Recorded on the task made up" in panel._top.value
