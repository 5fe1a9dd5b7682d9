"""A large file goes through in chunks as a small one does; files that cannot be used are refused."""

import csv
import functools
import itertools
import json
import os
import random

import pandas as pd
import pytest
from letter_triples import similarity

from helpers.data_efficiency import clean_file, clean_large, replay
from helpers.data_efficiency.cleaning import large_files
from helpers.lab.errors import InputError


def test_a_large_file_goes_through_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(large_files, "CHUNK", 64)
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
    result = clean_large(tmp_path / "large.csv", tmp_path / "left.csv", tmp_path / "log.jsonl", select=15)
    left = pd.read_csv(tmp_path / "left.csv")
    assert result.rows == 430
    assert result.repaired.tolist() == [10]
    assert result.duplicates.tolist() == list(range(400, 420))
    assert len(left) == 430 - len(result.duplicates)
    assert left["text"].tolist()[:20] == [text.replace("\u00c3\u00a9", "\u00e9") for text, _ in rows[:20]]
    assert result.line.tolist() == list(range(2, 432))
    assert (result.flags["line"] == result.flags["row"] + 2).all()
    assert len(set(result.flags["row"]) & set(range(420, 430))) >= 7
    assert len(result.selected) == 15
    assert not set(result.selected) & (set(result.duplicates) | set(result.flags["row"]))


@pytest.mark.parametrize(("content", "said"), [
    (b"a,b\n1,2\n", "no column"), (b"text,label\nx,a\n,b\n", "row 2"), (b"text,label\nx,a\ny,a\n", "one label only"),
    (b"text,label\n\xff,a\n", "UTF-8"), (b"text,label\n", "no rows"),
    (b"text,label\nx,a\nyes, it is,b\n", "more values than columns in row 2"),
    (b'text,label\nx,a\n"open,b\ny,a\n', "Is a quote not closed"),
    (b'text,label\n"where is,a\nit went",b\nx,a\ny,b\n', "not closed near line 2")])
def test_a_large_file_that_cannot_be_used_is_refused(content, said, tmp_path):
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        clean_large(tmp_path / "odd.csv", tmp_path / "x.csv", tmp_path / "log.jsonl")
    assert not (tmp_path / "x.csv").exists()


def test_it_cleans_as_the_small_one_does(tmp_path, monkeypatch):
    """All columns, the separator, and the same log."""
    monkeypatch.setattr(large_files, "CHUNK", 5)
    lines = [f"{n}\ttext number {n % 10}, so\t{('Billing', 'device')[n % 2]}" for n in range(24)]
    lines[3] = lines[3].replace("device", "DEVICE ")
    lines[6] = lines[6].replace("text", "caf\u00c3\u00a9")
    lines[9] = lines[9].replace("text", "=text")
    lines[12] = lines[12].replace("text number 2, so", '"two\nlines"')
    lines[15] = lines[15].replace("number 5", "number 4")  # as lines 4 and 14, with another label: all stay
    source = tmp_path / "own.tsv"
    source.write_text("\n".join(["key\ttext\tlabel", *lines]) + "\n", encoding="utf-8")
    clean_file(source, tmp_path / "small.tsv", tmp_path / "small.jsonl", kind="hashed")
    clean_large(source, tmp_path / "large.tsv", tmp_path / "large.jsonl")
    assert (tmp_path / "large.tsv").read_bytes() == (tmp_path / "small.tsv").read_bytes()
    small, large = (sorted((tmp_path / name).read_text(encoding="utf-8").splitlines())
                    for name in ("small.jsonl", "large.jsonl"))
    assert large == small
    assert {json.loads(line)["action"] for line in large} == {"fold", "repair", "escape", "drop"}
    replay(source, tmp_path / "large.jsonl", tmp_path / "again.tsv")
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "large.tsv").read_bytes()


def test_near_duplicates_go_on_request_each_for_a_row_that_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(large_files, "CHUNK", 50)
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(300)]
    rows = []
    for n in range(60):
        text = " ".join(rng.choices(words, k=12))
        rows += [(text, "ab"[n % 2]), *((f"{text} {more}", "ab"[n % 2]) for more in ("now", "please", "now please"))]
    source, log = tmp_path / "own.csv", tmp_path / "log.jsonl"
    source.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    assert not len(clean_large(source, tmp_path / "x.csv", log).duplicates)
    result = clean_large(source, tmp_path / "left.csv", log, remove="near", threshold=0.8)
    gone = {entry["row"]: entry for entry in map(json.loads, log.read_text().splitlines())}
    assert sorted(gone) == result.duplicates.tolist()
    assert len(gone) >= 0.98 * 180
    for row, entry in gone.items():
        assert entry["twin"] not in gone
        assert similarity(rows[row][0], rows[entry["twin"]][0]) >= 0.8
    left = [row for row in range(len(rows)) if row not in gone]
    assert pd.read_csv(tmp_path / "left.csv")["text"].tolist() == [rows[row][0] for row in left]
    assert sum(similarity(rows[i][0], rows[j][0]) >= 0.8 for i, j in itertools.combinations(left, 2)) <= 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize(("clean", "more", "limit", "said"), [
    (functools.partial(clean_file, kind="hashed"), 4_000, 100_000, "left.csv cannot be written .* Free some disk"),
    (functools.partial(clean_file, kind="hashed"), 0, 4_000, "log.jsonl cannot be written .* Free some disk"),
    (clean_large, 4_000, 100_000, "left.csv cannot be written .* Free some disk"),
    (clean_large, 0, 4_000, "own.csv needs room for its texts and vectors .* set TMPDIR")])
def test_on_a_full_disk_target_and_log_stay_what_they_were(tmp_path, clean, more, limit, said):
    """A limit on the size of files is met as a full disk is."""
    import resource

    rows = [{"text": f"caf\u00c3\u00a9 and a text of number {n}", "label": "ab"[n % 2], "more": "x" * more}
            for n in range(40)]
    source, target, log = (tmp_path / name for name in ("own.csv", "left.csv", "log.jsonl"))
    pd.DataFrame(rows).to_csv(source, index=False)
    target.write_text("an older target")
    log.write_text("an older log")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match=said):
            clean(source, target, log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (target.read_text(), log.read_text()) == ("an older target", "an older log")
    assert {path.name for path in tmp_path.iterdir()} == {"own.csv", "left.csv", "log.jsonl"}
    clean(source, target, log)
    replay(source, log, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == target.read_bytes()


def test_a_run_that_is_refused_leaves_the_older_log(tmp_path):
    (tmp_path / "log.jsonl").write_text("an older log")
    (tmp_path / "odd.csv").write_text("text,label\nx,a\ny,a\n")
    with pytest.raises(InputError, match="one label only"):
        clean_large(tmp_path / "odd.csv", tmp_path / "x.csv", tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_text() == "an older log"


@pytest.mark.parametrize("clean", [functools.partial(clean_file, kind="hashed"), clean_large])
def test_texts_that_differ_beyond_what_is_read_are_no_copies(tmp_path, clean):
    """They were dropped as exact duplicates of each other; a true copy of so long a text still goes."""
    common = "lorem ipsum " * 8_400
    texts = [f"{common}first", f"{common}second", f"{common}FIRST", *(f"a short text of number {n}" for n in range(20))]
    source = tmp_path / "long.csv"
    pd.DataFrame({"text": texts, "label": ["a", "a", "a", *["a", "b"] * 10]}).to_csv(source, index=False)
    clean(source, tmp_path / "left.csv", tmp_path / "log.jsonl")
    assert pd.read_csv(tmp_path / "left.csv")["text"].tolist() == [texts[0], texts[1], *texts[3:]]
