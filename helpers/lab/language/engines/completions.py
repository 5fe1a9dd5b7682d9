"""Chat completions over HTTP: many at once, no faster than agreed, and again where a server fails for a moment."""

import asyncio
import contextlib
import dataclasses
import email.utils
import json
import os
import queue
import random
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import aiohttp

from helpers.lab.errors import InputError
from helpers.lab.language.engines.connection import open_client, read_events
from helpers.lab.language.engines.model import HEARTBEAT_S

_ATTEMPTS = 5
_MAX_WAIT_S = 120.0  # a server that asks for more is not waited for
_MAX_REFUSAL = 10_000  # bytes of an error page that are read
_MAX_SAID = 200  # letters of it that are shown
# What newer models of OpenAI's refuse, and what they take in its place.
_OTHERWISE = {"max_tokens": "max_completion_tokens", "temperature": None}


class Again(Exception):
    """Another attempt may help, after so many seconds."""

    def __init__(self, said: str, after_s: float = 0.0) -> None:
        super().__init__(said)
        self.after_s = after_s


@dataclasses.dataclass
class Reply:
    """An answer as far as it has come; `likeliest`: candidates for its first token, with log-probabilities."""

    text: str = ""
    ended: str = ""
    trouble: str = ""
    usage: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    likeliest: dict[str, float] = dataclasses.field(default_factory=dict)

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of a stream, or the one answer without one.

        Raises:
            ValueError, TypeError, AttributeError, KeyError: it is none.
        """
        self.trouble = _message(event) or self.trouble
        for choice in event.get("choices") or ():
            self.text += (choice.get("delta") or choice.get("message") or {}).get("content") or ""
            self.ended = choice.get("finish_reason") or self.ended
            tokens = (choice.get("logprobs") or {}).get("content") or []
            if tokens and not self.likeliest:  # two tokens of one text: the likelier comes first, and stays
                self.likeliest = {one["token"]: float(one["logprob"]) for one in reversed(tokens[0]["top_logprobs"])}
        self.usage = event.get("usage") or self.usage


class Server:
    """Where chat completions are asked for.

    Args:
        where: what errors call it.
        key_from: the environment variable with the key. The key itself is in no attribute.
        requests_per_minute, tokens_per_minute: None for no limit.
    """

    def __init__(self, where: str, url: str, key_from: str | None, at_once: int, requests_per_minute: float | None,
                 tokens_per_minute: float | None, timeout_s: float) -> None:
        self.where, self._url, self._key_from = where, url, key_from
        self._at_once, self._timeout_s = at_once, timeout_s
        self._requests, self._tokens = _Pace(requests_per_minute), _Pace(tokens_per_minute)
        self._refused: set[str] = set()  # names of _OTHERWISE
        self.tokens_read = self.tokens_written = 0  # of all answers so far, as it counts them

    def ask(self, bodies: Sequence[dict[str, Any]], tokens: Sequence[float], hear: Callable[[bool], None],
            check: Callable[[], None]) -> list[Reply]:
        """A reply to each request.

        Args:
            tokens: what each may use, for the limit a minute; the server's own count corrects it.
            hear: called with False for a piece of an answer, with True for a whole one.
            check: called several times a second; what the two raise ends all requests.

        Raises:
            InputError: the server refuses, fails again and again, or does not count its tokens.
        """
        return in_own_loop(lambda said: self._all(bodies, tokens, said), hear, check)

    def client(self) -> aiohttp.ClientSession:
        """Client that sends requests, as many at once as one likes; for an `async with` in an event loop."""
        return open_client(self._url, self._timeout_s)

    def used(self, reply: Reply) -> tuple[int, int]:
        """Tokens read and written, as the server counts them.

        Raises:
            InputError: it does not.
        """
        try:
            return int(reply.usage["prompt_tokens"]), int(reply.usage["completion_tokens"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self.where} does not count its tokens (usage), so nobody could tell what an answer "
                             "costs: use a server that does.") from None

    @staticmethod
    def cached(reply: Reply) -> int | None:
        """Tokens of the prompt that the server had in its cache, as it counts them; None where it does not say."""
        return (reply.usage.get("prompt_tokens_details") or {}).get("cached_tokens")

    async def _all(self, bodies: Sequence[dict[str, Any]], tokens: Sequence[float],
                   said: Callable[[bool], None]) -> list[Reply]:
        free = asyncio.Semaphore(self._at_once)
        async with self.client() as client:
            tasks = [asyncio.ensure_future(self._one(client, free, body, guessed, said))
                     for body, guessed in zip(bodies, tokens, strict=True)]
            try:
                return await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _one(self, client: aiohttp.ClientSession, free: asyncio.Semaphore, body: dict[str, Any], guessed: float,
                   said: Callable[[bool], None]) -> Reply:
        async with free:
            for attempt in range(1, _ATTEMPTS + 1):
                await asyncio.sleep(max(self._requests.turn(1), self._tokens.turn(guessed)))
                try:
                    reply = await self.attempt(client, body, said)
                    break
                except Again as again:
                    if attempt == _ATTEMPTS or again.after_s > _MAX_WAIT_S:
                        wait = f" It asks to wait {again.after_s:,.0f} s." if again.after_s else ""
                        raise InputError(f"{self.where} gave no answer in {attempt} attempt(s) ({again}).{wait} Try "
                                         "again later, with fewer requests a minute.") from None
                    self._requests.hold(again.after_s)
                    await asyncio.sleep(random.uniform(0, 2**attempt / 4))
        read, written = self.used(reply)
        self.tokens_read, self.tokens_written = self.tokens_read + read, self.tokens_written + written
        self._tokens.add(read + written - guessed)
        said(True)
        return reply

    async def attempt(self, client: aiohttp.ClientSession, body: dict[str, Any], said: Callable[[bool], None],
                      reply: Reply | None = None) -> Reply:
        """One request, sent once; its answer goes into `reply`, if there is one.

        Raises:
            Again: another attempt may help.
            InputError: the server refuses.
        """
        reply = Reply() if reply is None else reply
        body = {_OTHERWISE[name] if name in self._refused else name: value for name, value in body.items()}
        body.pop(None, None)
        try:
            async with client.post(f"{self._url}/chat/completions", json=body, headers=self._signed(),
                                   allow_redirects=False) as response:
                if response.status != 200:
                    await self._refuse(response, body)
                if body.get("stream"):
                    async for event in read_events(response):
                        if event != b"[DONE]":
                            reply.take(json.loads(event))
                            said(False)
                else:
                    reply.take(json.loads(await response.read()))
        except (aiohttp.ClientError, OSError) as error:
            raise Again(self._shown(f"{type(error).__name__}: {error}")) from None
        except InputError:  # a ValueError, too: a refusal, or no key
            raise
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise Again(self._shown(f"what came is no chat completion, {type(error).__name__}: {error}")) from None
        if not reply.ended:
            raise Again(self._shown(reply.trouble or "its answer broke off"))
        return reply

    async def _refuse(self, response: aiohttp.ClientResponse, body: Mapping[str, Any]) -> None:
        """Say why there is no answer: `Again` where another attempt may help, else InputError."""
        page = b""
        async for part in response.content.iter_any():
            page += part
            if len(page) > _MAX_REFUSAL:
                break
        text, name = page.decode(errors="replace"), None
        with contextlib.suppress(ValueError, LookupError, AttributeError, TypeError):  # no JSON, or of another form
            error = json.loads(text)
            text = _message(error) or text
            name = str(error["error"].get("param"))
        status = response.status
        reason = self._shown(f"HTTP {status}: {text}")
        if status == 400 and name in _OTHERWISE and name in body:
            if name == "temperature" and name not in self._refused:
                warnings.warn(f"{self.where} does not let its temperature be chosen: its answers are drawn at random "
                              "and may differ from run to run.", stacklevel=2)
            self._refused.add(name)
            raise Again(reason)
        if status in (408, 429) or status >= 500:
            headers = response.headers
            raise Again(reason, _seconds(headers.get("retry-after", ""), headers.get("date", "")))
        if status in (401, 403):
            what = f"the key in {self._key_from}" if self._key_from else "requests without a key; name one by key_from"
            raise InputError(f"{self.where} refuses {what} ({reason}).")
        raise InputError(f"{self.where} refuses the request ({reason}). Check the address, the model's name and what "
                         "was asked for.")

    def _signed(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {read_key(self._key_from)}"} if self._key_from else {}

    def _shown(self, text: str) -> str:
        """Return a server's message, on one line, without the key in it."""
        key = os.environ.get(self._key_from or "", "")
        text = text.replace(key, "[key]") if key else text
        return " ".join(text.split())[:_MAX_SAID].rstrip(".")


