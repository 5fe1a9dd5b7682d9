"""Batch inference of a user's file: nothing lost, nothing doubled."""

import csv
import os
import signal
import sys
import threading
import time

import pandas as pd
import pytest

from helpers.cloud_distributed import batch_inference
from helpers.cloud_distributed.batch_inference import predict_file
from helpers.lab import InputError


def lengths():
    return lambda texts: [len(text) for text in texts]


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    pd.DataFrame({"id": range(200), "text": ["x" * (n % 37) + "é" for n in range(200)]}).to_csv(path, index=False)
    return path


def test_what_cannot_be_read_or_written_is_refused_before_anything_starts(rows, tmp_path):
    empty, broken = tmp_path / "empty.csv", tmp_path / "broken.jsonl"
    empty.write_text("text\n")
    broken.write_text('{"text": ')
    for path, output, settings, message in [
            (tmp_path / "none.csv", "o.csv", {}, "There is no file none.csv"),
            (rows, "o.csv", {"text": "body"}, "no column 'body'. Its columns: id, text. Name the right one with text="),
            (rows, "o.xlsx", {}, "o.xlsx is no .csv, .tsv, .jsonl, .parquet file"),
            (rows, "o.csv", {"column": "id"}, "already has a column 'id'"),
            (rows, "o.csv", {"workers": 0}, "counted from 1"),
            (empty, "o.csv", {}, "empty.csv has no rows"),
            (broken, "o.csv", {}, "broken.jsonl line 1 is not JSON")]:
        with pytest.raises(InputError, match=message):
            predict_file(path, tmp_path / output, lengths, **settings)
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()


def test_a_file_is_read_as_a_task_reads_it(tmp_path):
    """pandas alone takes the first of three values under two names as an index, and all columns shift."""
    path = tmp_path / "shifted.csv"
    path.write_text("id,text\n1,hello, world\n")
    with pytest.raises(InputError, match=r"than the header has columns .line 2.\. Put texts that hold a comma"):
        predict_file(path, tmp_path / "o.csv", lengths)


def test_answers_are_written_safe_for_a_spreadsheet(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_inference, "_answers", lambda texts, *_: ["=1+1", "-5"])
    (tmp_path / "own.csv").write_text('text,n\n=A1,-1\n"a\rb",2\n')
    for name, separator in (("o.csv", ","), ("o.tsv", "\t")):
        predict_file(tmp_path / "own.csv", tmp_path / name, lengths)
        with (tmp_path / name).open(newline="") as file:
            assert list(csv.reader(file, delimiter=separator)) == [
                ["text", "n", "prediction"], ["'=A1", "-1", "'=1+1"], ["a\rb", "2", "-5"]]


def test_without_ray_the_reader_is_told_what_to_install(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(InputError, match="pip install ray"):
        predict_file(rows, tmp_path / "o.csv", lengths)
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(rows, tmp_path):
    ray = pytest.importorskip("ray", reason="ray is an optional extra (cluster)")
    diary, killed = tmp_path / "diary", []

    def slow_lengths():
        def predict(texts):
            with diary.open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.3)
            return [len(text) for text in texts]
        return predict

    def kill_one_at_work():
        while not killed:
            time.sleep(0.05)
            at_work = diary.read_text().split() if diary.exists() else []
            if len(at_work) >= 4:
                killed.append(at_work[-1])
                os.kill(int(at_work[-1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one_at_work, daemon=True)
    killer.start()
    run = predict_file(rows, tmp_path / "out.parquet", slow_lengths, batch_size=10, workers=2)
    killer.join(timeout=10)

    written = pd.read_parquet(run.output)
    assert written["id"].tolist() == [str(n) for n in range(200)]
    assert written["prediction"].tolist() == [n % 37 + 1 for n in range(200)]
    assert killed
    assert len(diary.read_text().split()) > 20  # the batch in hand was done again
    assert len(set(diary.read_text().split())) > 2  # by another worker or its replacement
    assert f"200 rows answered by {run.workers} workers" in run.sentence()
    assert not list(tmp_path.glob(".unfinished*"))
    assert not ray.is_initialized()  # what was started here is stopped here
