"""deploy/nginx.conf, run by nginx on this machine alone, before the real pages."""

import base64
import contextlib
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from own_certificate import write_certificate
from served_pages import SLIDER, Line, connected, pages
from servers import free_port
from test_deploy import last
from websockets.exceptions import InvalidStatus

from helpers.app.server import doctor
from helpers.app.server.frames import PROTOCOL

ROOT = Path(__file__).parents[2]
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/opt/homebrew/bin")
READERS = ("ada", "bob", "cyd")  # each has limits of their own
WORD = "a-long-password"
BURST_OPENS, BURST_ASKS, LINES = 10, 200, 30  # as deploy/README.md says; test_deploy.py holds it to nginx.conf
ROUTES = ["/", "/doctor", "/voila/render/page.ipynb", "/voila/files/x.png", "/api/kernels/a-b-c-d-e/channels",
          "/voila/query/a-b-c-d-e", "/voila/api/shutdown/a", "/nothing"]

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed: apt-get install nginx-light brings it")


class Site(NamedTuple):
    """Ports, a context that trusts the certificate, and the pages behind."""

    https: int
    http: int
    trusting: ssl.SSLContext
    certificate: Path
    pages: str

    def get(self, path: str, user: str = "", *, method: str = "GET", body: bytes | None = None, source: str = "",
            **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
        with self.line(source) as line:
            return say(line, path, user, method, body, headers)

    @contextlib.contextmanager
    def line(self, source: str = "") -> Iterator[http.client.HTTPSConnection]:
        """A connection that several requests may share, from an address of this machine."""
        line = http.client.HTTPSConnection("localhost", self.https, timeout=30, context=self.trusting,
                                           source_address=(source, 0) if source else None)
        with contextlib.closing(line):
            yield line

    def websocket(self, path: str, user: str, **options: Any) -> Any:
        return connected(f"https://localhost:{self.https}/", path, ssl=self.trusting,
                         additional_headers=signed_in(user), **options)


def say(line: http.client.HTTPConnection, path: str, user: str = "", method: str = "GET", body: bytes | None = None,
        headers: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage, str]:
    line.request(method, path, body, {**(headers or {}), **signed_in(user)})
    answer = line.getresponse()
    return answer.status, answer.headers, answer.read().decode(errors="replace")


def signed_in(user: str, word: str = WORD) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"} if user else {}


def configure(folder: Path, https: int, plain: int) -> Path:
    """deploy/nginx.conf with this test's places, in a main file as a distribution has one."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in ((r"apps\.example\.org", "localhost"), (r"listen 80\b", f"listen 127.0.0.1:{plain}"),
                     (r"listen 443\b", f"listen 127.0.0.1:{https}"), (r"/run/apps/apps\.sock", f"{folder}/door"),
                     (r"/etc/nginx/", f"{folder}/")):
        text, count = re.subn(old, new, text)
        assert count, old
    (folder / "apps.conf").write_text(text)
    (folder / "apps.users").write_text("".join(f"{user}:{{PLAIN}}{WORD}\n" for user in READERS))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    user = "user root;" if os.geteuid() == 0 else ""  # the folders of tests are their owner's alone
    main = folder / "nginx.conf"
    main.write_text(f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; events {{}}\n"
                    f"http {{ access_log off; {temporary} include {folder}/apps.conf; }}\n")
    return main


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    pytest.fail("nginx did not start")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    folder, https, plain = tmp_path_factory.mktemp("site"), free_port(), free_port()
    write_certificate(folder / "tls")
    command = [NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(configure(folder, https, plain))]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    certificate = folder / "tls" / "apps.pem"
    with pages(folder, "--pool", "1", "--socket", str(folder / "door")) as behind, subprocess.Popen(command) as nginx:
        try:
            wait_for(https)
            yield Site(https, plain, ssl.create_default_context(cafile=certificate), certificate, behind)
        finally:
            nginx.terminate()


def test_plain_http_leads_to_tls_and_shows_nothing(site):
    with contextlib.closing(http.client.HTTPConnection("localhost", site.http, timeout=30)) as line:
        for path in ("/", "/doctor", "/voila/render/page.ipynb?base=1"):
            status, headers, text = say(line, path)
            assert (status, headers["Location"]) == (301, f"https://localhost{path}")
            assert "Compute smarter" not in text


@pytest.mark.parametrize("path", ROUTES)
def test_nobody_sees_anything_without_signing_in(site, path):
    for headers in ({}, signed_in("ada", "guess"), signed_in("nobody"), {"Authorization": "Basic ?"},
                    {"Authorization": "Bearer x"}, {"X-Forwarded-User": "ada"}):
        status, result, text = site.get(path, **headers)
        assert status == 401
        assert result["WWW-Authenticate"] == 'Basic realm="Compute smarter"'
        assert "kernelId" not in text


def test_who_signs_in_sees_the_pages_with_all_that_protects_them(site):
    status, headers, text = site.get("/", "ada")
    assert status == 200
    assert "Compute smarter" in text
    assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Server"] == "nginx"


def test_what_nginx_itself_says_is_protected_too(site):
    for status, path, options in ((401, "/", {}), (405, "/", {"user": "ada", "method": "DELETE"}),
                                  (413, "/", {"user": "ada", "method": "POST", "body": bytes(100_000)})):
        answer = site.get(path, **options)
        assert answer[0] == status
        assert answer[1]["Strict-Transport-Security"]
        assert answer[1]["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_no_other_method_reaches_the_pages(site, method):
    assert site.get("/voila/render/page.ipynb", "ada", method=method)[0] in (400, 405)


def test_an_endless_address_is_refused(site):
    assert site.get(f"/?{'x' * 20_000}", "ada")[0] == 414


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost.evil.example", "evil.example:443"])
def test_another_name_is_not_answered(site, host):
    for user in ("", "ada"):
        status, _, text = site.get("/", user, Host=host)
        assert status in (400, 421)
        assert "Compute smarter" not in text
    with contextlib.closing(http.client.HTTPConnection("localhost", site.http, timeout=30)) as line:
        assert say(line, "/", headers={"Host": host})[0] in (400, 421)


def test_another_name_gets_no_certificate(site):
    with socket.create_connection(("127.0.0.1", site.https), timeout=30) as plain, pytest.raises(ssl.SSLError):
        ssl._create_unverified_context().wrap_socket(plain, server_hostname="evil.example")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_not_spoken(site, version):
    context = ssl._create_unverified_context()
    context.set_ciphers("ALL:@SECLEVEL=0")  # else it is this side that refuses
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
    with socket.create_connection(("127.0.0.1", site.https), timeout=30) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="localhost")


def test_a_page_opens_and_its_line_to_the_kernel_passes(site):
    status, _, text = site.get("/voila/render/page.ipynb", "ada")
    assert status == 200
    kernel = re.search(r"kernelId\W+([0-9a-f-]{36})", text)[1]
    own = f"https://localhost:{site.https}"
    line = Line(f"{own}/", kernel, ssl=site.trusting, additional_headers=signed_in("ada"), origin=own)
    model, state = line.find("the slider")
    assert state["value"] == SLIDER
    line.send("comm_msg", {"comm_id": model, "data": {"method": "update", "state": {"value": 9}, "buffer_paths": []}})
    assert line.find("the slider")[1]["value"] == 9
    path = f"api/kernels/{kernel}/channels"
    for user, origin, refused in (("", own, 401), ("ada", "https://evil.example", 403)):
        with pytest.raises(InvalidStatus) as error:
            site.websocket(path, user, origin=origin, subprotocols=[PROTOCOL])
        assert error.value.response.status_code == refused
    line.socket.send(b"\xff" * 8)
    line.socket.close()


def test_upgrades_pass_for_lines_to_kernels_alone(site):
    for path in ("", "voila/render/nothing.ipynb", "voila/static/x"):
        with pytest.raises(InvalidStatus) as error:
            site.websocket(path, "ada")
        assert error.value.response.status_code in (200, 400, 403, 404)


def until_limited(line: http.client.HTTPConnection, path: str, user: str, tries: int) -> list[int]:
    """The statuses of the same request, again and again, to the first 429."""
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < tries:
        statuses.append(say(line, path, user)[0])
    return statuses


def test_a_visitor_opens_so_many_pages_and_others_go_on(site):
    """A page that is not there starts no kernel, and counts."""
    with site.line() as line:
        *passed, limited = until_limited(line, "/voila/render/nothing.ipynb", "bob", 200)
    assert set(passed) == {404}
    assert (len(passed) > BURST_OPENS, limited) == (True, 429)
    assert site.get("/voila/render/nothing.ipynb", "ada")[0] == 404
    assert site.get("/", "bob")[0] == 200


def test_guessing_passwords_is_limited_by_address(site):
    with site.line("127.0.0.2") as line:
        *passed, limited = until_limited(line, "/", "", 5_000)
    assert set(passed) == {401}
    assert (len(passed) > BURST_ASKS, limited) == (True, 429)
    assert site.get("/", "ada")[0] == 200


def test_a_visitor_holds_so_many_lines_and_others_go_on(site):
    with contextlib.ExitStack() as stack:
        for _ in range(LINES):
            stack.enter_context(site.websocket(f"voila/query/{uuid.uuid4()}", "cyd"))
        with pytest.raises(InvalidStatus) as error:
            site.websocket(f"voila/query/{uuid.uuid4()}", "cyd")
        assert error.value.response.status_code == 429
        assert site.get("/", "ada")[0] == 200


def test_the_doctor_finds_nothing_wrong_with_it(site):
    address = f"https://localhost:{site.https}/"
    command = [sys.executable, "-m", "helpers.app.server.doctor", "--url", address, "--user", "ada", "--port",
               site.pages.split(":")[2].strip("/")]
    run = subprocess.run(command, cwd=ROOT, input=f"{WORD}\n", capture_output=True, text=True,
                         env={**os.environ, "SSL_CERT_FILE": str(site.certificate)})
    lines = run.stdout.splitlines()
    for name in ("port", "open doors", "allowed hosts", "certificate", "sign-in", "clocks", "headers", "other names",
                 "websockets"):
        assert [line for line in lines if line.startswith(f"[ok] {name}: ")], (name, run.stdout, run.stderr)
    assert "these pages answer" in run.stdout
    assert "30 days left" in run.stdout
    assert WORD not in run.stdout


def test_the_doctor_sees_the_redirect_and_what_a_bare_server_lacks(site, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(site.certificate))
    assert doctor.redirect(f"https://localhost:{site.https}/", site.http).ok
    assert not doctor.headers(f"https://localhost:{site.https}/", "").ok
    assert doctor.websockets(site.pages, "").ok
    for check in (doctor.sign_in(site.pages), doctor.headers(site.pages, ""), doctor.certificate(site.pages),
                  doctor.redirect(site.pages, int(site.pages.split(":")[2].strip("/")))):
        assert not check.ok
        assert check.cure
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "browsers refuse it" in doctor.certificate(f"https://localhost:{site.https}/").details


def test_the_image_asks_for_its_health_as_the_pages_answer(site):
    """The Dockerfile's own command, with this test's ports."""
    code = re.search(r'"-c", "(.+)"\]', last("HEALTHCHECK"))[1]
    for address, healthy in ((site.pages, True), (f"http://127.0.0.1:{free_port()}/", False)):
        command = [sys.executable, "-c", code.replace("http://127.0.0.1:8866/", address)]
        run = subprocess.run(command, capture_output=True)
        assert (run.returncode == 0) is healthy
