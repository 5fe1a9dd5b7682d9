"""What is to be found in messages: two spellings of one value, where values stand, and files that hold fields."""

import json
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.lab import InputError, load_task
from helpers.lab.data.extraction import extractions, field_names, normalised, places_of
from helpers.lab.data.labels import read_fields


@pytest.mark.parametrize(("field", "one", "other"), [
    ("order", "HB-52347", "hb-52347"), ("order", "PO 2318-C", "#PO2318-C"), ("order", "SO100914.", "SO 100914"),
    ("amount", "€189", "189 euros"), ("amount", "1.249 kr", "1,249"), ("amount", "119,80 EUR", "$119.80"),
    ("amount", "129.00", "129 bucks"), ("amount", "1 350,50 €", "1,350.5"), ("amount", "Rs 5,00,000", "500000"),
    ("amount", "nine dollars", "Nine  Dollars"), ("date", "the 15th", "15th"), ("date", "Dec 19, 2025", "dec 19"),
    ("date", "14 November 2026", "14 November"), ("date", "19. nov. 2026", "19. nov"),
    ("date", "le 5", "5"), ("date", "4th of\nJuly,", "4th of July"), ("product", "The Doorbell", "doorbell"),
    ("product", "'hub'", "hub"), ("wish", "refund_status", "Refund_Status"),
])
def test_spellings_of_one_value_are_equal(field, one, other):
    assert normalised(field, one) == normalised(field, other)


@pytest.mark.parametrize(("field", "one", "other"), [
    ("order", "HB-52347", "HB-52348"), ("order", "31-03001", "3103001"), ("amount", "1.249", "1.24"),
    ("amount", "12", "1.2"), ("date", "30/10", "30/11"), ("date", "May", "May 3"),
    ("date", "2022", "2023"), ("product", "hub", "hubs"),
    ("product", "theremin", "remin"),
])
def test_other_values_are_not(field, one, other):
    assert normalised(field, one) != normalised(field, other)


@given(st.decimals(0, 10**7, places=2), st.sampled_from(["{:,.2f}", "${:.2f}", "{:,.2f} euros"]))
def test_an_amount_is_its_number_however_it_is_written(amount, form):
    written = form.format(amount)
    assert Decimal(normalised("amount", written)) == amount
    swapped = written.translate(str.maketrans(",.", ".,"))  # as on the continent
    assert normalised("amount", swapped) == normalised("amount", written)


def test_a_value_is_found_as_whole_words_before_it_is_found_within_one():
    text = "Hubcap or hub, the HUB. Hub"
    assert [text[start:end] for start, end in places_of(text, "hub")] == ["hub"]
    assert [text[start:end] for start, end in places_of(text, "HuB")] == ["hub", "HUB", "Hub"]
    assert places_of("2x33.00 paid", "33.00") == [(2, 7)]  # within, as nowhere else
    assert places_of("ends in (€80)", "€80") == [(9, 12)]
    assert places_of("the 4th\nof July", "4th of July") == [(4, 15)]
    assert places_of("nothing", "hub") == places_of("nothing", " ") == []


def test_the_annotated_tickets_are_enough_to_test_on():
    task = load_task("tickets-fields")
    assert len(task.test) >= 1200
    assert len(task.labels) == 25
    assert set(field_names(task)) == {"order", "product", "amount", "date"}
    whole = load_task("tickets")
    for split in ("train", "validation", "test"):
        assert set(getattr(task, split)["text"]) <= set(getattr(whole, split)["text"])
        for text, label, result in zip(getattr(task, split)["text"], getattr(task, split)["label"],
                                      extractions(task, split), strict=True):
            assert result.pop("wish") == task.labels[label]
            assert all(places_of(text, value) for value in result.values())


ROWS = [("Where is A-1?", "late", {"ref": "A-1"}), ("A-2 broke", "broken", {"ref": "A-2", "day": ""}),
        ("hello", "broken", {}), ("Nobody looked at A-3", "late", None)]


def frame(copies=8):
    rows = [(f"{text} {copy}", label, fields) for copy in range(copies) for text, label, fields in ROWS]
    return pd.DataFrame(rows, columns=["text", "label", "found"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_file_of_ones_own_brings_its_fields(tmp_path, suffix):
    data, path = frame(), tmp_path / f"own{suffix}"
    as_text = data.assign(found=data["found"].map(lambda value: "" if value is None else json.dumps(value)))
    if suffix == ".jsonl":
        data.to_json(path, orient="records", lines=True)
    else:
        as_text.to_csv(path, index=False) if suffix == ".csv" else as_text.to_parquet(path)
    task = load_task(path, fields="found")
    assert "8 rows with nothing in the column 'found' were left out." in task.notes
    assert field_names(task) == ("ref",)
    result = [(row["text"], one) for split in ("train", "validation", "test")
             for row, one in zip(getattr(task, split), extractions(task, split), strict=True)]
    assert len(result) == 24
    assert all(one.get("ref", "hello") in text for text, one in result)
    assert {one["wish"] for _, one in result} == {"late", "broken"}


def test_tasks_of_other_fields_have_other_digests():
    data = frame()
    changed = data.assign(found=[{"ref": "A-9"} if value else value for value in data["found"]])
    assert load_task(data, fields="found").digest != load_task(changed, fields="found").digest


@pytest.mark.parametrize(("values", "sentence"), [
    (["", None], "the table has no row with fields"),
    (["{}", "order 5"], r"the table row 2: the fields are no JSON \(order 5\)"),
    (["[1, 2]"], "row 1: the fields are no JSON object"),
    ([{"order": ["a", "b"]}], "the field 'order' is no text but"),
    ([{"paid": True}], "the field 'paid' is no text but True"),
    ([{"wish": "x"}], "the field 'wish' is the label's"),
])
def test_what_are_no_fields_is_refused(values, sentence):
    with pytest.raises(InputError, match=sentence):
        read_fields(pd.Series(values, dtype=object), "the table")


def test_a_missing_column_and_a_task_without_fields_are_named():
    with pytest.raises(InputError, match=r"no column 'fields'\. Its columns: text, label, found"):
        load_task(frame(), fields="fields")
    with pytest.raises(InputError, match=r'Take load_task\("tickets-fields"\), or name the column'):
        extractions(load_task(frame()), "train")
    data = frame().assign(split=["train"] * 31 + ["test"])  # the one test row is one that nobody looked at
    with pytest.raises(InputError, match="no training row or no test row with something in the column 'found'"):
        load_task(data, fields="found")
