"""Checks before the pages are published, and once they are: python -m helpers.app.server.doctor.

It only looks: it writes nothing, starts no kernel and sends a handful of requests. Each check is a sentence, and says
what to do where it fails; the exit status is 1 where one does.
"""

import argparse
import base64
import collections
import contextlib
import datetime
import email.utils
import getpass
import http.client
import importlib.metadata
import ipaddress
import json
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import platformdirs
import psutil
from jupyter_core.paths import jupyter_runtime_dir

from helpers import doctor
from helpers.app.server.pages import FINDINGS
from helpers.doctor import Check

# Absent where the package is installed as a wheel.
LOCKS = tuple(Path(__file__).parents[3] / name for name in ("requirements.lock", "weights.txt"))
STRANGER = "stranger.invalid"  # a name that no machine may have (RFC 2606)
NO_KERNEL = "00000000-0000-0000-0000-000000000000"
WAIT_S = 10.0
MIN_DAYS = 14  # of a certificate: a renewal that failed is seen before readers see it
MAX_SKEW_S = 60.0
SHOWN = 5  # packages that differ, by name
TURNED_AWAY = {301, 302, 303, 307, 308, 401, 403, 407}
WANTED_HEADERS = ("Strict-Transport-Security", "Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options")
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
           "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode()}


