"""A file comes out clean, with a log that replays, in memory or in chunks; odd files are refused."""

import csv
import gzip
import itertools
import json
import shutil

import pandas as pd
import pytest
from letter_triples import similarity

from helpers.data_efficiency import clean_file, doubtful_rows, replay
from helpers.lab.errors import InputError
from helpers.lab.paths import UPLOADS

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
    doubtful = clean_file(own_file, clean, log, text="body", label="kind", kind="hashed")
    rows = pd.read_csv(clean)
    assert own_file.read_bytes() == before
    assert list(rows.columns) == ["body", "kind"]
    assert len(rows) == 83
    assert "caf\u00e9 parcel is late" in set(rows["body"])
    assert (rows["body"] == pd.read_csv(own_file)["body"][7]).sum() == 2, "copies that disagree wait for a person"
    assert 83 in set(doubtful["row"]), "the copy with the other label"
    replay(own_file, log, again, text="body", label="kind")
    assert again.read_bytes() == clean.read_bytes()
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(entry["action"], entry["row"], entry["line"]) for entry in entries] == [
        ("repair", 80, 82), ("drop", 81, 83), ("drop", 82, 84)]
    assert [(entry["twin"], entry["twin_line"], entry["similarity"]) for entry in entries[1:]] == [
        (3, 5, 1.0), (50, 52, 1.0)]
    assert (doubtful["line"] == doubtful["row"] + 2).all()


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
    for options, said in (({"kind": "words"}, "Unknown vectors"), ({"remove": "all"}, "Unknown duplicates 'all'"),
                          ({"threshold": 0.8}, 'pass remove="near"')):
        with pytest.raises(InputError, match=said):
            clean_file(own_file, tmp_path / "c.csv", tmp_path / "log.jsonl", text="body", label="kind", **options)


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


def read(log) -> list[dict]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_on_request_near_duplicates_go_each_for_a_row_that_stays(tmp_path):
    """Texts in a chain, each near to the next: some stay, and each that goes is near to one of them."""
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    rows = [(" ".join(words[start:start + 12]), "x") for start in range(15)]
    rows += [(f"{text} again", "y") for text in ("where is it", "I want my money", "the lamp is broken")]
    rows += [(rows[0][0] + ".", "x"), (rows[-1][0] + "!", "x"), (rows[-2][0] + "?", "y")]
    source, log = tmp_path / "own.csv", tmp_path / "log.jsonl"
    source.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    clean_file(source, tmp_path / "clean.csv", log, kind="hashed", remove="near", threshold=0.7)
    gone = {entry["row"]: entry for entry in read(log)}
    assert {entry["action"] for entry in gone.values()} == {"drop"}
    assert {18, 20} <= set(gone)
    assert not {0, 17, 19} & set(gone), "19 has another label than 17: a person decides"
    for row, entry in gone.items():
        assert entry["twin"] not in gone
        assert entry["similarity"] == pytest.approx(similarity(rows[row][0], rows[entry["twin"]][0]), abs=1e-3)
        assert entry["similarity"] >= 0.7
        assert rows[row][1] == rows[entry["twin"]][1]
    left = pd.read_csv(tmp_path / "clean.csv")["text"].tolist()
    assert left == [text for row, (text, _) in enumerate(rows) if row not in gone]
    assert max(similarity(one, other) for one, other in itertools.combinations(left[:4], 2)) < 0.9
    replay(source, log, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "clean.csv").read_bytes()


