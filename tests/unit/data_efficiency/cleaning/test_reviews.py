"""Decisions are saved at once, taken back one by one, and belong to their rows."""

import os

import pytest

from helpers.data_efficiency import Review
from helpers.lab.errors import InputError

TEXTS = ["where is my parcel now", "where is my order now", "i want my money back", "i want the refund back"]


@pytest.fixture
def review(tmp_path):
    return Review(TEXTS, ["a", "a", "b", "b"], tmp_path / "log.jsonl")


def test_decisions_are_on_the_disk_at_once_and_stand_after_a_restart(review):
    review.decide(0, "drop")
    review.decide(1, "relabel", "b")
    review.decide(2, "keep")
    again = Review(TEXTS, ["a", "a", "b", "b"], review.path)
    assert {row: entry["action"] for row, entry in again.decisions.items()} == {0: "drop", 1: "relabel", 2: "keep"}
    assert again.cleaned()["label"].tolist() == ["b", "b", "b"]
    assert again.cleaned()["row"].tolist() == [1, 2, 3]


def test_undo_takes_back_one_decision_after_the_other(review):
    review.decide(0, "drop")
    review.decide(0, "relabel", "b")
    assert review.undo() == 0
    assert review.decisions[0]["action"] == "drop"
    assert Review(TEXTS, ["a", "a", "b", "b"], review.path).decisions[0]["action"] == "drop"
    assert review.undo() == 0
    assert review.undo() is None
    assert review.cleaned()["text"].tolist() == TEXTS


def test_a_line_that_was_cut_off_is_dropped_and_the_next_one_stands_alone(review):
    review.decide(0, "drop")
    with review.path.open("a") as file:
        file.write('{"row": 1, "act')
    again = Review(TEXTS, ["a", "a", "b", "b"], review.path)
    again.decide(3, "keep")
    assert set(Review(TEXTS, ["a", "a", "b", "b"], review.path).decisions) == {0, 3}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_on_a_full_disk_a_decision_is_refused_and_those_before_stand(review):
    """A limit on the size of files is met as a full disk is: part of a line fits, and is taken away again."""
    import resource

    review.decide(0, "drop")
    written = review.path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(written) + 20, before[1]))
    try:
        with pytest.raises(InputError, match=r"log\.jsonl cannot be written \(.*\)\. Free some disk space"):
            review.decide(1, "relabel", "b")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert review.path.read_bytes() == written
    assert set(review.decisions) == {0}
    review.decide(1, "relabel", "b")
    assert set(Review(TEXTS, ["a", "a", "b", "b"], review.path).decisions) == {0, 1}


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    review = Review(TEXTS, ["a", "a", "b", "b"], tmp_path / "file" / "log.jsonl")
    with pytest.raises(InputError, match="cannot be written"):
        review.decide(0, "drop")


def test_a_log_of_other_rows_and_wrong_decisions_are_refused(review):
    review.decide(0, "drop")
    with pytest.raises(InputError, match="belongs to other rows"):
        Review(["other", *TEXTS[1:]], ["a", "a", "b", "b"], review.path)
    for row, action, label in ((9, "keep", None), (0, "burn", None), (0, "relabel", None), (0, "keep", "b")):
        with pytest.raises(InputError, match=r"\."):
            review.decide(row, action, label)


def test_decisions_about_a_file_carry_its_lines(tmp_path):
    review = Review(TEXTS, ["a", "a", "b", "b"], tmp_path / "log.jsonl", lines=[2, 5, 6, 9])
    review.decide(1, "drop")
    assert review.decisions[1]["line"] == 5
    assert '"line": 5' in review.path.read_text()
    assert review.cleaned()["line"].tolist() == [2, 6, 9]


def test_texts_without_labels_or_lines_are_refused(tmp_path):
    with pytest.raises(InputError, match="each row needs both"):
        Review(["a"], [])
    with pytest.raises(InputError, match="each row needs both"):
        Review(["a"], ["b"], tmp_path / "log.jsonl", lines=[1, 2])
