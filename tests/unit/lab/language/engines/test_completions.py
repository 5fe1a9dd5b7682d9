"""Servers that fail, are slow, or want to be left alone for a while; a key that nobody sees; an end that is heard."""

import asyncio
import datetime
import email.utils
import itertools
import logging
import random
import socket
import time

import pytest
from faulty_server import paris, piece, refusal, send, stream

from helpers.lab import Cancelled, InputError
from helpers.lab.language.engines.completions import Server, _seconds
from helpers.lab.language.engines.connection import proxy_for
from helpers.lab.language.engines.endpoints import endpoint
from helpers.lab.progress import Progress

KEY = "sk-test-0123456789abcdef"


def ask(server, prompts=("What is the capital of France?",), progress=None, **options):
    llm = endpoint(server.url, model="small", **options)
    return llm.generate(prompts, max_tokens=10, **({"progress": progress} if progress else {}))


def waits(server) -> list[float]:
    """Seconds between the requests."""
    return [later - before for before, later in itertools.pairwise(seconds for seconds, _, _ in server.seen)]


def hang_up(handler):
    """No answer at all: the connection is reset."""
    handler.connection.shutdown(socket.SHUT_RDWR)


FAULTS = {
    "too many requests": refusal(429), "an error of the server": refusal(500), "an overload": refusal(529),
    "a reset": hang_up,
    "a stream cut short": stream(piece("Par")),
    "half an event": stream('{"choices": [{"del'),
    "an event of another form": stream('["choices"]'),
    "pieces of another form": stream({"choices": ["Paris"]}),
    "an error in the stream": stream(piece("Par"), {"error": {"message": "overloaded"}}),
    "a page": lambda handler: send(handler, 200, b"<html>Welcome</html>", content_type="text/html")}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_for_a_moment_is_asked_again(faulty, fault):
    faulty.script = [FAULTS[fault], paris()]
    [answer] = ask(faulty)
    assert (answer.text, answer.ended, len(faulty.seen)) == ("Paris", "stop", 2)


def test_a_server_that_is_silent_for_too_long_is_asked_again(faulty):
    faulty.script = [paris(after_s=3), paris()]
    began = time.monotonic()
    assert ask(faulty, timeout_s=0.3)[0].text == "Paris"
    assert 0.3 < time.monotonic() - began < 2.5
    assert len(faulty.seen) == 2


def test_the_server_says_how_long_to_wait(faulty):
    then = email.utils.format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4), usegmt=True)
    faulty.script = [refusal(429, retry_after="1.2"), refusal(503, retry_after=then), paris()]
    assert ask(faulty)[0].text == "Paris"
    [first, second] = waits(faulty)
    assert 1.2 <= first < 2.5
    assert 0.4 < second < 4.5  # a date has whole seconds, and the first wait is gone


def test_a_time_to_wait_for_is_one_of_the_servers_clock():
    """Ours may have been set back, or be wrong."""
    asked = "Mon, 01 Jan 2001 00:00:07 GMT"
    assert _seconds(asked, "Mon, 01 Jan 2001 00:00:03 GMT") == 4
    assert _seconds(asked, "") == _seconds(asked, "no date") == _seconds("soon", "") == 0


def test_all_requests_wait_where_one_is_told_to(faulty):
    faulty.script = [refusal(429, retry_after="1"), paris()]
    assert [answer.text for answer in ask(faulty, ["a", "b", "c"], at_once=1)] == ["Paris"] * 3
    assert waits(faulty)[0] >= 1


def test_a_server_that_wants_an_hour_is_not_waited_for(faulty):
    faulty.script = [refusal(429, "quota used up", retry_after="3600")]
    with pytest.raises(InputError, match=r"no answer in 1 attempt.*quota used up.*asks to wait 3,600 s"):
        ask(faulty)


