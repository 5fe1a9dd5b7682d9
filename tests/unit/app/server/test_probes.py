"""What strangers ask of a running server: all of it is refused, or harms nobody but themselves."""

import base64
import http.client
import json
import re
import socket
import urllib.parse

import pytest
from served_pages import ask, connected, send_raw
from websockets.exceptions import InvalidStatus

from helpers.app.server.frames import PROTOCOL
from helpers.app.server.handlers import CHUNKS

CANARY = "CANARY-5b1f0a"  # in files that nobody may read: conftest.py
PROXY = "apps.example.org"
SCRIPT = CHUNKS.read_text().split()[0]  # a file that is served
UNKNOWN = "00000000-0000-0000-0000-000000000000"

pytestmark = pytest.mark.usefixtures("still_serves")


SPELLED = {"plain": "../", "with an encoded slash": "..%2f", "with encoded dots": "%2e%2e/", "all encoded": "%2E%2E%2F",
           "with a backslash": "..\\", "with an encoded backslash": "..%5c", "encoded twice": "%252e%252e%252f",
           "doubled": "....//", "in overlong UTF-8": "%c0%ae%c0%ae/", "behind a dot": "./../", "by semicolon": "..;/"}
MOUNTS = ["voila/files/", "voila/static/", "voila/templates/base/static/", "voila/templates/", "voila/labextensions/",
          "voila/api/themes/", "voila/render/", "voila/tree/", "voila/api/contents/", "app/"]


def given_away(address, path):
    """What of the file that nobody may read, or of the server, an answer tells: nothing, where all is well."""
    status, _, text = ask(address, path)
    secrets = {"the file": CANARY, "the file, encoded": base64.b64encode(CANARY.encode()).decode(), "code": "Traceback"}
    return [*(f"{what}: {path}" for what, sign in secrets.items() if sign in text),
            *([f"status {status}: {path}"] if status < 300 else [])]


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("spelling", SPELLED)
def test_no_path_leads_out_of_what_is_served(address, folder, mount, spelling):
    name = "secret.ipynb" if mount in ("voila/render/", "voila/tree/", "voila/api/contents/") else "secret.png"
    up = SPELLED[spelling]
    levels = (1, 4, 5)  # home/cache/pages/<folder> is where the pages are
    paths = [f"{mount}{up * 16}{str(folder / name)[1:]}", *(f"{mount}{up * count}{name}" for count in levels)]
    assert [result for path in paths for result in given_away(address, path)] == []


@pytest.mark.parametrize("path", ["voila/files//{}", "voila/files/%2f{}", "voila/files/file:///{}", "/{}", "files/{}",
                                  "voila/files/{}%00.png", "voila/files/{}%0a.png", "voila/static/%00", "view/{}",
                                  "voila/render//{}", "nbconvert/html/{}", "edit/{}", "api/contents/{}", "tree/{}"])
def test_no_absolute_or_odd_path_is_read(address, folder, path):
    assert given_away(address, path.format(str(folder / "secret.png")[1:])) == []


@pytest.mark.parametrize("path", ["api/kernels", "api/sessions", "api/terminals", "api/contents", "api/config/x", "lab",
                                  "api/status", "api/kernelspecs", "api/nbconvert", "metrics", "terminals/websocket/1",
                                  f"api/kernels/{UNKNOWN}", f"api/kernels/{UNKNOWN}/restart", "voila/execution/a-b",
                                  "api/events/subscribe", "lsp/ws/x", ".git/config", ".env", "voila/files/page.ipynb"])
def test_what_jupyter_has_beside_pages_is_not_here(address, path):
    for method in ("GET", "POST"):
        assert ask(address, path, method)[0] >= 400


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "\\\\evil.example",
                                    "/%09/evil.example", "https:evil.example", "javascript:alert(1)"])
@pytest.mark.parametrize("path", ["login?next={}", "logout?next={}", "{}", "voila/render/{}", "voila/tree/{}"])
def test_no_address_leads_to_another_site(address, path, target):
    encoded = urllib.parse.quote(target, safe="") if "=" in path else target
    _, headers, _ = ask(address, path.format(encoded))
    leads = headers.get("Location", "")
    assert "evil.example" not in urllib.parse.urlsplit(leads.replace("\\", "/")).netloc
    assert not re.match(r"javascript:|https?:(?!//127\.0\.0\.1)", leads)