class _Pace:
    """Turns that come no faster than so much a minute."""

    def __init__(self, per_minute: float | None) -> None:
        self._each_s, self._next, self._lock = 60 / per_minute if per_minute else 0.0, 0.0, threading.Lock()

    def turn(self, amount: float) -> float:
        """Seconds to wait before so much may go out."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + amount * self._each_s
            return start - now

    def add(self, amount: float) -> None:
        """So much more than was thought has gone out; less than 0 gives back."""
        with self._lock:
            self._next += amount * self._each_s

    def hold(self, seconds: float) -> None:
        """No turn for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


def in_own_loop(work: Callable[[Callable[[bool], None]], Coroutine[Any, Any, list[Any]]],
                hear: Callable[[bool], None], check: Callable[[], None]) -> list[Any]:
    """Run `work(tell)` in the event loop of a separate thread, since a notebook's main thread already runs one."""
    heard: queue.SimpleQueue[bool | None] = queue.SimpleQueue()
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(heard.put))
    task.add_done_callback(lambda _: heard.put(None))
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), daemon=True)
    thread.start()
    try:
        while True:
            check()
            with contextlib.suppress(queue.Empty):
                event = heard.get(timeout=HEARTBEAT_S)
                if event is None:
                    break
                hear(event)
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
    return task.result()


def read_key(name: str) -> str:
    """The key in an environment variable.

    Raises:
        InputError: there is none, or it is no key.
    """
    key = os.environ.get(name, "")
    if not key:
        raise InputError(f"The environment variable {name} holds no key: set it before the notebook or the command "
                         "starts.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError(f"What the environment variable {name} holds is no key: it has spaces, line ends or other "
                         "signs that no request can carry.")
    return key


def _message(event: Mapping[str, Any]) -> str:
    """The error that a server puts into its JSON; empty where there is none."""
    error = event.get("error") or ""
    return str(error.get("message") or error) if isinstance(error, dict) else str(error)


def _seconds(retry_after: str, date: str) -> float:
    """Seconds that a Retry-After header asks for, as such or as a time of the server's clock (Date); 0 for neither."""
    with contextlib.suppress(ValueError):
        return max(0.0, float(retry_after))
    with contextlib.suppress(ValueError):
        now = email.utils.parsedate_to_datetime(date).timestamp() if date else time.time()
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - now)
    return 0.0
