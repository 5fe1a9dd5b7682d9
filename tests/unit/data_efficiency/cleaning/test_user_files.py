"""A file comes out clean, with a log that replays, in memory or in chunks; odd files are refused."""

import csv
import json
import random

import pandas as pd
import pytest

from helpers.data_efficiency import clean_file, clean_large, doubtful_rows, replay
from helpers.data_efficiency.cleaning import user_files
from helpers.lab.errors import InputError

ODD_FILES = {  # name -> (bytes, what the sentence names)
    "empty.csv": (b"", "empty"),
    "one_class.csv": (b"text,label\n" + b"some words,a\n" * 9, "one label only"),
    "no_column.csv": (b"body,label\nx,a\n", "no column 'text'"),
    "once.csv": (b"text,label\n" + b"x y,a\n" * 5 + b"z w,b\n", "only once"),
    "classes.csv": (b"text,label\n" + b"".join(b"w,l%d\n" % n for n in range(100_000)), "different labels"),
    "nul.csv": (b"text,label\nx\0y,a\n", "NUL"),
    "latin.csv": ("text,label\ncaf\u00e9,a\n".encode("latin-1"), "UTF-8"),
    "headless.tsv": (b"where is my order now\tparcel\n" * 6, "header"),
    "ids.csv": (b"id,text,label\n" + b"1,x,a\n2,y,b\n" * 4, "repeats the id"),
    "missing.csv": (b"text,label\n,a\nx,b\n", "nothing in column"),
}


@pytest.fixture
def own_file(tmp_path):
    """90 rows: copies that agree, one pair that does not, damage, and one label that is plainly wrong."""
    rows = [(f"the refund of {n} euros for order {n * 7} never came to {name}", "money")
            for n, name in enumerate(["anna", "bert", "carl", "dora"] * 10)]
    rows += [(f"my parcel number {n * 13} is late and still not in {place}", "parcel")
             for n, place in enumerate(["paris", "rome", "oslo", "bern"] * 10)]
    rows += [("caf\u00c3\u00a9 parcel is late", "parcel"), rows[3], rows[50], (rows[7][0], "parcel"),
             ("the refund of euros for order never came, refund refund", "parcel")]
    path = tmp_path / "own.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("body", "kind"), *rows])
    return path


def test_a_file_comes_out_clean_and_the_log_replays_it(own_file, tmp_path):
    before = own_file.read_bytes()
    clean, log, again = tmp_path / "clean.csv", tmp_path / "log.jsonl", tmp_path / "again.csv"
    doubtful = clean_file(own_file, clean, log, text="body", label="kind", duplicates="exact", kind="hashed")
    rows = pd.read_csv(clean)
    assert own_file.read_bytes() == before
    assert list(rows.columns) == ["body", "kind"]
    assert len(rows) == 83
    assert "caf\u00e9 parcel is late" in set(rows["body"])
    assert (rows["body"] == pd.read_csv(own_file)["body"][7]).sum() == 2, "copies that disagree wait for a person"
    assert 83 in set(doubtful["row"]), "the copy with the other label"
    replay(own_file, log, again, text="body", label="kind")
    assert again.read_bytes() == clean.read_bytes()
    actions = [json.loads(line)["action"] for line in log.read_text().splitlines()]
    assert actions == ["repair", "drop", "drop"]


def test_sure_labels_are_changed_only_on_request_and_are_in_the_log(own_file, tmp_path):
    log = tmp_path / "log.jsonl"
    clean_file(own_file, tmp_path / "c.csv", log, text="body", label="kind", kind="hashed", relabel_above=0.1)
    changed = [json.loads(line) for line in log.read_text().splitlines() if '"relabel"' in line]
    assert {"row": 83, "was": "parcel", "label": "money"}.items() <= changed[0].items()
    replay(own_file, log, tmp_path / "again.csv", text="body", label="kind")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()


def test_a_log_does_not_fit_another_file(own_file, tmp_path):
    clean_file(own_file, tmp_path / "c.csv", tmp_path / "log.jsonl", text="body", label="kind", kind="hashed")
    other = tmp_path / "other.csv"
    other.write_text("body,kind\n" + "some text,a\n" * 100)
    with pytest.raises(InputError, match="does not fit"):
        replay(other, tmp_path / "log.jsonl", tmp_path / "x.csv", text="body", label="kind")


@pytest.mark.parametrize("name", sorted(ODD_FILES))
def test_every_odd_file_is_refused_in_one_sentence_and_nothing_is_written(name, tmp_path):
    content, said = ODD_FILES[name]
    path = tmp_path / name
    path.write_bytes(content)
    for work in (lambda: doubtful_rows(path, kind="hashed"),
                 lambda: clean_file(path, tmp_path / "c.csv", tmp_path / "l.jsonl", kind="hashed"),
                 lambda: replay(path, tmp_path / "none.jsonl", tmp_path / "c.csv") if name not in (
                     "one_class.csv", "once.csv", "classes.csv") else doubtful_rows(path, kind="hashed")):
        with pytest.raises(InputError, match=said):
            work()
    assert not (tmp_path / "c.csv").exists()


