"""The review and labelling panels without a browser: decisions are saved, taken back, and change what is shown."""

import time

import ipywidgets
import numpy as np
import pandas as pd
import pytest
from app_helpers import wait_until

from helpers.app.panels import labelling
from helpers.app.panels.labelling import LabelPanel, ReviewPanel
from helpers.data_efficiency import Review
from helpers.lab.paths import SESSION

TEXTS = ["where is it", "<b>refund</b> me", "broken again"]
LABELS = ["parcel", "parcel", "money"]
FLAGS = pd.DataFrame({"row": [1, 2], "given": ["parcel", "money"], "suggested": ["money", "parcel"],
                      "doubt": [0.9, 0.4]})


@pytest.fixture
def panel(tmp_path):
    return ReviewPanel(lambda texts, labels: Review(texts, labels, tmp_path / "log.jsonl"), TEXTS, LABELS, FLAGS,
                       usd_per_review=0.25)


def press(panel, name):
    panel._buttons[name].click()


def test_the_most_doubtful_row_is_shown_first_and_its_markup_is_not_obeyed(panel):
    assert "&lt;b&gt;refund&lt;/b&gt; me" in panel._row.value
    assert panel._choice.value == "money", "the suggestion stands ready"
    assert panel._buttons["undo"].disabled


def test_each_decision_is_saved_shown_and_taken_back(panel, tmp_path):
    press(panel, "relabel")
    assert "broken again" in panel._row.value
    assert Review(TEXTS, LABELS, tmp_path / "log.jsonl").decisions[1]["label"] == "money"
    assert "1 of 2 reviewed (0 keep, 1 relabel, 0 drop), $0.25" in panel._status.value
    press(panel, "drop")
    assert "Every doubtful row" in panel._row.value
    assert panel._buttons["keep"].disabled
    assert panel._cleaned_csv() == "text,label\nwhere is it,parcel\n<b>refund</b> me,money\n"
    press(panel, "undo")
    assert "broken again" in panel._row.value
    assert len(panel._log_text().splitlines()) == 3, "taking back is a line of its own"


def test_another_cost_of_a_look_counts_for_what_was_reviewed(panel):
    press(panel, "keep")
    panel.set_cost(2.0)
    assert "1 of 2 reviewed (1 keep, 0 relabel, 0 drop), $2.00" in panel._status.value


def test_a_panel_opened_anew_goes_on_where_it_stopped(panel, tmp_path):
    press(panel, "keep")
    again = ReviewPanel(lambda texts, labels: Review(texts, labels, tmp_path / "log.jsonl"), TEXTS, LABELS, FLAGS,
                        usd_per_review=0.25)
    assert "broken again" in again._row.value


def test_the_cleaned_file_is_safe_in_a_spreadsheet(tmp_path):
    panel = ReviewPanel(lambda texts, labels: Review(texts, labels, tmp_path / "log.jsonl"), ["=1+1", "fine"],
                        ["+a", "b"], pd.DataFrame({"row": [0], "given": ["+a"], "suggested": ["b"], "doubt": [0.5]}),
                        usd_per_review=0.25)
    assert panel._cleaned_csv() == "text,label\n'=1+1,'+a\nfine,b\n"


def checked(report, path):
    import pandas as pd

    report(0.5, "looking")
    rows = pd.read_csv(path)
    flags = pd.DataFrame({"row": [0], "given": ["a"], "suggested": ["b"], "doubt": [0.5]})
    return {"texts": rows["text"].tolist(), "labels": rows["label"].tolist(), "flags": flags}


