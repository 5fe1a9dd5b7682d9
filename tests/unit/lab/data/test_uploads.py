"""What comes through a browser is read within limits: bombs are refused in a sentence, and the rest as ever."""

import gzip
import json
import random
import re
import time

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_files import FUZZED, damaged
from tiny_tables import ROWS, write_csv

from helpers.lab import InputError
from helpers.lab.data.files import MAX_SENTENCE, MAX_UPLOAD_BYTES, read_frame, read_rows
from helpers.lab.limits import Limits, run_limited
from helpers.lab.paths import UPLOADS, is_upload

HUGE = "x" * 1_000_000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / UPLOADS).mkdir()
    return tmp_path / UPLOADS


@pytest.fixture
def refused(folder):
    """refused(name, content) -> the sentence; this process takes little time and memory for it."""
    def said(name, content):
        (folder / name).write_bytes(content)
        process, start = psutil.Process(), time.monotonic()
        before = process.memory_info().rss
        with pytest.raises(InputError) as caught:
            read_rows(folder / name, "text", "label")
        assert process.memory_info().rss - before < 100e6
        assert time.monotonic() - start < 150
        assert len(str(caught.value)) <= MAX_SENTENCE
        return str(caught.value)

    return said


def bomb(folder, text, rows) -> bytes:
    """A Parquet file of one text and the number of times that it comes; plain text when it is read."""
    column = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [text])
    pq.write_table(pa.table({"text": column, "label": column}), folder / "made.parquet", compression="zstd",
                   store_schema=False, dictionary_pagesize_limit=2**24, row_group_size=rows, data_page_size=2**26,
                   write_page_index=False, write_batch_size=rows, max_rows_per_page=rows)
    return (folder / "made.parquet").read_bytes()