def test_folded_labels_cut_texts_and_formulas_stand_in_the_log(tmp_path):
    rows = [[f"text number {n}", ("Billing", "device")[n % 2], "plain"] for n in range(12)]
    rows[3][1], rows[4][1], rows[5][2] = "DEVICE ", "billing", "=1+1"
    rows[6][0] = "caf\u00c3\u00a9 " + "long " * 25_000
    source, log = tmp_path / "own.csv", tmp_path / "log.jsonl"
    pd.DataFrame(rows, columns=["text", "label", "note"]).to_csv(source, index=False)
    clean_file(source, tmp_path / "clean.csv", log, kind="hashed")
    said = [(entry["action"], entry["line"]) for entry in read(log)]
    assert said == [("fold", 5), ("fold", 6), ("cut", 8), ("repair", 8), ("escape", 7)]
    left = pd.read_csv(tmp_path / "clean.csv")
    assert set(left["label"]) == {"Billing", "device"}
    assert left["text"][6] == "caf\u00e9 " + "long " * 25_000, "cut for the models only"
    assert left["note"].tolist() == ["plain"] * 5 + ["'=1+1"] + ["plain"] * 6
    replay(source, log, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "clean.csv").read_bytes()


@pytest.mark.parametrize("name", ["own.csv", "own.csv.gz"])
def test_a_windows_file_without_a_header_is_cleaned_as_it_is_read(name, tmp_path):
    content = "".join(f"kind{n % 2};caf\u00e9 number {n} for 5 \u20ac\n" for n in range(12)).encode("cp1252")
    source = tmp_path / name
    source.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    options = {"encoding": "cp1252", "columns": ["label", "text"]}
    clean_file(source, tmp_path / "clean.csv", tmp_path / "log.jsonl", kind="hashed", **options)
    assert (tmp_path / "clean.csv").read_text(encoding="utf-8") == "label;text\n" + content.decode("cp1252")
    assert doubtful_rows(source, kind="hashed", **options)["lines"] == list(range(1, 13))
    replay(source, tmp_path / "log.jsonl", tmp_path / "again.csv", **options)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "clean.csv").read_bytes()


def test_blanks_around_a_columns_name_add_no_column(tmp_path):
    source = tmp_path / "own.csv"
    source.write_text("text, kind\n" + "".join(f"text number {n},{'AB'[n % 2]}\n" for n in range(12)))
    clean_file(source, tmp_path / "clean.csv", tmp_path / "log.jsonl", label="kind", kind="hashed", relabel_above=2.0)
    assert list(pd.read_csv(tmp_path / "clean.csv").columns) == ["text", "kind"]


def test_a_folder_of_texts_becomes_a_table(tmp_path):
    for n in range(12):
        (tmp_path / "texts" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "texts" / "ab"[n % 2] / f"{n}.txt").write_text(f"text number {n % 10}")
    clean_file(tmp_path / "texts", tmp_path / "clean.csv", tmp_path / "log.jsonl", kind="hashed")
    assert len(pd.read_csv(tmp_path / "clean.csv")) == 10
    assert [entry["action"] for entry in read(tmp_path / "log.jsonl")] == ["drop"] * 2


def test_what_a_spreadsheet_would_run_is_written_as_text(tmp_path):
    source = tmp_path / "own.csv"
    rows = ["=1+1", "@sum", "+49 170 000", "-5", "plain"]
    frame = pd.DataFrame({"text": [*rows, "a", "b", "c"], "label": ["x", "y"] * 4})
    frame.to_csv(source, index=False)
    clean_file(source, tmp_path / "clean.csv", tmp_path / "log.jsonl", kind="hashed")
    assert pd.read_csv(tmp_path / "clean.csv", dtype=str)["text"].tolist() == [
        "'=1+1", "'@sum", "'+49 170 000", "-5", "plain", "a", "b", "c"]


def test_nothing_of_an_upload_is_kept(own_file, fresh_home, tmp_path):
    """The vectors of a stranger's texts stayed in the cache for ever."""
    upload = tmp_path / UPLOADS / "own.csv"
    upload.parent.mkdir()
    shutil.copy(own_file, upload)
    uploaded = doubtful_rows(upload, text="body", label="kind")
    assert [path for path in fresh_home.rglob("*") if path.is_file()] == []
    own = doubtful_rows(own_file, text="body", label="kind")
    assert list((fresh_home / "cache" / "embeddings").iterdir()) != []
    pd.testing.assert_frame_equal(uploaded["flags"], own["flags"])
    assert (uploaded["texts"], uploaded["lines"]) == (own["texts"], own["lines"])