def ask(address: str, credentials: str = "", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    """GET one address, following no redirect: the status, the headers and the start of the text.

    Args:
        credentials: name:password of HTTP's basic scheme.
        headers: in addition to those of every request; `Host` replaces the address's own.

    Raises:
        OSError, http.client.HTTPException: no answer, or none that is HTTP.
    """
    parts = urllib.parse.urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    if credentials:
        headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    with contextlib.closing(kind(parts.hostname, parts.port, timeout=WAIT_S)) as connection:
        connection.request("GET", parts.path or "/", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(100_000).decode(errors="replace")


def packages(locks: Sequence[Path] = LOCKS) -> Check:
    """Installed versions against the locks, with which everything was tested; a build tag (+cpu) does not count."""
    if not all(lock.exists() for lock in locks):
        return doctor.packages()
    pins, everywhere, wrong = collections.defaultdict(set), set(), []
    text = "\n".join(lock.read_text(encoding="utf-8") for lock in locks)
    entries = re.findall(r"^([A-Za-z][\w.-]*)==([^\s;]+)( ;)?", text, re.MULTILINE)
    for name, version, marker in entries:
        pins[name].add(version)
        everywhere |= set() if marker else {name}
    for name, versions in pins.items():
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            wrong += [f"{name} is missing"] if name in everywhere else []
            continue
        if version not in versions:
            wrong.append(f"{name} {version} instead of {' or '.join(sorted(versions))}")
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return Check("packages", not wrong, "; ".join(wrong[:SHOWN]) + more or f"{len(pins)} of the lock, none differs",
                 "make setup brings those of requirements.lock; a new .venv if that says nothing is to do")


def writable() -> Check:
    """Whether results can be saved, without saving any."""
    cure = f"free {doctor.MIN_DISK_GB:g} GB, or set HELPERS_HOME to a folder that you may write in"
    try:
        place = Path(os.environ.get("HELPERS_HOME") or platformdirs.user_data_path("compute-smarter"))
        there = next(path for path in (place, *place.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free / 1e9
    except (OSError, RuntimeError) as error:  # RuntimeError: the system names no home
        return Check("write access", False, f"no folder for results can be looked at ({error})", cure)
    may = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Check("write access", may and free >= doctor.MIN_DISK_GB,
                 f"{there} {'can' if may else 'cannot'} be written, {free:.0f} GB free", cure)


def clock(today: datetime.date | None = None) -> Check:
    """The results that ship were recorded in the past: before them, prices and certificates are judged wrongly."""
    today = today or datetime.date.today()
    newest = max(entry["date"] for entry in json.loads(FINDINGS.read_text(encoding="utf-8")).values())
    latest = today + datetime.timedelta(days=1)  # where it is yesterday still
    return Check("clock", latest.isoformat() >= newest, f"{today}, and the newest shipped result is of {newest}",
                 "set the machine's clock: timedatectl set-ntp true")


def port(number: int) -> Check:
    """Free, or taken by these pages."""
    with socket.socket() as probe:
        if os.name == "posix":  # as servers do; on Windows it would take a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            if _ours_answers(number):
                return Check("port", True, f"these pages answer on {number}")
            return Check("port", False, f"{number} cannot be used ({error.strerror})",
                         f"end the program that has it, or choose another: make apps PORT={number + 1}")
    return Check("port", True, f"{number} is free")


def doors(number: int) -> Check:
    """Whether only this machine can connect to the port, past any proxy."""
    try:
        lines = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS
        return Check("open doors", True, "this system shows who listens to its administrator only")
    listening = {line.laddr.ip for line in lines if line.status == psutil.CONN_LISTEN and line.laddr.port == number}
    wide = sorted(address for address in listening if not ipaddress.ip_address(address).is_loopback)
    seen = f"{number} is open on {', '.join(wide)}" if wide else f"{number} is open to this machine only"
    return Check("open doors", not wide, seen if listening else f"nothing listens on {number} yet",
                 "end that server and start it with make apps, which listens on 127.0.0.1")


def hosts(number: int) -> Check:
    """Whether the server refuses a name that is not its own, as a stranger's page would use (DNS rebinding)."""
    try:
        status, _, _ = ask(f"http://127.0.0.1:{number}/", Host=STRANGER)
    except (OSError, http.client.HTTPException):
        return Check("allowed hosts", True, f"nothing answers on {number} yet")
    return Check("allowed hosts", status >= 400, f"a stranger's name gets status {status}",
                 "end that server and start these pages with make apps; name the proxy's alone by --host")


def notebooks() -> Check:
    """Whether a Jupyter server of this user takes commands from anybody who can connect."""
    open_ones = []
    for path in Path(jupyter_runtime_dir()).glob("jpserver-*.json"):
        with contextlib.suppress(OSError, ValueError):  # ended meanwhile
            server = json.loads(path.read_text(encoding="utf-8"))
            if psutil.pid_exists(server["pid"]) and not server.get("token") and not server.get("password"):
                open_ones.append(str(server["port"]))
    return Check("Jupyter servers", not open_ones,
                 f"without token or password on port {', '.join(open_ones)}" if open_ones else "none without a token",
                 "end it and start it with its token, as make lab does: whoever connects runs programs as you")


def certificate(address: str) -> Check:
    """Whether browsers trust the site, and for how long."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https":
        return Check("certificate", False, f"{address} is not https", "let the proxy do TLS: deploy/nginx.conf")
    where = (parts.hostname, parts.port or 443)
    try:
        with (socket.create_connection(where, WAIT_S) as plain,
              ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) as line):
            days = (ssl.cert_time_to_seconds(line.getpeercert()["notAfter"]) - time.time()) / 86_400
            version = line.version()
    except ssl.SSLError as error:
        return Check("certificate", False, f"browsers refuse it ({getattr(error, 'verify_message', '') or error})",
                     "get one for this name from an authority that browsers know, and name its whole chain")
    return Check("certificate", days >= MIN_DAYS, f"trusted, {version}, {days:.0f} days left",
                 "renew it now, and find out why that did not happen by itself")


def redirect(address: str, number: int = 80) -> Check:
    """Whether plain HTTP leads to TLS and shows nothing."""
    host = urllib.parse.urlsplit(address).hostname
    try:
        status, headers, _ = ask(f"http://{host}:{number}/", Host=host)
    except ConnectionRefusedError:
        return Check("plain HTTP", True, f"port {number} is closed")
    target = headers.get("Location", "")
    return Check("plain HTTP", status in TURNED_AWAY and target.startswith("https://"),
                 f"status {status}, {f'leads to {target}' if target else 'leads nowhere'}",
                 f"answer it with a redirect to {address} alone: deploy/nginx.conf")


def sign_in(address: str) -> Check:
    """Whether a reader has to say who they are."""
    status, _, _ = ask(address)
    return Check("sign-in", status in TURNED_AWAY, f"without it, the landing page gets status {status}",
                 "let the proxy ask for one: the pages run programs for whoever opens them")


def headers(address: str, credentials: str) -> Check:
    """Whether what protects the page in a browser comes through the proxy."""
    status, received, _ = ask(address, credentials)
    missing = [name for name in WANTED_HEADERS if name not in received]
    if status != 200:
        return Check("headers", False, f"the landing page gets status {status}", "name a reader who may: --user NAME")
    return Check("headers", not missing, f"{', '.join(missing)} missing" if missing else "all there",
                 "let the proxy add the first and pass on the others: deploy/nginx.conf")


def strangers(address: str, credentials: str) -> Check:
    """Whether the proxy, too, answers to its own name alone."""
    try:
        status, _, _ = ask(address, credentials, Host=STRANGER)
    except http.client.HTTPException:  # it hangs up
        return Check("other names", True, "are not answered")
    return Check("other names", status >= 300, f"get status {status}",
                 "give the proxy a default server that refuses them: deploy/nginx.conf")


def websockets(address: str, credentials: str) -> Check:
    """Whether a line from page to kernel passes; it is opened to none, and closed."""
    status, _, text = ask(f"{address.rstrip('/')}/voila/query/{NO_KERNEL}", credentials, **UPGRADE)
    if status == 404:
        return Check("websockets", True, "cannot be seen while the server runs with --pool 0; open a page to see")
    return Check("websockets", status == 101, "pass" if status == 101 else f"status {status} {text.strip()[:60]!r}",
                 "let the proxy pass on Upgrade and Connection by HTTP/1.1 (deploy/nginx.conf), and name --user here")


def skew(address: str) -> Check:
    """Whether proxy and this machine agree on the time."""
    _, headers, _ = ask(address)
    if "Date" not in headers:
        return Check("clocks", True, "the proxy does not say its time")
    apart = abs(email.utils.parsedate_to_datetime(headers["Date"]).timestamp() - time.time())
    return Check("clocks", apart <= MAX_SKEW_S, f"the proxy's is {apart:.0f} s from this one",
                 "set both clocks: timedatectl set-ntp true")


def _ours_answers(number: int) -> bool:
    try:
        return "Compute smarter" in ask(f"http://127.0.0.1:{number}/")[2]  # on its error pages too
    except (OSError, http.client.HTTPException):
        return False


def _answered(name: str, look: Callable[..., Check], *arguments: str) -> Check:
    try:
        return look(*arguments)
    except (OSError, http.client.HTTPException) as error:
        return Check(name, False, f"no answer ({error or type(error).__name__})",
                     "start the proxy, and check the address")


def results(number: int, address: str = "", credentials: str = "") -> Iterator[Check]:
    """All checks, those of a published address where there is one."""
    yield from (packages(), doctor.instruction_sets(), doctor.cores(), doctor.memory(), doctor.weights(), writable(),
                clock(), port(number), doors(number), hosts(number), notebooks())
    if address:
        seen_by_all = {"certificate": certificate, "plain HTTP": redirect, "sign-in": sign_in, "clocks": skew}
        by_readers = {"headers": headers, "other names": strangers, "websockets": websockets}
        yield from (_answered(name, look, address) for name, look in seen_by_all.items())
        yield from (_answered(name, look, address, credentials) for name, look in by_readers.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the checks; 1 where something fails."""
    parser = argparse.ArgumentParser(prog="python -m helpers.app.server.doctor", description=__doc__)
    parser.add_argument("--port", type=int, default=8866, help="where the server listens, or is to")
    parser.add_argument("--url", default="", help="the published address, such as https://apps.example.org/")
    parser.add_argument("--user", default="", help="who signs in there; the password is asked for, or read from a pipe")
    options = parser.parse_args(arguments)
    if not 0 < options.port < 65_536:
        parser.error(f"There is no port {options.port}. Choose one from 1 to 65535.")
    if options.url and not urllib.parse.urlsplit(options.url).hostname:
        parser.error(f"{options.url!r} names no machine. Give the whole address: --url https://apps.example.org/")
    credentials = f"{options.user}:{_password()}" if options.user else ""
    ok = True
    for check in results(options.port, options.url, credentials):
        print(check.line(), flush=True)
        ok = ok and check.ok
    return 0 if ok else 1


def _password() -> str:
    return getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