def test_a_megabyte_of_text_goes_through(tmp_path):
    path = tmp_path / "long.csv"
    rows = "".join(f"refund {n} please,money\nparcel {n} is late,parcel\n" for n in range(10))
    path.write_text(f"text,label\n{rows}{'very long ' * 100_000},money\n")
    assert len(doubtful_rows(path, kind="hashed")["texts"]) == 21


def test_the_source_is_never_overwritten(own_file, tmp_path):
    with pytest.raises(InputError, match="never overwritten"):
        clean_file(own_file, own_file, tmp_path / "log.jsonl", text="body", label="kind")
    with pytest.raises(InputError, match="Unknown vectors"):
        clean_file(own_file, tmp_path / "c.csv", tmp_path / "log.jsonl", text="body", label="kind", kind="words")


def test_a_large_file_goes_through_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(user_files, "CHUNK", 64)
    rng = random.Random(0)
    words = {"money": "refund amount euro bank account charge invoice", "parcel": "parcel late courier street box door"}
    common = ["the", "a", "with", "of", "number", "please", "today", "order"]
    rows = [(" ".join(rng.sample(own.split() + common, 9)) + f" {n}", name)
            for n in range(200) for name, own in words.items()]
    rows[10] = ("caf\u00c3\u00a9 " + rows[10][0], rows[10][1])
    copies = [(text.upper(), name) for text, name in rows[20:40]]
    wrong = [(" ".join(rng.sample(words["money"].split(), 6) + rng.sample(common, 3)) + f" {n}", "parcel")
             for n in range(10)]
    with (tmp_path / "large.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows, *copies, *wrong])
    found = clean_large(tmp_path / "large.csv", tmp_path / "left.csv", select=15, threshold=0.9)
    left = pd.read_csv(tmp_path / "left.csv")
    assert found.rows == 430
    assert found.repaired.tolist() == [10]
    assert set(range(400, 420)) <= set(found.duplicates)
    assert len(left) == 430 - len(found.duplicates)
    assert not set(left["row"]) & set(found.duplicates)
    assert len(set(found.flags["row"]) & set(range(420, 430))) >= 7
    assert len(found.selected) == 15
    assert not set(found.selected) & (set(found.duplicates) | set(found.flags["row"]))


@pytest.mark.parametrize(("content", "said"), [
    (b"a,b\n1,2\n", "no column"), (b"text,label\nx,a\n,b\n", "row 2"), (b"text,label\nx,a\ny,a\n", "one label only"),
    (b"text,label\n\xff,a\n", "UTF-8"), (b"text,label\n", "no rows"),
    (b"text,label\nx,a\nyes, it is,b\n", "more values than columns in row 2")])
def test_a_large_file_that_cannot_be_used_is_refused(content, said, tmp_path):
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        clean_large(tmp_path / "odd.csv", tmp_path / "x.csv")


def test_a_cleaned_file_keeps_its_columns_and_its_separator(tmp_path):
    """Only what the log changed differs from the source."""
    source, target = tmp_path / "own.tsv", tmp_path / "clean.tsv"
    kinds = (("where is my parcel", "delivery"), ("it broke, again", "Device"))
    rows = [f"{n}\tP{n}\t{kinds[n % 2][0]} {n}\t{kinds[n % 2][1]}" for n in range(20)]
    source.write_text("\n".join(["id\tproduct\ttext\tlabel", *rows, "99\tP99\twhere is my parcel 0\tdelivery"]) + "\n")
    clean_file(source, target, tmp_path / "log.jsonl", kind="hashed")
    assert target.read_text() == "\n".join(["id\tproduct\ttext\tlabel", *rows]) + "\n"


def test_near_duplicates_stay_unless_they_are_asked_away(tmp_path):
    """One word of nine differs: different questions, not copies."""
    source = tmp_path / "own.csv"
    rows = [f"what would be a fun fact about {animal},topic{n % 2}" for n, animal in enumerate(
        ("cats", "dogs", "owls", "bees", "cows", "pigs", "rats", "bats", "eels", "ants"))]
    source.write_text("\n".join(["text,label", *rows]) + "\n")
    clean_file(source, tmp_path / "clean.csv", tmp_path / "log.jsonl", kind="hashed")
    assert (tmp_path / "clean.csv").read_text() == source.read_text()


def test_what_a_spreadsheet_would_run_is_written_as_text(tmp_path):
    source = tmp_path / "own.csv"
    rows = ["=1+1", "@sum", "+49 170 000", "-5", "plain"]
    frame = pd.DataFrame({"text": [*rows, "a", "b", "c"], "label": ["x", "y"] * 4})
    frame.to_csv(source, index=False)
    clean_file(source, tmp_path / "clean.csv", tmp_path / "log.jsonl", kind="hashed")
    assert pd.read_csv(tmp_path / "clean.csv", dtype=str)["text"].tolist() == [
        "'=1+1", "'@sum", "'+49 170 000", "-5", "plain", "a", "b", "c"]
