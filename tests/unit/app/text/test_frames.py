"""Any table in words: each figure that of the frame, with its unit, and its interval under it."""

import html
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.app.text.frames import MOST_ROWS, frame_html, in_words, meaning
from helpers.lab.facts import read_facts


def cells(frame: pd.DataFrame, of: str | None = None) -> list[list[str]]:
    """The table's rows, the heading first; what is small stands behind a bar."""
    rows = re.findall(r"<tr>(.*?)</tr>", frame_html(frame, of), re.DOTALL)
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell.replace("<small>", "|"))) for cell in re.findall(
        r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def test_a_share_is_in_percent_a_difference_in_points_and_bytes_in_megabytes():
    frame = pd.DataFrame({"accuracy": [0.8342], "gain": [-0.0251], "delta_bytes": [90_891_364.0],
                          "usd_month": [140.16]})
    assert cells(frame) == [["Accuracy|%", "Gain|points", "To store for a task|MB", "Cost|$ a month"],
                            ["83.4", "\N{MINUS SIGN}2.5", "90.9", "140"]]


@pytest.mark.parametrize(("columns", "at"), [
    (["name", "usd", "low", "high", "late"], 1), (["usd", "name", "usd_low", "late", "usd_high"], 0),
    (["name", "late", "token_ms", "low_ms", "high_ms"], 2), (["name", "late", "then_usd", "then_low", "then_high"], 2)])
def test_an_interval_stands_under_its_figure(columns, at):
    values = {"name": "fixed", "usd": 12.5, "low": 11.0, "high": 13.25, "usd_low": 11.0, "usd_high": 13.25, "late": 0.5,
              "token_ms": 12.5, "low_ms": 11.0, "high_ms": 13.25, "then_usd": 12.5, "then_low": 11.0,
              "then_high": 13.25}
    heading, row = cells(pd.DataFrame([{name: values[name] for name in columns}]))
    assert len(heading) == 3
    assert row[at] == "12.5|11 to 13.2"


def test_ends_that_are_unknown_or_equal_are_left_out():
    frame = pd.DataFrame({"times": [1.0, 2.5], "low": [1.0, np.nan], "high": [1.0, np.nan]})
    assert cells(frame)[1:] == [["1"], ["2.50"]]


def test_a_pivoted_table_says_what_its_columns_are_and_has_the_unit_of_what_it_holds():
    long = pd.DataFrame({"batch": [1, 1], "tokens": [16, 1024], "speedup": [1.25, 2.0]})
    assert cells(long.pivot(index="batch", columns="tokens", values="speedup"), "speedup") == [
        ["Batch", "Tokens 16|times", "Tokens 1,024|times"], ["1", "1.25", "2"]]
    kept = pd.DataFrame({"method": ["random"], "keep": [0.5], "gain": [0.01], "significant": [True]})
    assert cells(kept.pivot(index="method", columns="keep", values=["gain", "significant"])) == [
        ["Method", "Gain, keep 50.0%|points", "Significant, keep 50.0%"], ["random", "+1.0", "yes"]]


def test_a_column_of_words_has_no_unit_and_stands_to_the_left():
    assert cells(pd.DataFrame({"precision": ["fp32"], "same_answers": [True]})) == [["Precision", "Same answers"],
                                                                                   ["fp32", "yes"]]
    assert "<td class='app-text'>fp32" in frame_html(pd.DataFrame({"precision": ["fp32"]}))
    names = pd.DataFrame({"form": ["ONNX"], "runtime": ["OpenVINO"], "found": ["the same"]})
    assert cells(names.pivot(index="form", columns="runtime", values="found"))[0] == ["Form", "OpenVINO"]


def test_an_index_is_shown_where_it_says_something():
    assert cells(pd.DataFrame({"labels": [5]}, index=[54])) == [["Labels"], ["5"]]
    assert cells(pd.DataFrame({"labels": [5]}, index=["random"])) == [["", "Labels"], ["random", "5"]]
    two = pd.DataFrame({"way": ["ring"], "link": ["NVLink"], "late": [0.0]}).set_index(["way", "link"])
    assert cells(two) == [["Way", "Link", "Late|%"], ["ring", "NVLink", "0.0"]]


@pytest.mark.parametrize(("value", "shown"), [
    (None, "\N{EN DASH}"), (np.nan, "\N{EN DASH}"), (pd.NA, "\N{EN DASH}"), ((), "\N{EN DASH}"),
    (np.inf, "\N{INFINITY}"), (np.True_, "yes"),
    ((3, 4), "3, 4"), (25.0, "25"), (304_494.3, "304,494"), (-0.00669, "\N{MINUS SIGN}0.00669"), ("<b>", "<b>"),
    (np.float32(0.5), "0.500")])
def test_each_kind_of_value_can_be_read(value, shown):
    assert cells(pd.DataFrame({"value": pd.Series([value], dtype=object)}))[1] == [shown]


def test_what_is_less_than_all_is_never_shown_as_all_nor_a_little_as_nothing():
    assert cells(pd.DataFrame({"accuracy": [0.99999, 1.0]}))[1:] == [["99.999"], ["100.0"]]
    little = pd.DataFrame({"late": [0.00042, 0.0], "gain": [0.00042, 0.0]})
    assert cells(little)[1:] == [["0.04", "+0.04"], ["0.0", "+0.0"]]
    assert cells(pd.DataFrame({"year": [2024]}))[1] == ["2024"]


def test_a_name_that_is_small_by_custom_stays_so():
    assert cells(pd.DataFrame({"p": [0.02]})) == [["p|of all compared"], ["0.0200"]]


def test_markup_is_shown_not_obeyed_and_a_long_table_is_cut_with_a_word():
    assert "<b>" not in frame_html(pd.DataFrame({"<b>": ["<b>"]}))
    shown = frame_html(pd.DataFrame({"labels": range(MOST_ROWS + 7)}))
    assert shown.count("<tr>") == MOST_ROWS + 1
    assert "And 7 more rows." in shown
    assert "no rows" in frame_html(pd.DataFrame({"labels": []})).lower()


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=5))
def test_three_digits_are_right(values):
    for value, (said,) in zip(values, cells(pd.DataFrame({"value": values}))[1:], strict=True):
        read = float(said.replace(",", "").replace("\N{MINUS SIGN}", "-"))
        assert read == pytest.approx(value, rel=0.0051, abs=1e-300)


def test_the_list_of_columns_is_sound():
    rows = read_facts("columns")
    assert [row["column"] for row in rows] == sorted({row["column"] for row in rows})
    units = {"share": "%", "points": "points", "bytes": "MB", "year": ""}
    assert all(row["unit"] == units[row["kind"]] for row in rows if row["kind"])
    assert all(row["unit"] for row in rows if row["kind"] not in ("", "year"))


def test_a_name_that_is_not_listed_is_told_by_its_end():
    assert (meaning("import_s").words, meaning("import_s").unit) == ("Import", "s")
    assert meaning("read_per_s").unit == "per second"
    bound = meaning("wrong_rate_high")
    assert (bound.words, bound.unit, bound.kind) == ("Wrong rate, at most", "%", "share")
    assert (meaning("p95_ttft_s").words, meaning("p95_ttft_s").unit) == ("First token, p95", "s")
    assert (meaning("usd_per_request").words, meaning("usd_per_request").unit) == ("Cost", "$ per request")
    assert "Import" in in_words(pd.DataFrame({"import_s": [1.0]})).data