def test_a_server_that_never_recovers_is_given_up(faulty):
    faulty.script = [refusal(500, "no disk")]
    random.seed(7)
    drawn = [random.uniform(0, 2**attempt / 4) for attempt in (1, 2, 3, 4)]
    random.seed(7)
    with pytest.raises(InputError, match=r"'small' at 127\.0\.0\.1:\d+ gave no answer in 5 attempt.*HTTP 500: no disk"):
        ask(faulty)
    assert len(faulty.seen) == 5
    for wait, least in zip(waits(faulty), drawn, strict=True):
        assert least - 0.05 < wait < least + 1.0


def test_a_machine_that_does_not_listen_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=rf"'small' at 127\.0\.0\.1:{port} gave no answer .*Connect"):
        endpoint(f"http://127.0.0.1:{port}/v1", model="small").generate(["a"])


@pytest.mark.parametrize(("status", "sentence"), [
    (400, r"refuses the request \(HTTP 400: the context is too short\). Check"),
    (404, "Check the address, the model's name"), (302, "HTTP 302"), (401, "requests without a key; name one by")])
def test_what_another_attempt_would_not_mend_is_said_at_once(faulty, status, sentence):
    faulty.script = [refusal(status, "the context is too short", location="http://127.0.0.1:9/")]
    with pytest.raises(InputError, match=sentence):
        ask(faulty)
    assert len(faulty.seen) == 1


@pytest.mark.parametrize("page", ['{"detail": "no such model"}', '{"error": "no such model"}', "no such model",
                                  '["no such model"]', '{"error": {"type": "no such model"}}'])
def test_a_refusal_of_any_form_is_passed_on(faulty, page):
    faulty.script = [lambda handler: send(handler, 404, page.encode())]
    with pytest.raises(InputError, match=r"HTTP 404: .*no such model"):
        ask(faulty)
    assert len(faulty.seen) == 1


def test_a_model_that_chooses_its_temperature_and_counts_otherwise_is_asked_otherwise(faulty):
    def newer(handler):
        body = faulty.seen[-1][2]
        wrong = next((name for name in ("max_tokens", "temperature") if name in body), None)
        (refusal(400, f"Unsupported parameter: '{wrong}'", param=wrong) if wrong else paris())(handler)

    faulty.script = [newer]
    with pytest.warns(UserWarning, match="answers are drawn at random"):
        assert [answer.text for answer in ask(faulty, ["a", "b"], at_once=1)] == ["Paris"] * 2
    assert len(faulty.seen) == 4  # it is told twice, and remembers
    assert faulty.seen[-1][2]["max_completion_tokens"] == 10


def test_one_refusal_ends_all_requests(faulty):
    faulty.script = [refusal(400), paris(after_s=5)]
    began = time.monotonic()
    with pytest.raises(InputError, match="refuses the request"):
        ask(faulty, ["a"] * 20, at_once=2)
    assert time.monotonic() - began < 2
    assert len(faulty.seen) < 4


def test_no_more_requests_are_under_way_than_allowed(faulty):
    faulty.script = [paris(after_s=0.2)]
    assert len(ask(faulty, ["a"] * 6, at_once=2)) == 6
    assert faulty.most == 2


def test_requests_keep_to_the_limit_a_minute(faulty):
    ask(faulty, ["a"] * 5, requests_per_minute=300)
    assert faulty.seen[-1][0] - faulty.seen[0][0] >= 4 * 0.2 - 0.05
    assert len(faulty.seen) == 5


def test_tokens_keep_to_the_limit_a_minute(faulty):
    """30 bytes are taken for 10 tokens, and 10 may be written; the server counts 20, so that nothing is given back."""
    faulty.script = [paris({"prompt_tokens": 10, "completion_tokens": 10})]
    ask(faulty, ["a" * 30] * 4, tokens_per_minute=6000, at_once=1)
    assert faulty.seen[-1][0] - faulty.seen[0][0] >= 3 * 20 / 100 - 0.05


def test_tokens_that_were_not_used_are_given_back(faulty):
    faulty.script = [paris({"prompt_tokens": 1, "completion_tokens": 1})]
    ask(faulty, ["a" * 300] * 4, tokens_per_minute=6000, at_once=1)  # 1.1 s each, if it were as guessed
    assert faulty.seen[-1][0] - faulty.seen[0][0] < 3 * 1.1


