"""A server whose times are known: what a load test is held against."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, Self

from helpers.lab.errors import InputError

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclasses.dataclass
class Served:
    """One request in the server's own log: seconds of `time.perf_counter` when it was read, and when tokens left."""

    came: float
    first: float = float("nan")
    last: float = float("nan")


class PacedServer:
    """Chat completions on 127.0.0.1 that say "word" as often as asked (`max_tokens`), at a pace that is set.

    Args:
        first_s: seconds from the moment when a request gets its slot to its first token.
        token_s: seconds between the tokens.
        slots: requests that are answered at once; others wait in the order in which they came.

    Raises:
        InputError: times that are negative, or no slot.

    Use it in a `with`. A request holds its slot for first_s + (max_tokens - 1) * token_s: the server is a queue of
    fixed service times, of which theory knows when it is full.

    >>> from helpers.hardware_codesign.language_serving.paced_server import PacedServer
    >>> from helpers.lab import endpoint
    >>> with PacedServer(first_s=0.01, token_s=0.001) as server:
    ...     endpoint(server.url, model="paced").generate(["How are you?"], max_tokens=3)[0].text
    'word word word '
    """

    def __init__(self, first_s: float, token_s: float, slots: int = 1) -> None:
        if min(first_s, token_s) < 0 or slots < 1:
            raise InputError(f"A paced server needs times of 0 or more and at least one slot, not {first_s}, {token_s} "
                             f"and {slots}.")
        self.first_s, self.token_s, self.slots = first_s, token_s, slots
        self.log: list[Served] = []

    @property
    def url(self) -> str:
        """The address before /chat/completions."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop, self._free = asyncio.Event(), asyncio.Semaphore(self.slots)
        talks: set[asyncio.Task] = set()

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talks.add(asyncio.ensure_future(self._talk(reader, writer)))

        server = await asyncio.start_server(begin, "127.0.0.1", 0, backlog=1024)
        self._port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request after another on a connection, until the client closes it."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                sizes = [line.partition(b":")[2] for line in head.lower().split(b"\r\n")
                         if line.startswith(b"content-length:")]
                body = json.loads(await reader.readexactly(int(sizes[0])))
                await self._answer(body, writer)
        except (asyncio.IncompleteReadError, ConnectionError):  # the client has gone
            return
        finally:
            writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        served = Served(time.perf_counter())
        count = int(body["max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"])
        self.log.append(served)
        read = sum(len(_text(message["content"]).split()) for message in body["messages"])
        async with self._free:
            due = time.perf_counter() + self.first_s
            for number in range(count):
                await asyncio.sleep(max(0.0, due + number * self.token_s - time.perf_counter()))
                if number == 0:
                    writer.write(_HEAD)
                    served.first = time.perf_counter()
                served.last = time.perf_counter()
                writer.write(_chunk({"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}))
                await writer.drain()
        writer.write(_chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}],
                             "usage": {"prompt_tokens": read, "completion_tokens": count}}) + b"0\r\n\r\n")
        await writer.drain()


class PacedProcess:
    """A `PacedServer` in a process of its own: in one process, client and server wait for Python's lock, 5 ms a turn.

    Use it in a `with`; `log` has the server's log once it has ended.

    Raises:
        InputError: the process did not start.

    >>> from helpers.hardware_codesign.language_serving.paced_server import PacedProcess
    >>> from helpers.lab import endpoint
    >>> with PacedProcess(first_s=0.01, token_s=0.001) as server:
    ...     _ = endpoint(server.url, model="paced").generate(["How are you?"], max_tokens=3)
    >>> len(server.log)
    1
    """

    def __init__(self, first_s: float, token_s: float, slots: int = 1) -> None:
        self.log: list[Served] = []
        self._command = [sys.executable, "-m", __name__, json.dumps([first_s, token_s, slots])]

    def __enter__(self) -> Self:
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(self._command, env=os.environ | paths, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        if not (line := self._process.stdout.readline()):
            self._process.communicate()
            raise InputError("The paced server's process did not start; there may be too little memory for it.")
        self.url = json.loads(line)
        return self

    def __exit__(self, *_: object) -> None:
        printed, _ = self._process.communicate("end\n")
        self.log = [Served(*one) for one in json.loads(printed)]


def _text(content: str | list[dict[str, str]]) -> str:
    """A message's text, which some clients send in parts."""
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)


def _chunk(event: dict[str, Any]) -> bytes:
    """An event of a stream, as HTTP's chunked encoding has it."""
    data = f"data: {json.dumps(event)}\n\n".encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


if __name__ == "__main__":
    with PacedServer(*json.loads(sys.argv[1])) as paced:
        print(json.dumps(paced.url), flush=True)
        sys.stdin.readline()
    print(json.dumps([dataclasses.astuple(one) for one in paced.log]))
