"""The data report says what is there."""

import csv

import pytest

from helpers.data_efficiency.cleaning.reports import data_report, language_of, repaired
from helpers.lab import load_task


@pytest.fixture
def odd_task(tmp_path):
    """Texts with damage of several kinds, at places that the test knows."""
    rows = [(f"where is the parcel number {n} of my order", "parcel") for n in range(30)]
    rows += [(f"the refund of my {n} euros is not with you", "money") for n in range(30)]
    rows += [("caf\u00c3\u00a9 and cr\u00c3\u00a8me for the office", "money")] * 2
    rows += [("1234 5678", "parcel"), ("die Lieferung ist nicht da und ich warte auf das Paket", "parcel"),
             ("same words", "parcel"), ("Same  words", "money"), ("\u0433\u0434\u0435 \u043c\u043e\u0439 "
                                                                   "\u0437\u0430\u043a\u0430\u0437", "parcel")]
    path = tmp_path / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return load_task(path)


def test_the_report_counts_what_was_put_in(odd_task):
    report = data_report(odd_task)
    total = report.groupby("check")["value"].sum()
    assert total["rows"] == 67
    assert total["damaged encoding"] == 2
    assert total["no letters"] == 1
    assert total["language: German"] == 1
    assert total["language: Cyrillic"] == 1
    rows = report[(report["check"] == "rows") & (report["split"] == "test")]
    assert rows["value"].iloc[0] == len(odd_task.test)


@pytest.mark.parametrize(("damaged", "whole"), [
    ("caf\u00c3\u00a9", "caf\u00e9"), ("it\u00e2\u20ac\u2122s", "it\u2019s"), ("plain", "plain"),
    ("\u00e4chzt", "\u00e4chzt"), ("lost \N{REPLACEMENT CHARACTER}", "lost \N{REPLACEMENT CHARACTER}"),
])
def test_utf8_that_was_read_as_windows_1252_is_repaired_and_the_rest_left(damaged, whole):
    assert repaired(damaged) == whole


def test_a_language_is_guessed_from_its_small_words():
    assert language_of("Je ne trouve pas la commande dans le compte") == "French"
    assert language_of("42") == "unclear"
