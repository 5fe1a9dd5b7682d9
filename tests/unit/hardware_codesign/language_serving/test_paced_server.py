"""What the paced server says and when, read with http.client."""

import http.client
import json
import time

import numpy as np
import pytest

from helpers.hardware_codesign.language_serving.paced_server import PacedProcess, PacedServer
from helpers.lab import InputError

BODY = {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 3, "stream": True}
IN_PARTS = {"messages": [{"role": "user", "content": [{"type": "text", "text": "one two"}]}],
            "max_completion_tokens": 3, "stream": True}  # as GuideLLM asks


def events_of(connection: http.client.HTTPConnection, body: dict) -> list[tuple[float, dict]]:
    """(seconds, event) of one request."""
    began, results = time.perf_counter(), []
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    for line in connection.getresponse():
        if line.startswith(b"data: "):
            results.append((time.perf_counter() - began, json.loads(line[6:])))
    return results


def test_tokens_come_at_their_pace_on_one_connection():
    with PacedServer(first_s=0.2, token_s=0.3) as server:
        connection = http.client.HTTPConnection(server.url.split("/")[2])
        for body in (BODY, IN_PARTS):
            *tokens, end = events_of(connection, body)
            np.testing.assert_allclose([at for at, _ in tokens], [0.2, 0.5, 0.8], atol=0.2)
            assert [event["choices"][0]["delta"] for _, event in tokens] == [{"content": "word "}] * 3
            assert end[1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 3}
        connection.close()
        np.testing.assert_allclose([one.last - one.first for one in server.log], 0.6, atol=0.2)


def test_a_server_in_its_own_process_has_its_log_at_the_end():
    with PacedProcess(first_s=0.1, token_s=0.05) as server:
        connection = http.client.HTTPConnection(server.url.split("/")[2])
        *tokens, _ = events_of(connection, BODY)
        connection.close()
        assert len(tokens) == 3
        assert server.log == []
    [one] = server.log
    assert one.first - one.came == pytest.approx(0.1, abs=0.05)
    assert one.last - one.first == pytest.approx(0.1, abs=0.05)


def test_a_process_that_does_not_start_is_refused():
    with pytest.raises(InputError, match="did not start"), PacedProcess(first_s=-1.0, token_s=0.0):
        pass


def test_times_that_cannot_be_are_refused():
    for settings in ((-1, 0, 1), (0, -1, 1), (0, 0, 0)):
        with pytest.raises(InputError, match="0 or more and at least one slot"):
            PacedServer(*settings)
