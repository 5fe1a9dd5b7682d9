"""Whatever a browser sends and says of it, one file of a bounded size lies in the session's folder, or none."""

import pytest

from helpers.app.panels.frame import Status
from helpers.app.panels.uploads import LONGEST_NAME, Upload, file_name
from helpers.lab.data.files import MAX_UPLOAD_BYTES
from helpers.lab.paths import SESSION, uploads


@pytest.fixture
def upload(tmp_path, monkeypatch):
    """A button on a page, whose session's folder is the test's."""
    monkeypatch.setenv(SESSION, str(tmp_path))
    return Upload("Your file", Status())


def send(upload, content, name="rows.csv", size=None):
    upload._handle_custom_msg({"name": name, "size": len(content) if size is None else size}, [memoryview(content)])


def files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in uploads().rglob("*") if path.is_file()}


def test_a_file_arrives_and_the_next_one_takes_its_place(upload, tmp_path):
    send(upload, b"text,label\n")
    assert upload.file == tmp_path / "uploaded-files" / "rows.csv"
    assert "rows.csv has arrived (0.000011 MB)" in upload._status.value
    send(upload, b"other", "other.csv")
    assert files() == {"other.csv": b"other"}


@pytest.mark.parametrize("content", [None, bytes(MAX_UPLOAD_BYTES + 1)], ids=["as the page says", "sent all the same"])
def test_a_file_that_is_too_large_is_said_and_the_old_one_is_not_taken_for_it(upload, content):
    send(upload, b"old")
    upload._handle_custom_msg({"name": "big.csv", "size": 12_345_678}, [memoryview(content)] if content else [])
    assert "big.csv has" in upload._status.value
    assert "an upload may have 8 MB at most" in upload._status.value
    assert "error" in upload._status.value
    assert upload.file is None
    assert files() == {}


def test_a_file_that_the_browser_could_not_read_is_said(upload):
    upload._handle_custom_msg({"name": "gone.csv", "size": 5}, [])
    assert "could not read gone.csv" in upload._status.value
    assert upload.file is None


NAMES = ["../../../etc/passwd", "..\\..\\rows.csv", "C:\\rows.csv", "/etc/passwd", "..", ".", "", "...", "a\0b.csv",
         "a\nb.csv", "\u202evsc.exe", "\ud83d.csv", "x" * 9_999 + ".csv", "\U0001f600" * 999 + ".csv", "-rf", "~/.ssh",
         "%2e%2e%2fpasswd", "<img src=x>.csv", "$(reboot).csv", "CON", None, 5, ["a"], {"a": "/etc/passwd"}]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_whatever_a_file_is_called_it_lies_in_the_sessions_folder(upload, name):
    send(upload, b"content", name)
    assert upload.file.resolve().parent == uploads().resolve()
    assert files() == {upload.file.name: b"content"}
    assert len(upload.file.name) <= LONGEST_NAME
    assert "<img" not in upload._status.value


def test_a_name_keeps_its_ending_and_its_letters():
    assert file_name("Tabelle für Übung (2).csv.gz") == "Tabelle für Übung (2).csv.gz"
    assert file_name("a" * 100 + ".jsonl").endswith("a.jsonl")


@pytest.mark.parametrize("message", [None, "x", [], 5, {"size": "5"}, {"name": "a", "size": -1}, {"size": True},
                                     {"size": 1e308}, {"size": float("nan")}, {"name": {}, "size": {}}])
def test_an_odd_message_is_answered_with_a_sentence_and_leaves_nothing(upload, message):
    send(upload, b"old")
    upload._handle_custom_msg(message, [])
    assert "error" in upload._status.value
    assert upload.file is None
    assert files() == {}


def test_a_full_disk_is_said(upload, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(uploads()), "write_bytes", full)
    send(upload, b"content")
    assert "rows.csv cannot be written (No space left on device)" in upload._status.value
    assert upload.file is None