@pytest.mark.parametrize("query", ["theme=<script>alert(1)</script>", "template=../../../etc", "classic-tree=false&x=1",
                                   "template=lab&theme=%22onload%3d%22alert(1)", "token=x", "format=base64&content=1",
                                   "</script><script>alert(1)</script>", "&".join(f"a{n}=1" for n in range(500))])
def test_no_query_gets_into_the_page(address, query):
    status, _, text = ask(address, f"?{query}")
    assert status in (200, 400)
    assert "<script>alert" not in text
    assert '"onload' not in text


def test_a_listing_shows_the_pages_and_no_content(address):
    status, _, text = ask(address, "voila/api/contents/?content=1")
    assert status == 200
    assert [entry["name"] for entry in json.loads(text)["content"]] == ["page.ipynb"]
    for query in ("", "?content=1", "?content=1&format=text", "?content=1&format=base64"):
        assert "IntSlider" not in ask(address, f"voila/api/contents/page.ipynb{query}")[2]


STRANGERS = ["evil.example", "127.0.0.1.evil.example", f"{PROXY}.evil.example", "0.0.0.0", "169.254.169.254", "[::2]",
             "2130706433", "0x7f.1", "localhost@evil.example", "evil.example#localhost", "%2Fetc%2Fpasswd",
             "%2Fno%2Fsuch%2Ffile", "localhost.evil.example:8866"]


@pytest.mark.parametrize("path", ["", SCRIPT, "voila/static/x", "voila/files/x.png", "voila/api/contents/", "nothing"])
@pytest.mark.parametrize("host", STRANGERS)
def test_nothing_is_told_to_a_strangers_name(address, host, path):
    status, _, text = ask(address, path, headers={"Host": host})
    assert status in (400, 403)
    assert "page.ipynb" not in text


def test_a_file_that_is_there_and_one_that_is_not_look_alike(address, folder):
    """A Host that spelt a path told whether that file exists."""
    there, missing = (ask(address, "", headers={"Host": str(folder / name).replace("/", "%2F")})[0]
                      for name in ("secret.png", "missing.png"))
    assert there == missing
    assert there in (400, 403)


@pytest.mark.parametrize("headers", [
    {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
    {"Forwarded": "host=evil.example"}, {"X-Original-URL": "/voila/files/../../secret.png"},
    {"X-Rewrite-URL": "/secret.png"}, {"X-Forwarded-Prefix": "//evil.example"}])
def test_no_header_of_a_stranger_changes_the_page(address, headers):
    assert ask(address, "", headers=headers)[2] == ask(address, "")[2]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1",
                                    "https://localhost.evil.example", "http://[::1]", "file://", "HTTP://EVIL.EXAMPLE",
                                    "http://{own}.evil.example", "http://{own}@evil.example"])
def test_no_other_sites_page_gets_a_line_to_a_kernel(address, kernels, origin):
    own = urllib.parse.urlsplit(address).netloc
    with pytest.raises(InvalidStatus) as refused:
        connected(address, f"api/kernels/{kernels[0]}/channels", subprotocols=[PROTOCOL], origin=origin.format(own=own))
    assert refused.value.response.status_code == 403


def test_the_pages_own_origin_gets_one(address, kernels):
    own = address.rstrip("/")
    with connected(address, f"api/kernels/{kernels[0]}/channels", subprotocols=[PROTOCOL], origin=own) as line:
        assert line.subprotocol == PROTOCOL


@pytest.mark.parametrize("path", ["", "voila/render/page.ipynb", "voila/files/x.png", SCRIPT, "doctor", "nothing"])
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "EVIL"])
def test_no_other_method_does_anything(address, method, path):
    status, _, text = ask(address, path, method, {"X-HTTP-Method-Override": "GET"}, b"x=1")
    assert status in (400, 403, 404, 405)
    assert "Traceback" not in text


@pytest.mark.parametrize("path", ["", "voila/api/contents/", f"voila/api/shutdown/{UNKNOWN}", SCRIPT])
def test_no_other_site_may_read_an_answer(address, path):
    for method in ("GET", "OPTIONS"):
        _, headers, _ = ask(address, path, method, {"Origin": "http://evil.example",
                                                    "Access-Control-Request-Method": "POST"})
        assert "Access-Control-Allow-Origin" not in headers


