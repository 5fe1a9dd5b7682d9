"""Files as people have them: each kind that was once read wrongly, with the right value."""

import collections
import contextlib
import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.lab import InputError, load_task
from helpers.lab.data.files import read_rows

WORDS = {"billing": "card with refund and receipt", "delivery": "late parcel and van", "device": "broken button again"}
ROWS = [(f"{words} number {number}", label) for number in range(12) for label, words in WORDS.items()]


@pytest.fixture
def write(tmp_path):
    """write(name, text or bytes) -> the path of a new file."""
    def written(name, content):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return written


def table(rows, header=("text", "label"), separator=",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in ([header] if header else []) + list(rows))


def size(task) -> int:
    return len(task.train) + len(task.validation) + len(task.test)


def refusal(source, **options) -> str:
    with pytest.raises(InputError) as caught:
        load_task(source, **options)
    return str(caught.value)


def test_no_row_vanishes_in_a_quote_that_is_not_closed(write):
    """Line 22 begins with a quote, line 24 ends in one: three rows would become one text."""
    lines = table(ROWS, separator="\t").splitlines()
    lines[21], lines[23] = f'"{lines[21]}', lines[23].replace("\t", '"\t')
    task = load_task(write("t.tsv", "\n".join(lines)))
    assert size(task) == 36
    assert "Quotes in t.tsv do not pair (line 22)" in task.notes[0]


def test_an_open_quote_among_texts_with_commas_is_refused_with_its_line(write):
    lines = table([(f'"{text}, please"', label) for text, label in ROWS]).splitlines()
    lines[4] = lines[4].replace(', please"', ", please")
    assert "quote that is not closed near line 5" in refusal(write("t.csv", "\n".join(lines)))


def test_a_text_of_several_lines_stays_one_text(write):
    rows = [(f'"{text}\nsecond line, with a comma"', label) for text, label in ROWS]
    task = load_task(write("t.csv", table(rows)))
    assert size(task) == 36
    assert task.notes == ()
    lines = [line for split in (task.train, task.validation, task.test) for line in split["line"]]
    assert sorted(lines) == [2 + 2 * k for k in range(36)]


def test_each_row_knows_its_line_in_the_file(write):
    path = write("t.csv", table(ROWS))
    lines = path.read_text().splitlines()
    for split in (load_task(path).train, load_task(path).test):
        assert all(lines[line - 1].startswith(text) for line, text in zip(split["line"], split["text"], strict=True))


def test_a_column_named_split_is_used_and_said(write):
    names = ["train"] * 6 + ["dev"] * 3 + ["test"] * 3
    rows = [(text, label, names[number // 3]) for number, (text, label) in enumerate(ROWS)]
    task = load_task(write("t.csv", table(rows, ("text", "label", "split"))))
    assert (len(task.train), len(task.validation), len(task.test)) == (18, 9, 9)
    assert set(task.test["text"]) == {text for text, _, split in rows if split == "test"}
    assert task.notes == ("The column 'split' was used: 18 training, 9 validation and 9 test rows.",)


def test_a_split_column_of_other_words_is_an_ordinary_column(write):
    rows = [(text, label, "left" if number % 2 else "right") for number, (text, label) in enumerate(ROWS)]
    task = load_task(write("t.csv", table(rows, ("text", "label", "split"))))
    assert (len(task.test), task.notes) == (9, ())


def test_labels_that_differ_in_case_and_blanks_are_one_class_and_it_is_said(write):
    rows = [(text, label.title() if number % 9 == 0 else f"{label} " if number % 9 == 1 else label)
            for number, (text, label) in enumerate(ROWS)]
    task = load_task(write("t.csv", table(rows)))
    assert task.labels == ("billing", "delivery", "device")
    assert "The labels 'Billing' were taken as 'billing'." in task.notes


def test_the_test_files_labels_are_folded_into_the_training_files(write):
    train = write("train.csv", table(ROWS))
    test = write("test.csv", table([(text, label.upper()) for text, label in ROWS[:6]]))
    assert len(load_task(train, test=test).test) == 6


@pytest.mark.parametrize(("values", "labels"), [
    ([1, 1.0, True, "1", 0, 0.0, False, "0"], ("0", "1")), ([1, 2, 3, 1.0], ("1", "2", "3")),
    ([True, False], ("false", "true")), (["yes", True], ("true", "yes")), ([1.5, 2], ("1.5", "2"))])
def test_labels_of_several_kinds_are_read_as_the_classes_they_are(write, values, labels):
    rows = [json.dumps({"text": f"text number {n}", "label": value}) for n in range(4) for value in values]
    assert load_task(write("t.jsonl", "\n".join(rows))).labels == labels


@pytest.mark.parametrize(("values", "labels"), [
    (["0", "0.0", "1", "1.0"], ("0", "1")), (["0.0", "1.0"], ("0.0", "1.0")), (["007", "07"], ("007", "07")),
    (["1", "0", "1", "0", "TRUE", "FALSE"], ("0", "1")), (["true", "yes", "1"], ("1", "true", "yes"))])
def test_in_a_table_too_one_number_is_one_class_and_it_is_said(write, values, labels):
    path = write("t.csv", table([(f"text number {n} {value}", value) for n in range(4) for value in values]))
    task = load_task(path)
    assert task.labels == labels
    assert len(task.notes) == len(set(values)) - len(labels)
    test = write("u.csv", table([(f"text {value}", value) for value in values]))
    assert load_task(write("v.csv", table([(f"text {n} {label}", label) for n in range(4) for label in labels])),
                     test=test).labels == labels


def test_scores_are_no_classes(write):
    path = write("t.csv", table([(f"text number {n}", n % 40 / 8) for n in range(400)]))
    assert "40 different numbers in column 'label'" in refusal(path)


@pytest.mark.parametrize("mark", [", ", "|", ";"])
def test_labels_that_join_other_labels_are_refused(write, mark):
    rows = [(text, f'"billing{mark}device"' if n % 9 == 4 else label) for n, (text, label) in enumerate(ROWS)]
    assert "several labels a text in column 'label' (row 5: billing" in refusal(write("t.csv", table(rows)))


@pytest.mark.parametrize(("text", "said"), [({"en": "hello"}, "no plain text in column 'text' (row 1"),
                                            (["hello", "there"], "no plain text in column 'text' (row 1")])
def test_records_and_lists_are_no_texts(write, text, said):
    message = refusal(write("t.jsonl", "\n".join(json.dumps({"text": text, "label": label}) for _, label in ROWS)))
    assert said in message
    assert "as a separate column" in message


def test_what_is_nested_is_refused_with_what_to_do(write):
    rows = [{"text": text, "label": {"name": label, "id": 1}} for text, label in ROWS]
    assert "no plain label in column 'label'" in refusal(write("t.jsonl", "\n".join(map(json.dumps, rows))))
    rows = [{"data": {"text": text, "label": label}} for text, label in ROWS]
    assert "none that could be it" in refusal(write("u.jsonl", "\n".join(map(json.dumps, rows))))
    assert "call it .jsonl" in refusal(write("u.json", "\n".join(map(json.dumps, rows))))


def test_a_german_spreadsheets_export_is_read(write):
    rows = [(number, f"{number},50", f'"Das ""{text}""; bitte, danke"', label)
            for number, (text, label) in enumerate(ROWS)]
    content = table(rows, ("Nr", "Betrag", '"Text, frei"', "Art"), ";")
    for start, encoding in (("", "cp1252"), ("\ufeff", "utf-8"), ("\ufeff", "utf-16-le"), ("sep=;\n", "utf-8")):
        task = load_task(write("t.csv", (start + content).encode(encoding)), text="Text, frei", label="Art",
                         encoding=encoding)
        assert set(task.train["text"]) <= {f'Das "{text}"; bitte, danke' for text, _ in ROWS}
        assert size(task) == 36
        lines = [line for split in (task.train, task.validation, task.test) for line in split["line"]]
        assert min(lines) == 2 + start.count("\n")


@pytest.mark.parametrize(("header", "row"), [("text | label", '{} number {} | {}'), ("text, label", '"{}, {}", "{}"')])
def test_bars_and_blanks_between_values_are_read(write, header, row):
    lines = [row.format("a text", n, "ab"[n % 2]) for n in range(12)]
    task = load_task(write("t.csv", "\n".join([header, *lines])))
    assert (size(task), task.labels) == (12, ("a", "b"))


def test_a_frames_columns_may_be_numbers():
    assert size(load_task(pd.DataFrame({0: [text for text, _ in ROWS], 1: [label for _, label in ROWS]}), text="0",
                          label="1")) == 36


@pytest.mark.parametrize("value", [["billing"], ["billing", "device"], "['billing', 'device']"])
def test_several_labels_a_text_are_refused_with_what_to_do(write, value):
    rows = [json.dumps({"text": text, "label": value}) for text, _ in ROWS]
    message = refusal(write("t.jsonl", "\n".join(rows)))
    assert "several labels a text in column 'label' (row 1" in message
    assert "Keep the main one, or make a yes-or-no column" in message


def test_a_windows_file_is_refused_with_the_encoding_to_pass(write):
    path = write("t.csv", table([(f"{text} for 5 €", label) for text, label in ROWS]).encode("cp1252"))
    assert 'pass encoding="cp1252"' in refusal(path)
    task = load_task(path, encoding="cp1252")
    assert all(text.endswith("€") for text in task.train["text"])
    assert "Unknown encoding 'klingon'. Choose one of" in refusal(path, encoding="klingon")


def test_following_the_hint_for_a_file_without_a_header_loses_no_row(write):
    path = write("t.csv", table([(label, text) for text, label in ROWS], header=None))
    message = refusal(path)
    assert 'name the columns: load_task("t.csv", columns=["label", "text"])' in message
    assert size(load_task(path, columns=["label", "text"])) == len(ROWS)


def test_a_suggested_call_names_columns_that_could_be_meant(write):
    rows = [(number, f"P{number}", text, label) for number, (text, label) in enumerate(ROWS)]
    path = write("t.csv", table(rows, ("key", "product", "message", "topic")))
    assert 'text="message"' in refusal(path)
    assert 'label="topic"' in refusal(path, text="message")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv.gz", "t.jsonl.gz", "t.json", "t.json.gz"])
def test_packed_files_and_records_are_read(write, name):
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    kind = name.split(".")[1]
    content = (frame.to_json(orient="records", lines=kind == "jsonl") if "json" in kind
               else table(ROWS, separator="\t" if kind == "tsv" else ",")).encode()
    assert size(load_task(write(name, gzip.compress(content) if name.endswith("gz") else content))) == 36
    assert "cannot be read" in refusal(write("torn.csv.gz", gzip.compress(content)[:40]))


def test_a_frame_and_a_folder_of_texts_are_tasks_too(tmp_path):
    assert size(load_task(pd.DataFrame(ROWS, columns=["text", "label"], index=[7] * 36))) == 36
    for number, (text, label) in enumerate(ROWS):
        (tmp_path / "texts" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / label / f"{number}.txt").write_text(text, encoding="utf-8")
    task = load_task(tmp_path / "texts")
    assert (size(task), task.labels) == (36, tuple(sorted(WORDS)))


def test_a_spreadsheets_own_file_is_refused_with_the_way_out(write):
    assert "save the sheet as CSV (UTF-8)" in refusal(write("t.xlsx", b"PK"))


def test_fewer_rows_keep_the_classes_shares_and_say_which_is_lost(write):
    rows = [(f"text number {n}", "rare" if n % 100 == 0 else "often") for n in range(1000)]
    task = load_task(write("t.csv", table(rows)))
    small = task.take(train=100, test=100)
    for split in (small.train, small.test):
        assert collections.Counter(split["label"]) == {0: 99, 1: 1}
    assert small.notes == ()
    rows = [(f"text number {n}", f"class {n % 5}") for n in range(1000)]
    assert "Of 3 test rows none is of class" in load_task(write("u.csv", table(rows))).take(test=3).notes[0]
    assert task.take(train=100).train["text"] == task.take(train=100).train["text"]


@pytest.mark.parametrize(("name", "options", "splits", "classes"), [
    ("unbalanced_quote.tsv", {}, 36, 3), ("label_spelling.csv", {}, 60, 3), ("split_column.csv", {}, (60, 30, 30), 3),
    ("more_columns.tsv", {}, 40, 3), ("damaged_encoding.csv", {}, 36, 3), ("near_but_different.csv", {}, 24, 4),
    ("no_header.csv", {"columns": ["label", "text"]}, 30, 2), ("mixed_label_types.jsonl", {}, 40, 2),
    ("windows_1252.csv", {"encoding": "cp1252"}, 30, 3), ("formulas.csv", {}, 30, 3), ("one_percent.csv", {}, 1000, 2),
    ("unreadable_by_encoder.csv", {}, 60, 2)])
def test_the_cases_have_their_right_numbers(name, options, splits, classes):
    task = load_task(case(name), **options)
    parts = len(task.train), len(task.validation), len(task.test)
    assert (parts if isinstance(splits, tuple) else sum(parts), len(task.labels)) == (splits, classes)


@pytest.mark.parametrize(("name", "said"), [
    ("multi_label.jsonl", "several labels a text"), ("no_header.csv", "name the columns"),
    ("windows_1252.csv", 'encoding="cp1252"')])
def test_the_cases_are_refused_with_a_way_out(name, said):
    assert said in refusal(case(name))


def case(name):
    path = Path(__file__).parents[4].parent / "shared" / "cases" / "files" / name
    if not path.exists():
        pytest.skip("The folder with the cases is not beside this checkout.")
    return path


CELLS = st.one_of(st.text(max_size=12), st.sampled_from(['"', '""', "a,b", "x\ty", "\n", "[1]", "1.0", "True", "\0"]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=30), st.sampled_from(["csv", "tsv", "csv.gz"]),
       st.sampled_from([None, "cp1252", "utf-16"]), st.booleans())
def test_whatever_a_table_holds_only_a_sentence_ever_leaves(tmp_path, rows, kind, encoding, named):
    path = tmp_path / f"t.{kind}"
    content = table(rows, separator="\t" if kind == "tsv" else ",").encode(encoding or "utf-8", errors="replace")
    path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    with contextlib.suppress(InputError):
        load_task(path, encoding=encoding, columns=["text", "label"] if named else None)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.sampled_from(["csv", "jsonl", "json", "parquet", "csv.gz"]))
def test_whatever_bytes_a_file_holds_only_a_sentence_ever_leaves(tmp_path, raw, kind):
    path = tmp_path / f"t.{kind}"
    path.write_bytes(raw)
    with contextlib.suppress(InputError):
        load_task(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.sampled_from("abc")),
                min_size=1, max_size=20))
def test_rows_in_are_rows_out(tmp_path, rows):
    path = tmp_path / "t.jsonl"
    lines = (json.dumps({"text": f"x{text}", "label": label}) for text, label in rows)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert len(read_rows(path, "text", "label")) == len(rows)