@pytest.mark.parametrize("trouble", [paris(after_s=5), refusal(429, retry_after="60")], ids=["silent", "busy"])
def test_cancel_is_heard_within_a_second(faulty, trouble):
    faulty.script = [trouble]
    began = time.monotonic()
    with pytest.raises(Cancelled):
        ask(faulty, ["a"] * 3, Progress(cancelled=lambda: time.monotonic() - began > 0.5))
    assert time.monotonic() - began < 1.5


def test_progress_hears_of_answers(faulty):
    heard = []
    ask(faulty, ["a", "b"], Progress(lambda fraction, message: heard.append((fraction, message))))
    assert heard[-1] == (1.0, "2 of 2 answers")


def test_a_running_event_loop_is_no_obstacle(faulty):
    async def as_in_a_notebook():
        return ask(faulty)

    assert asyncio.run(as_in_a_notebook())[0].text == "Paris"


def test_a_proxy_does_not_see_what_goes_to_this_machine(faulty, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask(faulty)[0].text == "Paris"


def test_other_servers_are_asked_through_the_proxy_that_is_named(faulty, monkeypatch, tmp_path):
    """A stand-in for the proxy gets the request with its whole address, and with the key, whatever ~/.netrc says."""
    (tmp_path / ".netrc").write_text("machine models.example login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", faulty.url.removesuffix("/v1"))
    monkeypatch.setenv("http_proxy", faulty.url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("A_TEST_KEY", KEY)
    server = Server("it", "http://models.example/v1", "A_TEST_KEY", 1, None, None, 5.0)
    body = {"model": "small", "messages": [], "stream": True}
    assert server.ask([body], [1], lambda whole: None, lambda: None)[0].text == "Paris"
    assert faulty.seen[0][1]["Authorization"] == f"Bearer {KEY}"
    assert faulty.seen[0][1]["Host"] == "models.example"
    monkeypatch.setenv("NO_PROXY", "models.example")
    monkeypatch.setenv("no_proxy", "models.example")
    assert proxy_for("http://models.example/v1") is None


# The key

def test_the_key_is_read_anew_for_each_request(faulty, monkeypatch):
    monkeypatch.setenv("A_TEST_KEY", KEY)
    llm = endpoint(faulty.url, model="small", key_from="A_TEST_KEY")
    llm.generate(["a"])
    monkeypatch.setenv("A_TEST_KEY", "another")
    llm.generate(["a"])
    assert [headers["Authorization"] for _, headers, _ in faulty.seen] == [f"Bearer {KEY}", "Bearer another"]


def test_no_log_shows_the_key(faulty, monkeypatch, caplog):
    monkeypatch.setenv("A_TEST_KEY", KEY)
    with caplog.at_level(logging.DEBUG):
        ask(faulty, key_from="A_TEST_KEY")
    assert caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("status", [401, 400, 429])
def test_no_error_shows_the_key_though_the_server_repeats_it(faulty, monkeypatch, status):
    monkeypatch.setenv("A_TEST_KEY", KEY)
    faulty.script = [refusal(status, f"{'x' * 170} wrong key {KEY} given", retry_after="3600")]
    with pytest.raises(InputError) as caught:
        ask(faulty, key_from="A_TEST_KEY")
    assert KEY[:12] not in str(caught.value)
    assert "wrong key" in str(caught.value)


@pytest.mark.parametrize(("value", "sentence"), [("", "holds no key"), ("two words", "is no key: it has spaces"),
                                                 ("a\nb", "is no key")])
def test_a_key_that_is_none_is_refused_and_not_shown(faulty, monkeypatch, value, sentence):
    monkeypatch.setenv("A_TEST_KEY", value)
    with pytest.raises(InputError, match=sentence) as caught:
        ask(faulty, key_from="A_TEST_KEY")
    assert not value or value not in str(caught.value)
    assert faulty.seen == []
