"""The pages as a user starts them, and what a stranger may send to them, without a browser."""

import contextlib
import http.client
import json
import re
import socket
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
from servers import free_port, serving
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from helpers.app.server.frames import PROTOCOL

WAIT_S = 30.0
SLIDER = 3  # what the slider of the small page stands at
SOURCE = f"""
import ipywidgets as widgets
slider = widgets.IntSlider({SLIDER}, min=0, max=100, description="the slider")
upload = widgets.FileUpload(description="the upload")
widgets.VBox([slider, upload])
"""


def write_notebook(path: Path, source: str = SOURCE) -> None:
    """A page with one cell."""
    cell = {"cell_type": "code", "id": "cell0", "metadata": {}, "source": source, "execution_count": None,
            "outputs": []}
    spec = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    path.write_text(json.dumps({"cells": [cell], "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))


@contextlib.contextmanager
def pages(folder: Path, *options: str) -> Iterator[str]:
    """The landing page's address over one small page, page.ipynb; the server's home is `folder`/home."""
    (folder / "notebooks").mkdir()
    (folder / "home").mkdir()
    write_notebook(folder / "notebooks" / "page.ipynb")
    port = free_port()
    command = ["-m", "helpers.app.server", "--port", str(port), "--no-browser", "--notebooks",
               str(folder / "notebooks"), *options]
    with serving(command, folder / "log", port, folder / "home"):
        yield f"http://127.0.0.1:{port}/"


def ask(address: str, path: str, method: str = "GET", headers: Mapping[str, str] | None = None,
        body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, str]:
    """One request as it stands, with no redirect followed: status, headers, text."""
    parts = urllib.parse.urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT_S)) as line:
        line.request(method, parts.path + path, body, dict(headers or {}))
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")


def send_raw(address: str, data: bytes, seconds: float = 5) -> bytes:
    """What the server says to these bytes until it hangs up or is silent."""
    parts = urllib.parse.urlsplit(address)
    said = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=seconds) as line, contextlib.suppress(OSError):
        line.sendall(data)
        while part := line.recv(65_536):
            said += part
    return said


def open_kernel(address: str) -> str:
    """The kernel that opening the small page starts."""
    status, _, text = ask(address, "voila/render/page.ipynb")
    assert status == 200
    return re.search(r"kernelId\W+([0-9a-f-]{36})", text)[1]


def connected(address: str, path: str, **options: Any) -> ClientConnection:
    """A websocket to a path of the server."""
    return connect(address.replace("http", "ws", 1) + path, proxy=None, open_timeout=WAIT_S, max_size=None,
                   legacy=True, **options)  # a connection, not a context that makes one


class Line:
    """A reader's line to a kernel: frames as jupyter_server writes them, or as no page does."""

    def __init__(self, address: str, kernel: str, **options: Any) -> None:
        self.session = uuid.uuid4().hex
        self.socket = connected(address, f"api/kernels/{kernel}/channels?session_id={self.session}",
                                subprotocols=[PROTOCOL], **options)

    def frame(self, kind: str, content: Mapping[str, Any], channel: str = "shell", buffers: Sequence[bytes] = (),
              metadata: Mapping[str, Any] | None = None) -> tuple[str, bytes]:
        """The message's number, and the message."""
        number = uuid.uuid4().hex
        header = {"msg_id": number, "msg_type": kind, "session": self.session, "username": "", "version": "5.3",
                  "date": "2026-01-01T00:00:00Z"}
        parts = [json.dumps(part).encode() for part in (header, {}, metadata or {}, content)]
        return number, serialize_msg_to_ws_v1([*parts, *buffers], channel)

    def send(self, kind: str, content: Mapping[str, Any], **options: Any) -> str:
        """Send a message; its number."""
        number, data = self.frame(kind, content, **options)
        self.socket.send(data)
        return number

    def answers(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and content of all that came up to now: until the kernel has answered one more question on both lines.

        Raises:
            ConnectionClosed: the server has ended the line.
        """
        asked = self.send("kernel_info_request", {})
        results, last = [], {"kernel_info_reply", "idle"}
        end = time.monotonic() + WAIT_S
        while last:
            data = self.socket.recv(timeout=max(0.1, end - time.monotonic()))
            _, parts = deserialize_msg_from_ws_v1(data)
            header, parent, _, content = (json.loads(part) for part in parts[:4])
            if parent.get("msg_id") == asked:
                last -= {header["msg_type"], content.get("execution_state")}
            elif header["msg_type"] not in ("status", "iopub_welcome"):
                results.append((header["msg_type"], content))
        return results

    def widgets(self) -> dict[str, dict[str, Any]]:
        """Model id -> state of each of the kernel's widgets, as a page gets them when it opens."""
        comm = uuid.uuid4().hex
        self.send("comm_open", {"comm_id": comm, "target_name": "jupyter.widget.control", "data": {}},
                  metadata={"version": "1.0.0"})
        self.send("comm_msg", {"comm_id": comm, "data": {"method": "request_states"}})
        states = [content["data"]["states"] for kind, content in self.answers()
                  if kind == "comm_msg" and content["data"].get("method") == "update_states"]
        return {model: one["state"] for model, one in states[-1].items()}

    def find(self, description: str) -> tuple[str, dict[str, Any]]:
        """Model id and state of the one widget that is described so."""
        [result] = [one for one in self.widgets().items() if one[1].get("description") == description]
        return result


def ended(line: ClientConnection) -> int | None:
    """The code with which the server ends a line, None where it hangs up without one."""
    try:
        while True:
            line.recv(timeout=WAIT_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None