def xsrf(address):
    """A stranger's own cookie and the header that goes with it."""
    _, headers, _ = ask(address, "voila/render/nothing.ipynb")
    cookie = next(line.split(";")[0] for line in headers.get_all("Set-Cookie") if line.startswith("_xsrf="))
    return {"Cookie": cookie, "X-XSRFToken": cookie.removeprefix("_xsrf=")}


@pytest.mark.parametrize(("method", "path"), [("DELETE", "api/kernels/{}"), ("POST", "voila/api/shutdown/{}")])
@pytest.mark.parametrize("kind", ["bare", "made up", "from another site", "of another visitor"])
def test_nobody_ends_a_kernel_from_elsewhere(address, kernels, method, path, kind):
    """Even one who knows its number: a page of another site, in the reader's browser."""
    headers = {"bare": {}, "made up": {"Cookie": "_xsrf=a", "X-XSRFToken": "b"},
               "from another site": xsrf(address) | {"Origin": "http://evil.example"},
               "of another visitor": xsrf(address) | {"X-XSRFToken": xsrf(address)["X-XSRFToken"]}}[kind]
    assert ask(address, path.format(kernels[0]), method, headers)[0] in (403, 404)
    assert ask(address, f"api/kernels/{kernels[0]}")[0] == 200


@pytest.mark.parametrize("kernel", [UNKNOWN, "*", "a-b-c-d-e", "..", "%2e%2e", "-----", "0", "x" * 5_000])
def test_no_kernel_is_found_by_guessing(address, kernel):
    for method, path in (("GET", "api/kernels/{}"), ("DELETE", "api/kernels/{}"), ("POST", "voila/api/shutdown/{}")):
        assert ask(address, path.format(kernel), method, xsrf(address))[0] >= 400
    with pytest.raises(InvalidStatus) as refused:
        connected(address, f"api/kernels/{kernel}/channels", subprotocols=[PROTOCOL])
    assert refused.value.response.status_code >= 400


POST = b"POST / HTTP/1.1\r\nHost: localhost\r\n"
RAW = {
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "a length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + POST,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length in words": POST + b"Content-Length: five\r\n\r\n",
    "a terabyte to come": POST + b"Content-Length: 1000000000000\r\n\r\n",
    "a chunk without end": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    "a chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "an encoding that is none": POST + b"Transfer-Encoding: evil\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n\r\n",
    "two names": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "another site's whole address": b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "a name in the middle": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: localhost\r\nevil\r\n\r\n",
    "a header with a zero byte": b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n",
    "a header of a megabyte": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
    "a path of a megabyte": b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another protocol's version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "zeros": bytes(10_000),
}


@pytest.mark.parametrize("kind", RAW)
def test_no_bytes_that_are_no_request_get_an_answer(address, kind):
    said = send_raw(address, RAW[kind], seconds=2)
    assert said.count(b"HTTP/1.1 2") == 0
    assert said.count(b"HTTP/1.") <= 1


@pytest.mark.parametrize(("method", "path"), [
    ("POST", ""), ("PUT", "voila/files/owned.png"), ("POST", "voila/files/owned.png"),
    ("PUT", "api/contents/owned.png"), ("POST", "voila/api/contents/owned.ipynb"),
    ("PUT", "voila/api/contents/owned.ipynb"), ("POST", "upload"), ("POST", "voila/render/owned.ipynb"),
    ("PUT", "voila/static/owned.js"), ("POST", "api/kernels")])
def test_nothing_is_uploaded_by_a_request(address, method, path):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../owned.png"\r\n\r\nx\r\n--x--\r\n'
    for headers in ({}, xsrf(address)):
        answer = ask(address, path, method, {**headers, "Content-Type": "multipart/form-data; boundary=x"}, body)
        assert answer[0] >= 400


def test_the_socket_serves_its_owner_and_group_the_same_pages(address, folder):
    door = folder / "door"
    assert oct(door.stat().st_mode & 0o777) == "0o660"
    for host, status in ((PROXY, 200), ("evil.example", 403)):
        line = http.client.HTTPConnection("localhost")
        line.sock = socket.socket(socket.AF_UNIX)
        line.sock.connect(str(door))
        line.request("GET", "/", headers={"Host": host})
        assert line.getresponse().status == status
        line.close()
