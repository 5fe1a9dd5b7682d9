"""What is read from a file is what was written, and bad input is refused in one sentence."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tiny_tables import ROWS, all_rows, refusal, write_csv

from helpers.lab import load_task
from helpers.lab.data.files import read_rows
from helpers.lab.data.task import _BUILT_IN


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv", ";"), ("A.CSV", "\t")])
def test_tables_are_read_whatever_their_separator(tmp_path, name, delimiter):
    task = load_task(write_csv(tmp_path / name, ROWS, delimiter=delimiter))
    assert sorted(all_rows(task)) == sorted(ROWS)
    assert task.labels == ("fruit", "tool")


def test_json_lines_are_read(tmp_path):
    lines = [json.dumps({"label": label, "text": text}) for text, label in ROWS]
    assert sorted(all_rows(load_task(write(tmp_path / "a.jsonl", "\n".join(lines))))) == sorted(ROWS)


def test_parquet_is_read(tmp_path):
    pd.DataFrame(ROWS, columns=["text", "label"]).to_parquet(tmp_path / "a.parquet")
    assert sorted(all_rows(load_task(tmp_path / "a.parquet"))) == sorted(ROWS)


def test_columns_are_taken_by_the_names_given(tmp_path):
    rows = [(label, "x", text) for text, label in ROWS]
    path = write_csv(tmp_path / "a.csv", rows, header=("category", "note", "message"))
    assert sorted(all_rows(load_task(path, text="message", label="category"))) == sorted(ROWS)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    content = b"\xef\xbb\xbf" + write_csv(tmp_path / "plain.csv", ROWS).read_bytes()
    assert sorted(all_rows(load_task(write(tmp_path / "excel.csv", content)))) == sorted(ROWS)


@pytest.mark.parametrize("word", ["None", "NA", "nan", "null", "N/A"])
def test_words_that_pandas_takes_for_missing_stay_texts(tmp_path, word):
    rows = [*ROWS, (word, "fruit"), ("a missing one", "NA"), ("b", "NA"), ("c", "NA")]
    assert sorted(all_rows(load_task(write_csv(tmp_path / "a.csv", rows)))) == sorted(rows)


def test_numbers_as_labels_keep_their_spelling(tmp_path):
    rows = [(f"text {n}", label) for n in range(3) for label in ("007", "1.50")]
    assert load_task(write_csv(tmp_path / "a.csv", rows)).labels == ("007", "1.50")

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20).filter(
    lambda text: text.strip())

SIGNS = 'say "hi", a;b\tc | \\ \n \r\n'


def spelling_of(label):
    """What is equal for labels of one class: words but for blanks and capitals, numbers by their value."""
    word = " ".join(label.split()).casefold()
    try:
        return float({"true": "1", "false": "0"}.get(word, word))
    except ValueError:
        return word


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
@example(rows=[(SIGNS, "NA"), ("line\u2028paragraph\u2029next\x85", "a\x0bb\x0cc\x1cd"), ("\r", "x\r")])
def test_any_table_is_read_back_as_it_was_written(tmp_path_factory, kind, rows):
    path = tmp_path_factory.mktemp("table") / f"rows.{kind}"
    rows = [(text, label) for text, label in rows if text.strip() and label.strip()]
    labels = {label for _, label in rows}
    assume(len({spelling_of(label) for label in labels}) == len(labels))  # spellings of one label are joined
    frame = pd.DataFrame(rows, columns=["text", "label"])
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in frame.to_dict("records")),
                        encoding="utf-8", newline="")
    else:
        write_csv(path, rows, delimiter="," if kind == "csv" else "\t", quoting=csv.QUOTE_ALL)
    read = read_rows(path, "text", "label")
    assert list(zip(read["text"], read["label"], strict=True)) == rows


def test_an_empty_file_is_named(tmp_path):
    assert refusal(write(tmp_path / "void.csv", "")) == "void.csv is empty."


def test_a_file_of_blank_lines_counts_as_empty(tmp_path):
    assert refusal(write(tmp_path / "void.jsonl", "\n \n")) == "void.jsonl is empty."


def test_a_header_alone_has_no_rows(tmp_path):
    assert refusal(write(tmp_path / "head.csv", "text,label\n")) == "head.csv has no rows."


def test_one_class_is_not_enough(tmp_path):
    message = refusal(write_csv(tmp_path / "one.csv", ROWS[:6]))
    assert "one.csv has one label only ('fruit')" in message
    assert "two or more are needed" in message


def test_a_missing_column_is_answered_with_the_right_call(tmp_path):
    message = refusal(write_csv(tmp_path / "t.csv", ROWS, header=("text", "category")))
    assert message == ("t.csv has no column 'label'. Its columns: text, category. "
                       'Name the right one: load_task("t.csv", label="category").')


@pytest.mark.parametrize(("times", "word"), [(1, "once"), (2, "twice")])
def test_a_label_that_is_too_rare_is_named(tmp_path, times, word):
    message = refusal(write_csv(tmp_path / "a.csv", ROWS + [(f"kiwi {n}", "rare") for n in range(times)]))
    assert f"the label 'rare' only {word}" in message
    assert "needs 3 rows" in message
    assert "merge or drop" in message


def test_a_hundred_thousand_classes_look_like_ids(tmp_path):
    message = refusal(write_csv(tmp_path / "ids.csv", [(f"text {n}", f"id{n}") for n in range(100_000)]))
    assert "100,000 different labels" in message
    assert "at most 1,000" in message
    assert "Is the label column an id?" in message


def test_nul_bytes_are_refused(tmp_path):
    message = refusal(write(tmp_path / "a.csv", b"text,label\na\0b,x\n"))
    assert "a.csv holds NUL bytes" in message
    assert "Save it as UTF-8" in message


def test_nul_characters_inside_parquet_are_refused(tmp_path):
    pd.DataFrame({"text": ["a\0b", "c"], "label": ["x", "y"]}).to_parquet(tmp_path / "a.parquet")
    assert "a.parquet holds NUL bytes in column 'text'" in refusal(tmp_path / "a.parquet")


def test_half_a_character_is_refused(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in [*ROWS, ("bad \ud83d", "tool")]]
    message = refusal(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert "a.jsonl line 13 holds half a character" in message
    message = refusal(write(tmp_path / "a.json", "[" + ",".join(lines) + "]"))
    assert "a.json holds half a character" in message


def test_latin_1_is_refused_with_the_line(tmp_path):
    message = refusal(write(tmp_path / "old.csv", "text,label\nplain,x\ncafé,y\n".encode("latin-1")))
    assert message == ("old.csv is not UTF-8 text (line 3). Save it as UTF-8, or, if it comes from Windows, "
                       'pass encoding="cp1252".')


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_refused_and_named(tmp_path, encoding):
    message = refusal(write(tmp_path / "wide.csv", "text,label\na,x\nb,y\n".encode(encoding)))
    assert "wide.csv" in message
    assert "UTF-8" in message


def test_a_tsv_without_a_header_is_recognised(tmp_path):
    rows = [("I want my money back now", "refund"), *ROWS]
    message = refusal(write_csv(tmp_path / "bare.tsv", rows, header=None, delimiter="\t"))
    assert "bare.tsv has no column 'text'" in message
    assert "first line looks like data: add a header line" in message


def test_duplicate_ids_are_refused(tmp_path):
    rows = [(number % 11, text, label) for number, (text, label) in enumerate(ROWS)]
    message = refusal(write_csv(tmp_path / "a.csv", rows, header=("id", "text", "label")))
    assert "repeats the id 0 (2 rows" in message
    assert "Remove the duplicates" in message


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("nothing", ["", "   "])
def test_an_empty_cell_is_found(tmp_path, column, nothing):
    hole = (nothing, "tool") if column == "text" else ("words", nothing)
    message = refusal(write_csv(tmp_path / "a.csv", [*ROWS, hole]))
    assert f"a.csv has 1 rows with nothing in column '{column}' (first: row 13)" in message
    assert "Fill them in or remove them" in message


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_missing_value_in_parquet_is_found(tmp_path, nothing):
    pd.DataFrame([*ROWS, (nothing, "tool")], columns=["text", "label"]).to_parquet(tmp_path / "a.parquet")
    assert "1 rows with nothing in column 'text' (first: row 13)" in refusal(tmp_path / "a.parquet")


def test_nan_in_json_lines_is_found(tmp_path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS] + ['{"text": NaN, "label": "tool"}']
    assert "nothing in column 'text' (first: row 13)" in refusal(write(tmp_path / "a.jsonl", "\n".join(lines)))


def test_an_unquoted_comma_is_not_read_as_a_shorter_text(tmp_path):
    content = "text,label\n" + "".join(f"{text}, please,{label}\n" for text, label in ROWS)
    assert "a.csv cannot be read as a table" in refusal(write(tmp_path / "a.csv", content))


def test_a_missing_file_is_named(tmp_path):
    assert refusal(tmp_path / "gone.csv") == f"There is no file gone.csv in {tmp_path.name}."


def test_an_unknown_suffix_is_answered_with_what_can_be_read(tmp_path):
    message = refusal(write(tmp_path / "a.docx", "x"))
    assert ".csv, .tsv, .jsonl, .json, .parquet" in message
    assert ", ".join(_BUILT_IN) in message


def test_a_broken_json_line_is_named_by_its_number(tmp_path):
    content = '{"text": "a", "label": "b"}\n{"text": '
    assert "a.jsonl line 2 is not JSON" in refusal(write(tmp_path / "a.jsonl", content))


def test_a_json_line_without_fields_is_named_by_its_number(tmp_path):
    assert "a.jsonl line 1 is not a JSON object" in refusal(write(tmp_path / "a.jsonl", "[1, 2]\n"))


def test_a_damaged_parquet_file_is_said_to_be_one(tmp_path):
    assert "a.parquet cannot be read as PARQUET" in refusal(write(tmp_path / "a.parquet", b"PAR1 and then nothing"))


def test_a_text_of_a_megabyte_is_loaded_cut_and_answered(tmp_path, tiny_model):
    rows = [(f"{text} " + "word " * 200_000, label) for text, label in ROWS[:1]] + ROWS[1:]
    task = load_task(write_csv(tmp_path / "long.csv", rows))
    longest = max((text for text, _ in all_rows(task)), key=len)
    assert len(longest) == 100_000
    assert tiny_model.predict([longest, "short", "word " * 200_000]).shape == (3, 3)


def test_an_answer_does_not_depend_on_what_is_cut_off(tiny_model):
    long = "the old hammer " * 500
    np.testing.assert_array_equal(tiny_model.predict([long]), tiny_model.predict([long + "x" * 1_000_000]))