def lines(rows) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.csv.gz"])
def test_an_upload_is_read_as_the_same_file_is_in_the_lesson(tmp_path, folder, name):
    frame = pd.DataFrame([*ROWS, ("=a formula, ümlaut \U0001f600", "Fruit ")], columns=["text", "label"])
    if name.endswith(".jsonl"):
        frame.to_json(tmp_path / name, orient="records", lines=True)
    elif name.endswith(".json"):
        frame.to_json(tmp_path / name, orient="records")
    elif name.endswith(".parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        frame.to_csv(tmp_path / name, index=False, sep="\t" if name.endswith(".tsv") else ",")
    (folder / name).write_bytes((tmp_path / name).read_bytes())
    own, upload = (read_rows(path / name, "text", "label") for path in (tmp_path, folder))
    assert upload.to_dict("list") == own.to_dict("list")
    assert upload.attrs["notes"] == own.attrs["notes"] != ()


def test_only_what_lies_in_the_folder_for_uploads_is_one(tmp_path, folder):
    assert is_upload(folder / "rows.csv")
    assert not is_upload(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"rows\.csv came through a browser"):
        read_frame(write_csv(folder / "rows.csv", ROWS))


def test_a_small_parquet_of_three_million_rows_is_refused(folder, refused):
    content = bomb(folder, "where is my order " * 50, 3_000_000)
    assert len(content) < 100_000
    said = refused("bomb.parquet", content)
    assert "bomb.parquet" in said
    assert "at most 20,000 rows and 200 columns" in said or "may have 20,000" in said


def test_texts_that_unpack_to_gigabytes_are_refused(folder, refused):
    content = bomb(folder, "x" * 100_000, 19_000)
    assert len(content) < 1_000_000
    assert "Upload a part of it" in refused("bomb.parquet", content)


def test_a_packed_table_of_gigabytes_is_refused(refused):
    content = gzip.compress(b"text,label\n" + b"a,b\n" * 10, 9) + gzip.compress(bytes(2**26), 9) * 40
    assert len(content) < MAX_UPLOAD_BYTES
    assert "more than 1 GiB of memory" in refused("bomb.csv.gz", content)


@pytest.mark.parametrize(("name", "content", "said"), [
    ("rows.csv", b"text,label\n" + b"a b c,d\n" * 30_000, "has 30,000 rows and 2 columns"),
    ("rows.jsonl", lines({"text": f"a {row}", "label": "b"} for row in range(30_000)), "has 30,000 rows"),
    ("wide.csv", (",".join(f"c{n}" for n in range(300_000)) + "\n" + "," * 299_999).encode(), "300,000 columns"),
    ("wide.json", json.dumps([{f"c{n}": n for n in range(200_000)}]).encode(), "200,000 columns"),
    ("deep.json", b"[" * 1_000_000 + b"]" * 1_000_000, "deep.json is not JSON"),
    ("deep.jsonl", b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    ("deep.json", b'[{"text": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_000 + b"}]", "deep.json is not JSON"),
    ("number.jsonl", b'{"text": ' + b"9" * 1_000_000 + b', "label": "a"}', "too long a number"),
    ("number.json", b'[{"text": ' + b"9" * 1_000_000 + b"}]", "number.json is not JSON"),
    ("zip.csv", b"PK\x03\x04" + bytes(1000), "NUL bytes"),
    ("sheet.xlsx", b"PK\x03\x04" + bytes(1000), "spreadsheet"),
    ("half.parquet", b"PAR1" + b"\xff" * 1000 + b"PAR1", "cannot be read as PARQUET"),
    ("half.csv.gz", gzip.compress(b"text,label\n" * 1000, mtime=0)[:30], "is it whole?"),
    ("page.html", b"<script>", "is no .csv"),
    ("long.csv", f"{HUGE}a,{HUGE}b\n1,2\n".encode(), "has no column 'text'"),
    ("ids.csv", f"id,text,label\n{HUGE},a,b\n{HUGE},c,d\n".encode(), "repeats the id")])
def test_what_is_too_much_or_broken_is_refused_in_a_short_sentence(refused, name, content, said):
    assert said in refused(name, content)


def test_rows_that_each_name_other_fields_are_refused(refused):
    """A table of 100,000 columns and as many rows would be of 80 GB."""
    content = lines({f"field {row}": 1} for row in range(100_000))
    assert "Upload a part of it" in refused("fields.jsonl", content)


def test_a_file_that_is_too_large_is_not_even_opened(folder, refused):
    assert refused("big.csv", b"a" * (MAX_UPLOAD_BYTES + 100_000)) == (
        "big.csv has 8.1 MB, and an upload may have 8 MB at most. Upload a part of it, or pack it with gzip (.csv.gz).")


@pytest.mark.parametrize(("name", "content", "said"), [
    ("names.csv", b"body,kind\n" + b"where is it now,order\nwhat does it cost,price\n" * 9,
     "Rename the right one, perhaps 'body', to 'text', and choose the file again."),
    ("label.csv", b"text,kind\n" + b"where is it now,order\nwhat does it cost,price\n" * 9,
     "Rename the right one, perhaps 'kind', to 'label', and choose the file again."),
    ("bare.csv", b"where is it right now,order\nwhat does it cost us,price\n" * 9,
     "add a header line with text and label, and choose the file again."),
    ("windows.csv", "text,label\nschön,gut\n".encode("cp1252"), "Save it as UTF-8, and choose it again."),
    ("wide.csv", "text,label\na,b\n".encode("utf-16"), "Save it as UTF-8 text, and choose it again.")])
def test_what_is_said_of_an_upload_can_be_done_on_the_page(tmp_path, refused, name, content, said):
    """A visitor calls no functions; in the lesson, where one does, the same file gets the call."""
    on_page = refused(name, content)
    assert on_page.endswith(said)
    assert not re.search(r"load_task|encoding=|columns=", on_page)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"load_task|encoding="):
        read_rows(tmp_path / name, "text", "label")


def test_fields_that_an_upload_lacks_are_to_be_renamed(folder):
    write_csv(folder / "rows.csv", ROWS)
    with pytest.raises(InputError, match="a JSON object a row to 'found', and choose the file again"):
        read_rows(folder / "rows.csv", "text", "label", fields="found")


FUZZING = """
import time
from pathlib import Path
import psutil
from helpers.lab.data.files import _answer
from helpers.lab.limits import serve

def read(folder):
    found, slowest, before = {}, 0.0, None
    for number, path in enumerate(sorted(Path(folder).iterdir())):
        start = time.process_time()
        request = {"path": str(path), "text": "text", "label": "label", "fields": None, "encoding": None,
                   "columns": None}
        try:
            kind = next(iter(_answer(request)))
        except Exception as error:
            kind = f"{path.name}: {error!r}"
        found[kind] = found.get(kind, 0) + 1
        if number > 100:  # libraries are loaded by then
            slowest = max(slowest, time.process_time() - start)
            before = before or psutil.Process().memory_info().rss
    return {"found": found, "slowest_s": slowest, "growth": psutil.Process().memory_info().rss - before}

serve(read)
"""


@pytest.mark.parametrize(("old", "new"), [
    (b'"index_columns"', b'"index_kolumns"'), (b'"numpy_type"', b'"numpy_tipe"'), (b'"unicode"', b'"unisode"'),
    (b"an apple", b"an appl\xff")])  # no UTF-8
def test_parquet_with_damaged_texts_or_notes_of_pandas_is_refused(old, new, refused, tmp_path):
    table = pa.Table.from_pandas(pd.DataFrame([("an apple", "fruit")] * 6, columns=["text", "label"]))
    notes = table.schema.metadata[b"pandas"]
    assert (old in notes) == old.startswith(b'"')
    table = table.replace_schema_metadata({"pandas": notes.replace(old, new)})
    pq.write_table(table, tmp_path / "a.parquet", compression="NONE")
    content = (tmp_path / "a.parquet").read_bytes()
    assert refused("a.parquet", content.replace(old, new)).startswith("a.parquet cannot be read as PARQUET: ")


def test_whatever_is_damaged_is_read_or_refused_in_a_sentence_soon_and_without_growth(tmp_path, monkeypatch):
    frame = pd.DataFrame([*ROWS, ('say "hi", a;b', "fruit")] * 3, columns=["text", "label"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_parquet(tmp_path / "a.parquet")
    sources, rng = sorted(tmp_path.iterdir()), random.Random(0)
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "fuzzing.py").write_text(FUZZING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "module"))
    (tmp_path / "files").mkdir()
    for number in range(FUZZED):
        source = rng.choice(sources)
        name = source.name if rng.random() < 0.95 else rng.choice(sources).name  # or a file under a false name
        (tmp_path / "files" / f"{number}{name}").write_bytes(damaged(source.read_bytes(), rng))
    read = run_limited("fuzzing", str(tmp_path / "files"), Limits(FUZZED // 10, 2**30, 100_000))
    assert set(read["found"]) == {"rows", "refused"}, read
    assert min(read["found"].values()) > FUZZED / 20
    assert read["slowest_s"] < 1
    assert read["growth"] < 100e6
