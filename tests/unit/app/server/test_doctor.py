"""The doctor of a published server sees what is open, wrong or missing, and changes nothing."""

import contextlib
import datetime
import http.server
import importlib.metadata
import json
import os
import socket
import ssl
import threading

import pytest
from own_certificate import write_certificate
from served_pages import pages
from servers import free_port

from helpers import doctor as machine
from helpers.app.server import doctor


class Other(http.server.BaseHTTPRequestHandler):
    """A program that answers everybody alike, as a server without a proxy does."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"something else")

    def log_message(self, *_arguments):
        """Say nothing."""


@contextlib.contextmanager
def answering(address="127.0.0.1", context=None):
    """The port of another program's server."""
    server = http.server.ThreadingHTTPServer((address, 0), Other)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Where these pages listen."""
    with pages(tmp_path_factory.mktemp("pages"), "--pool", "0") as address:
        yield int(address.rsplit(":", 1)[1].strip("/"))


def test_a_free_port_one_of_ours_and_one_of_others_are_told_apart(port):
    assert doctor.port(free := free_port()) == machine.Check("port", True, f"{free} is free")
    assert doctor.port(port) == machine.Check("port", True, f"these pages answer on {port}")
    with answering() as other:
        check = doctor.port(other)
    assert not check.ok
    assert f"PORT={other + 1}" in check.cure


def test_a_port_that_listens_but_never_answers_is_taken(monkeypatch):
    monkeypatch.setattr(doctor, "WAIT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not doctor.port(silent.getsockname()[1]).ok


def test_a_door_that_others_can_reach_is_seen(port):
    assert doctor.doors(port).details == f"{port} is open to this machine only"
    assert doctor.doors(free_port()).ok
    with answering("0.0.0.0") as other:
        check = doctor.doors(other)
    assert (check.ok, check.details) == (False, f"{other} is open on 0.0.0.0")


def test_a_server_that_answers_to_any_name_is_seen(port):
    assert doctor.hosts(port).details == "a stranger's name gets status 403"
    assert doctor.hosts(port).ok
    assert doctor.hosts(free_port()).ok
    with answering() as other:
        assert not doctor.hosts(other).ok


@pytest.mark.parametrize(("server", "ok"), [
    ({"token": "x", "password": False}, True), ({"token": "", "password": True}, True),
    ({"token": "", "password": False}, False), ({"token": "", "password": False, "pid": 2**22 + 1}, True)])
def test_jupyter_servers_without_a_token_are_seen(tmp_path, monkeypatch, server, ok):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "jpserver-1.json").write_text(json.dumps({"pid": os.getpid(), "port": 8888, **server}))
    (tmp_path / "jpserver-2.json").write_text("{")  # being written
    check = doctor.notebooks()
    assert check.ok is ok
    assert ok or "8888" in check.details
    assert len(list(tmp_path.iterdir())) == 2, "a stale file is Jupyter's to remove"


def test_packages_that_differ_from_the_lock_are_named(tmp_path):
    lock, own = tmp_path / "requirements.lock", importlib.metadata.version("pytest")
    lock.write_text(f"pytest=={own} \\\n    --hash=sha256:0\nruff==0.0.1 \\\nno-such-package==1.0 \\\n"
                    "no-such-either==1.0 ; sys_platform == 'darwin' \\\nnumpy==0.1 ; python_version < '3' \\\n"
                    f"numpy=={importlib.metadata.version('numpy')} ; python_version > '3' \\\n")
    check = doctor.packages([lock])
    assert not check.ok
    ruff = importlib.metadata.version("ruff")
    assert check.details == f"ruff {ruff} instead of 0.0.1; no-such-package is missing"
    lock.write_text("".join(f"no-such-package-{n}==1 \\\n" for n in range(9)))
    assert doctor.packages([lock]).details.endswith("; and 4 more")


def test_the_installed_packages_are_those_of_the_lock():
    assert doctor.packages().ok, doctor.packages().details


def test_a_folder_for_results_is_looked_at_and_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "new" / "home"))
    check = doctor.writable()
    assert check.ok
    assert check.details.startswith(f"{tmp_path} can be written")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "file" / "home"))
    assert not doctor.writable().ok


def test_a_full_disk_is_seen(monkeypatch, tmp_path):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "MIN_DISK_GB", 1e9)
    assert not doctor.writable().ok


def test_a_clock_that_was_set_back_is_seen():
    assert doctor.clock().ok
    assert not doctor.clock(datetime.date(2020, 1, 1)).ok


def test_a_site_that_nobody_protects_fails_each_check_with_a_cure():
    with answering() as other:
        address = f"http://127.0.0.1:{other}/"
        checks = [doctor.certificate(address), doctor.redirect(address, other), doctor.sign_in(address),
                  doctor.headers(address, ""), doctor.strangers(address, ""), doctor.websockets(address, "")]
    assert [check.ok for check in checks] == [False] * 6
    assert all(check.cure for check in checks)


@pytest.mark.parametrize(("days", "trusted", "ok", "said"), [
    (30, True, True, "30 days left"), (3, True, False, "3 days left"), (30, False, False, "browsers refuse it"),
    (-1, True, False, "browsers refuse it")])
def test_a_certificate_is_judged_as_browsers_do(tmp_path, monkeypatch, days, trusted, ok, said):
    write_certificate(tmp_path / "tls", days)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(tmp_path / "tls" / "apps.pem", tmp_path / "tls" / "apps.key")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls" / "apps.pem"))
    with answering(context=own) as number:
        check = doctor.certificate(f"https://localhost:{number}/")
    assert check.ok is ok
    assert said in check.details


def test_a_site_that_does_not_answer_is_a_sentence():
    address = f"https://localhost:{free_port()}/"
    silent = [check for check in list(doctor.results(free_port(), address))[-7:] if check.name != "plain HTTP"]
    assert [check.ok for check in silent] == [False] * 6
    assert {check.details.split(" (")[0] for check in silent} == {"no answer"}


@pytest.mark.parametrize(("options", "said"), [
    (["--port", "99999"], "There is no port 99999"), (["--url", "apps.example.org"], "names no machine")])
def test_wrong_options_are_sentences(options, said, capsys):
    with pytest.raises(SystemExit) as ended:
        doctor.main(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_it_prints_and_how_it_ends_say_the_same_and_nothing_is_written(tmp_path, monkeypatch, capsys, port):
    monkeypatch.setenv("HELPERS_HOME", str(tmp_path / "home"))
    code = doctor.main(["--port", str(port)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert code == (1 if any(line.startswith("[fail]") for line in lines) else 0)
    assert all(" -> " in line for line in lines if line.startswith("[fail]"))
    assert not (tmp_path / "home").exists()
