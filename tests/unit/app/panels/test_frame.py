"""The parts that all panels share."""

import threading

import ipywidgets as widgets
from app_helpers import wait_until

from helpers.app.jobs.job import Job
from helpers.app.panels.frame import Download, JobButtons, PanelFrame, Status, beside


def test_markup_in_the_status_line_is_shown_and_not_obeyed():
    status = Status()
    status.fail("no column <b>label</b>")
    assert "&lt;b&gt;label" in status.value
    assert "error" in status.value
    status.say("fine")
    assert "error" not in status.value


def test_a_panel_brings_its_style_sheet_and_names_its_sliders():
    panel = PanelFrame([beside(widgets.IntSlider(), widgets.HTML())])
    assert [type(part).__name__ for part in panel.children] == ["Box", "Names", "Liveness"]


def test_a_job_that_is_refused_is_a_sentence_and_leaves_its_button():
    def slow(report):
        import time

        report(0.1, "counting")
        time.sleep(60)

    first, second = Status(), Status()
    busy = JobButtons(Job(slow), "Measure", dict, first)
    other = JobButtons(Job(slow), "Measure", dict, second)
    busy.run.click()
    wait_until(lambda: "10%: counting" in first.value)
    other.run.click()
    assert "already running" in second.value
    assert (busy.run.disabled, busy.cancel.disabled, other.run.disabled) == (True, False, False)
    busy.cancel.click()
    wait_until(lambda: "Cancelled" in first.value)
    assert (busy.run.disabled, busy.cancel.disabled) == (False, True)


def test_a_file_that_is_being_made_is_not_made_again():
    """A thousand messages would be a thousand threads."""
    go_on, made = threading.Event(), []

    def make() -> str:
        made.append(1)
        assert go_on.wait(20)
        return "text"

    download = Download({"report": ("a.html", "text/html", make)}, print)
    for odd in ({"make": "report"},) * 1000 + ({"make": "other"}, {"make": ["report"]}, {"make": {}}, {}):
        download._handle_custom_msg(odd, [])
    wait_until(lambda: made)
    assert len(made) == 1
    go_on.set()
    wait_until(lambda: not download._making)
    download._handle_custom_msg({"make": "report"}, [])
    wait_until(lambda: len(made) == 2)
