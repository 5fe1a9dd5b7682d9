"""Where files go, and how small ones are written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from helpers.lab import InputError, Ledger
from helpers.lab.paths import (
    SESSION,
    home,
    is_page,
    is_upload,
    quarantine,
    replacing,
    unwritable,
    uploads,
    visitor_folder,
    write_atomically,
)

ROOT = Path(__file__).parents[3]


def test_text_and_bytes_replace_what_was_there(tmp_path):
    write_atomically(tmp_path / "new" / "file.txt", "grün")
    assert (tmp_path / "new" / "file.txt").read_bytes() == "grün".encode()
    write_atomically(tmp_path / "new" / "file.txt", b"\x00")
    assert (tmp_path / "new" / "file.txt").read_bytes() == b"\x00"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


def test_a_full_disk_is_said_and_the_old_content_stays(tmp_path, monkeypatch):
    file = tmp_path / "file.txt"
    file.write_text("old")

    def full(self, data):
        with open(self, "wb") as target:
            target.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(file), "write_bytes", full)
    with pytest.raises(InputError, match=r"file\.txt cannot be written \(No space left on device\)\. Free some disk"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_quarantined_files_do_not_overwrite_each_other(tmp_path):
    for content in ("first", "second"):
        (tmp_path / "file").write_text(content)
        quarantine(tmp_path / "file")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.damaged-1": "first",
                                                                           "file.damaged-2": "second"}


def test_a_home_that_cannot_be_created_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELPERS_HOME", os.fspath(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match=r"cannot be created .* Set HELPERS_HOME to a folder"):
        home()


@pytest.mark.parametrize("on_a_page", [True, False])
def test_a_visitor_is_not_told_where_the_server_keeps_things(on_a_page, tmp_path, monkeypatch, new_measurement):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELPERS_HOME", os.fspath(tmp_path / "file" / "home"))
    if on_a_page:
        monkeypatch.setenv("VOILA_BASE_URL", "/")
    with pytest.raises(InputError) as of_home:
        home()
    no_room = unwritable(tmp_path / "a.json", OSError(28, "No space left on device", str(tmp_path / "a.json")))
    with pytest.raises(InputError) as of_ledger:
        Ledger(tmp_path / "file" / "ledger.sqlite").put(new_measurement())
    for said in (str(of_home.value), str(no_room), str(of_ledger.value)):
        assert (str(tmp_path) in said) == (not on_a_page), said


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0,
                    reason="only root can become a user whom the system does not list")
def test_a_user_without_a_home_is_told_what_to_set():
    script = "import os; from helpers.lab.paths import home; os.setuid(54321); home()"
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("HOME", "HELPERS_HOME") and not name.startswith("XDG_")}
    done = subprocess.run([sys.executable, "-c", script], env=environment | {"PYTHONPATH": str(ROOT)},
                          check=False, capture_output=True, text=True)
    assert "InputError: This system names no home folder of yours: set HELPERS_HOME" in done.stderr


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error (os error 28)")])
def test_a_full_disk_met_by_any_writer_is_a_sentence(tmp_path, error):
    def write():
        with replacing(tmp_path / "rows.csv") as unfinished:
            unfinished.write_text("half")
            raise error

    (tmp_path / "rows.csv").write_text("old")
    with pytest.raises(InputError, match=r"rows\.csv cannot be written \(.*\)\. Free some disk space"):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"rows.csv": "old"}


def test_a_replacement_makes_its_folder_and_replaces_a_file(tmp_path):
    for text in ("first", "second"):
        with replacing(tmp_path / "new" / "file.txt") as unfinished:
            unfinished.write_text(text)
    assert {path.name: path.read_text() for path in (tmp_path / "new").iterdir()} == {"file.txt": "second"}


@pytest.mark.skipif(os.name == "nt", reason="modes of users are Unix's")
def test_modes_follow_the_umask_whatever_the_writer_did(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "folder") as unfinished:
            (unfinished / "inner").mkdir(parents=True, mode=0o700)
            (unfinished / "inner" / "weights").touch(mode=0o600)
    finally:
        os.umask(before)
    written = [tmp_path / "folder", *(tmp_path / "folder").rglob("*")]
    modes = {path.name: path.stat().st_mode & 0o777 for path in written}
    assert modes == {"folder": 0o750, "inner": 0o750, "weights": 0o640}


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail():
        with replacing(tmp_path / "rows.csv") as unfinished:
            assert unfinished.suffix == ".csv"
            unfinished.mkdir()
            (unfinished / "half").write_text("")
            raise ZeroDivisionError

    (tmp_path / "rows.csv").write_text("old")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"rows.csv": "old"}


@pytest.mark.parametrize("variable", ["VOILA_PREHEAT", "VOILA_REQUEST_URL", SESSION])
def test_a_page_is_known_by_what_its_server_says(monkeypatch, tmp_path, fresh_home, variable):
    assert not is_page()
    assert visitor_folder() == home()
    monkeypatch.setenv(variable, str(tmp_path / "visitor"))
    assert is_page()
    assert visitor_folder() != home()
    assert is_upload(uploads() / "rows.csv")


def test_a_session_without_a_server_ends_with_its_process():
    script = ("from helpers.lab.paths import session, uploads, write_atomically; "
              "write_atomically(uploads() / 'a', b'');"
              "assert session() == session() and uploads().parent == session(); print(session())")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("compute-smarter-session-")
    assert not folder.exists()