def test_a_file_takes_the_place_of_the_rows(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("text,label\nmine one,a\nmine two,b\n")
    panel = ReviewPanel(lambda texts, labels: Review(texts, labels, tmp_path / f"{len(texts)}.jsonl"), TEXTS, LABELS,
                        FLAGS, usd_per_review=0.25, check=checked)
    panel._check.run.click()
    assert "Choose a file" in panel._status.value
    panel._path.value = str(path)
    panel._check.run.click()
    end = time.monotonic() + 30
    while "mine one" not in panel._row.value:
        assert time.monotonic() < end, panel._status.value
        time.sleep(0.05)
    assert panel._choice.options == ("a", "b")
    assert "rows of <b>own.csv</b>" in panel._of.value


@pytest.fixture
def on_page(tmp_path, monkeypatch):
    """on_page() -> a panel as a visitor gets it; its session's folder is tmp_path."""
    monkeypatch.setenv(SESSION, str(tmp_path))
    return lambda: ReviewPanel(Review, TEXTS, LABELS, FLAGS, usd_per_review=0.25, check=checked)


def inside(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def test_nobody_types_on_a_page(on_page, monkeypatch):
    """The server's files were read for any visitor who knew their path."""
    typed = ipywidgets.Text, ipywidgets.Textarea, ipywidgets.Combobox
    assert [part for part in inside(on_page()) if isinstance(part, typed)] == []
    assert [part for part in inside(LabelPanel(TEXTS, LABELS, lambda *_: 0, lambda *_: 0.0)) if isinstance(part, typed)
            ] == []
    monkeypatch.delenv(SESSION)
    assert len([part for part in inside(on_page()) if isinstance(part, typed)]) == 1, "the lesson takes paths"


def test_a_refused_upload_leaves_the_rows_under_their_own_name(on_page):
    panel = on_page()
    panel._upload._handle_custom_msg({"name": "mine.csv"}, [memoryview(b"text,label\nmine one,a\nmine two,b\n")])
    panel._check.run.click()
    wait_until(lambda: "mine one" in panel._row.value, 60)
    assert "rows of <b>mine.csv</b>" in panel._of.value
    panel._upload._handle_custom_msg({"name": "big.csv", "size": 20_000_000}, [])
    assert "big.csv has 20.0 MB" in panel._status.value
    panel._check.run.click()
    assert "Choose a file first" in panel._status.value
    assert "rows of <b>mine.csv</b>" in panel._of.value


def test_a_visitors_decisions_lie_in_the_visitors_folder(on_page, tmp_path, fresh_home):
    panel = on_page()
    press(panel, "drop")
    assert [path.parent for path in tmp_path.rglob("*.jsonl")] == [tmp_path / "reviews"]
    assert "Kept until you leave this page" in panel._status.value
    assert not fresh_home.exists()


def test_labels_are_asked_for_in_the_strategys_order_and_the_curve_has_both_arms(monkeypatch):
    scored = []

    def score(rows, given, who):
        scored.append((list(rows), list(given), who))
        return 0.5 if who == "you" else 0.25

    monkeypatch.setattr(labelling, "LABELS_PER_POINT", 2)
    panel = LabelPanel(TEXTS, ["money", "parcel"], lambda rows, given: int(np.setdiff1d([2, 1, 0], rows).max()), score)
    assert "broken again" in panel._text.value
    panel.answer("money")
    panel.answer("parcel")
    assert scored == [([2, 1], ["money", "parcel"], "random"), ([2, 1], ["money", "parcel"], "you")]
    assert len(panel._chart.children) == 1
    panel.take_back()
    assert "refund" in panel._text.value
    assert len(panel._chart.children) == 0
    panel.answer("money")
    panel.answer("parcel")
    assert "All rows are labelled." in panel._status.value


def test_the_curve_is_drawn_again_after_each_of_its_points(monkeypatch):
    monkeypatch.setattr(labelling, "LABELS_PER_POINT", 1)
    panel = LabelPanel(TEXTS, ["money", "parcel"], lambda rows, given: len(rows), lambda rows, given, who: 0.5,
                       constant=0.25)
    titles = []
    for _ in TEXTS:
        panel.answer("money")
        chart = panel._chart.children[0]
        titles.append(" ".join(chart.spec["title"]["text"]))
        assert chart.spec["title"]["subtitle"][1] == "Constant answer: 25%"
    assert [title.split(" after ")[1] for title in titles] == ["1 labels", "2 labels", "3 labels"]


def test_the_curves_title_is_of_its_last_point_after_a_label_is_taken_back(monkeypatch):
    monkeypatch.setattr(labelling, "LABELS_PER_POINT", 2)
    panel = LabelPanel(TEXTS * 2, ["money", "parcel"], lambda rows, given: len(rows), lambda rows, given, who: 0.5)
    for _ in range(4):
        panel.answer("money")
    panel.take_back()
    assert " ".join(panel._chart.children[0].spec["title"]["text"]).endswith("after 2 labels")


def test_cancelling_the_check_of_a_file_is_said(tmp_path):
    def endless(report, path):
        report(0.1, "counting")
        time.sleep(60)

    (tmp_path / "own.csv").write_text("text,label\nmine,a\n")
    panel = ReviewPanel(lambda texts, labels: Review(texts, labels, tmp_path / "log.jsonl"), TEXTS, LABELS, FLAGS,
                        usd_per_review=0.25, check=endless)
    panel._path.value = str(tmp_path / "own.csv")
    panel._check.run.click()
    wait_until(lambda: "counting" in panel._status.value)
    panel._check.cancel.click()
    wait_until(lambda: "Cancelled" in panel._status.value)
