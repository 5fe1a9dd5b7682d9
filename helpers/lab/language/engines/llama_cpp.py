"""llama.cpp by its own server, inside this process."""

import concurrent.futures
import contextlib
import http.client
import json
import queue
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from transformers import PreTrainedTokenizerBase

from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.model import HEARTBEAT_S, LocalModel
from helpers.lab.machine import usable_cores

SLOTS = 4  # answers that are written together; each holds its own context


class LlamaCppModel(LocalModel):
    """llama.cpp's own server, inside this process, on 127.0.0.1 and with its own key."""

    engine = "llama.cpp"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, path: Path) -> None:
        import xllamacpp

        super().__init__(name, tokenizer, context, ends, stored, path)
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(path), context * SLOTS, SLOTS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = usable_cores()  # of prompts, too
        params.verbosity, params.endpoint_metrics = 0, True
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise InputError(f"llama.cpp cannot read '{path.name}' ({reason(error)}). Try engine='transformers'."
                             ) from error
        self._server.handle_metrics()  # answered by its loop: stopped before the loop begins, it would never end
        self.address = self._server.listening_address

    def _stream(self, rows, limit, form, ended):
        if isinstance(form, str):
            raise InputError("llama.cpp holds answers to a JSON schema, not to a regular expression: use "
                             "engine='openvino'.")
        options = {"n_predict": limit, "temperature": 0, "return_tokens": True, "stream": True}
        if form is not None:
            options["json_schema"] = dict(form)
        pieces: queue.Queue[tuple[int, list[int] | Exception | None]] = queue.Queue()
        connections: set[http.client.HTTPConnection] = set()
        stopped = threading.Event()

        def ask(row: int) -> None:
            try:
                for event in self._events({"prompt": rows[row], **options}, connections, stopped):
                    pieces.put((row, event.get("tokens", [])))
                    if row in ended or stopped.is_set():
                        break
            except (OSError, http.client.HTTPException, InputError) as error:
                pieces.put((row, error))
            finally:
                pieces.put((row, None))

        with concurrent.futures.ThreadPoolExecutor(SLOTS) as pool:
            try:
                for row in range(len(rows)):
                    pool.submit(ask, row)
                left = len(rows)
                while left:
                    try:
                        row, piece = pieces.get(timeout=HEARTBEAT_S)
                    except queue.Empty:
                        yield None, []
                        continue
                    if isinstance(piece, Exception):
                        raise piece if isinstance(piece, InputError) else InputError(
                            f"llama.cpp's server broke off ({reason(piece)}).") from piece
                    left -= piece is None
                    yield row, piece or []
            finally:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for connection in list(connections):
                    if (open_socket := connection.sock) is not None:  # else its request has just ended
                        with contextlib.suppress(OSError):  # closed meanwhile
                            open_socket.shutdown(socket.SHUT_RDWR)

    def _events(self, body: dict[str, Any], connections: set[http.client.HTTPConnection],
                stopped: threading.Event) -> Iterator[dict[str, Any]]:
        """Yield the server's JSON objects, one after another; just one where the body asks for no stream."""
        if stopped.is_set():
            return
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc)
        connection.connect()
        connections.add(connection)
        try:
            connection.request("POST", "/completion", json.dumps(body),
                               {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"})
            response = connection.getresponse()
            if response.status != 200:
                reason = json.loads(response.read()).get("error", {}).get("message", "no reason given")
                raise InputError(f"llama.cpp's server refused: {reason}.")
            if not body.get("stream"):
                yield json.loads(response.read())
                return
            for line in response:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])
        finally:
            connections.discard(connection)
            connection.close()

    def _score(self, prefix, rows, progress):
        """The server tells what may come next, not what came: one question for each beginning of an answer."""
        after: dict[tuple[int, ...], dict[int, float]] = {}
        for row in rows:
            for place in range(len(row)):
                start = tuple(row[:place])
                if start not in after:
                    progress.check()
                    [event] = self._events({"prompt": [*prefix, *start], "n_predict": 1, "temperature": 0,
                                           "n_probs": len(self.tokenizer)}, set(), threading.Event())
                    top = event["completion_probabilities"][0]["top_logprobs"]
                    after[start] = {token["id"]: token["logprob"] for token in top}
        return np.array([sum(after[tuple(row[:place])][token] for place, token in enumerate(row)) for row in rows])
