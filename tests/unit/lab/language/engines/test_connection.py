"""What a server streams, however its bytes come, and whether it is the one that was asked."""

import asyncio
import itertools
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_certificate import write_certificate

from helpers.lab import InputError, endpoint
from helpers.lab.language.engines import connection


class Stream:
    """A response of which the bytes come in parts."""

    content_type = "text/event-stream"

    def __init__(self, parts):
        self.content, self._parts = self, parts

    async def iter_any(self):
        for part in self._parts:
            yield part


def events(*parts):
    async def read():
        return [event async for event in connection.read_events(Stream(parts))]
    return asyncio.run(read())


@given(said=st.lists(st.text(min_size=1, alphabet=st.characters(exclude_characters="\r\n", codec="utf-8"))),
       end=st.sampled_from(["\n", "\r\n"]), cuts=st.sets(st.integers(0, 200)))
def test_events_are_the_same_however_their_bytes_come(said, end, cuts):
    """Comments and other fields, which some servers send to keep a line open, are no data."""
    whole = "".join(f": ping{end}event: message{end}data: {text}{end}{end}" for text in said).encode()
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    parts = [whole[begin:finish] for begin, finish in itertools.pairwise(places)]
    assert [event.decode() for event in events(*parts)] == said


def test_an_event_of_several_lines_and_one_without_its_end():
    assert events(b"data: a\ndata:b\n\ndata: c\n") == [b"a\nb", b"c"]


def test_an_event_without_an_end_is_refused_before_it_fills_the_memory():
    with pytest.raises(ValueError, match="one event has more than"):
        events(*[b"data: " + b"x" * 2**16] * 17)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_shows_a_certificate_that_this_machine_trusts(faulty, monkeypatch, tmp_path, trusted):
    write_certificate(tmp_path / "own")
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_cert_chain(tmp_path / "own" / "apps.pem", tmp_path / "own" / "apps.key")
    faulty.socket = secured.wrap_socket(faulty.socket, server_side=True)
    write_certificate(tmp_path / "other")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / ("own" if trusted else "other") / "apps.pem"))
    connection._certificates.cache_clear()
    llm = endpoint(f"https://localhost:{faulty.server_port}/v1", model="small")
    monkeypatch.setattr("helpers.lab.language.engines.completions._ATTEMPTS", 1)
    if trusted:
        assert llm.generate(["What is the capital of France?"])[0].text == "Paris"
    else:
        with pytest.raises(InputError, match="certificate verify failed"):
            llm.generate(["What is the capital of France?"])
    connection._certificates.cache_clear()
