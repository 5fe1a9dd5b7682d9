"""A small server that fails as it is told, in the form of OpenAI's."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from typing import Any

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}


def send(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def streamed(*events: dict[str, Any] | str) -> bytes:
    return b"".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events)


def piece(text: str, ended: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": ended}]}


def stream(*events: dict[str, Any] | str, after_s: float = 0.0) -> Callable[..., None]:
    """A response of these events, after a silence."""
    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(after_s)
        send(handler, 200, streamed(*events), content_type="text/event-stream")
    return respond


def refusal(status: int, message: str = "no", param: str | None = None, **headers: str) -> Callable[..., None]:
    body = json.dumps({"error": {"message": message, "type": "a_test", "param": param}}).encode()
    return lambda handler: send(handler, status, body, content_type="application/json", **headers)


def paris(usage: dict[str, Any] | None = USAGE, after_s: float = 0.0) -> Callable[..., None]:
    """What a server that is well answers."""
    events = [piece("Par"), piece("is"), piece("", "stop"), *([{"choices": [], "usage": usage}] if usage else [])]
    return stream(*events, "[DONE]", after_s=after_s)


class FaultyServer(http.server.ThreadingHTTPServer):
    """Answers with the functions in `script`, one after another, then with the last one of all.

    seen: (seconds, headers, JSON body) of each request; most: of requests under way at once.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Callable[..., None]] = [paris()]
        self.seen: list[tuple[float, dict[str, str], dict[str, Any]]] = []
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that went away is what some tests want."""


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.seen.append((time.monotonic(), dict(self.headers.items()), {"path": self.path, **body}))
            self.server.under_way += 1
            self.server.most = max(self.server.most, self.server.under_way)
            respond = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        try:
            respond(self)
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def log_message(self, *_: object) -> None:
        """Nothing on the console."""


