"""A language model behind any OpenAI-compatible server."""

import collections
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from helpers.lab.errors import InputError
from helpers.lab.language.engines.completions import Server, read_key
from helpers.lab.language.engines.connection import is_local
from helpers.lab.language.engines.model import Answer, LanguageModel, Prompt, messages_of, require_answers
from helpers.lab.progress import silent

_CONTEXT = 4096  # the server's own is unknown: what `prompted` fills; anything longer, the server itself refuses
_BYTES_PER_TOKEN = 3  # rather too few: English has more than four
_STOPS = 4  # stop words that the interface takes
_LIKELIEST = 20  # tokens whose log-probabilities the interface shows at most
# Which keys this session gives to which servers, since a saved model could name others; inherited by the processes that
# load a model for us.
_TRUSTED = "HELPERS_ENDPOINTS"


def endpoint(url: str, *, model: str, key_from: str | None = None, at_once: int = 4,
             requests_per_minute: float | None = None, tokens_per_minute: float | None = None,
             timeout_s: float = 60.0) -> "EndpointModel":
    """A language model behind an OpenAI-compatible server, such as vLLM's, llama.cpp's or a vendor's.

    Args:
        url: what comes before /chat/completions, such as "https://api.openai.com/v1"; http:// on this machine only.
        model: its name on the server.
        key_from: the environment variable with the key, which is read for each request and stored nowhere.
        at_once: requests under way together, at most.
        requests_per_minute, tokens_per_minute: what the contract with the server allows; None: no limit.
        timeout_s: the longest silence of the server, also before the first token.

    A request that fails for a moment (429, 408, 5xx, a broken connection or stream, silence) is sent up to five times:
    after the time that the server asks for (Retry-After), and a random one that may double with each attempt.

    Raises:
        InputError: an address or a number that will not do, or no key in the environment.

    >>> from helpers.lab import endpoint
    >>> endpoint("http://127.0.0.1:8080/v1", model="any")
    endpoint('http://127.0.0.1:8080/v1', model='any')
    """
    url = url.rstrip("/").removesuffix("/chat/completions")
    _require_safe(url)
    if min(at_once, timeout_s, requests_per_minute or 1, tokens_per_minute or 1) <= 0 or at_once != int(at_once):
        raise InputError("at_once, timeout_s and the limits a minute are above 0, and at_once is a whole number.")
    if key_from is not None:
        read_key(key_from)
        os.environ[_TRUSTED] = " ".join({*os.environ.get(_TRUSTED, "").split(), f"{key_from}@{url}"})
    return EndpointModel({"url": url, "model": model, "key_from": key_from, "at_once": at_once,
                          "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
                          "timeout_s": timeout_s})


def saved_endpoint(facts: Mapping[str, Any]) -> "EndpointModel":
    """The endpoint of a saved model.

    Raises:
        InputError: it wants a key that this session has not yet given to that server.
    """
    name, url = facts["key_from"], facts["url"]
    if name is not None and f"{name}@{url}" not in os.environ.get(_TRUSTED, "").split():
        raise InputError(f"The saved model would send the key in {name} to {url}. If that is right, call "
                         f"endpoint({url!r}, model={facts['model']!r}, key_from={name!r}) and load it again.")
    return endpoint(**facts)


class EndpointModel(LanguageModel):
    """See `endpoint`. Its tokenizer is unknown: `encode` and `read` refuse, `count_tokens` estimates.

    Args:
        facts: the arguments of `endpoint`, which has looked at them.
    """

    engine = "endpoint"

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(facts["model"], _CONTEXT, 0)
        self._facts = dict(facts)
        limits = {name: facts[name] for name in ("key_from", "at_once", "requests_per_minute", "tokens_per_minute",
                                                 "timeout_s")}
        self.server = Server(f"'{self.name}' at {urlsplit(facts['url']).netloc}", facts["url"], **limits)

    def __repr__(self) -> str:
        return f"endpoint({self._facts['url']!r}, model={self.name!r})"

    def __reduce__(self) -> tuple[Callable[[], "EndpointModel"], tuple[()]]:
        return functools.partial(endpoint, **self._facts), ()

    @property
    def used(self) -> tuple[int, int]:
        """Tokens (read, written) of all answers so far, as the server counts them: what its owner asks to be paid."""
        return self.server.tokens_read, self.server.tokens_written

    def count_tokens(self, texts):
        return [math.ceil(len(text.encode(errors="replace")) / _BYTES_PER_TOKEN) for text in texts]

    def generate(self, prompts, *, max_tokens=64, stop=(), form=None, progress=silent):
        if max_tokens < 1:
            raise InputError("A language model needs at least one token to write.")
        if len(stop) > _STOPS:
            raise InputError(f"A server takes at most {_STOPS} stop words, not {len(stop)}: give fewer.")
        if isinstance(form, str):
            raise InputError("A server holds answers to a JSON schema, not to a regular expression: give a schema, or "
                             "use engine='openvino'.")
        options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
        if stop:
            options["stop"] = list(stop)
        if form is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(form)}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        heard: collections.Counter[bool] = collections.Counter()

        def hear(whole: bool) -> None:
            heard[whole] += 1
            progress(heard[True] / len(prompts), f"{heard[True]} of {len(prompts)} answers")

        bodies = [self.body(messages_of(prompt), max_tokens, options) for prompt in prompts]
        answers = []
        for reply in self.server.ask(bodies, self._guess(bodies), hear, progress.check):
            read, written = self.server.used(reply)
            answers.append(Answer(reply.text, (), read, reply.ended, written, self.server.cached(reply)))
        return answers

    def score(self, prompt, answers, *, progress=silent):
        """(answers,) log-probability, in nats, that the model's answer begins just so.

        Unlike in the other engines, what comes after it does not count: servers hide the end. And they show the twenty
        likeliest tokens alone: an answer that goes on with another one counts as if the rest of it were as likely as
        the last of the twenty, which is rather too much. There is one request for each beginning that answers have, and
        the server has to go on with a message of the assistant's, as llama.cpp's and vLLM's do.

        Raises:
            InputError: no answers or an empty one, or a server that shows no log-probabilities, counts no tokens or
                does not answer.
            Cancelled: `progress` cancelled the work.
        """
        require_answers(answers)
        log_probs, starts = dict.fromkeys(answers, 0.0), dict.fromkeys(answers, "")
        while starts:
            likeliest = self._next_tokens(prompt, sorted(set(starts.values())), progress.check)
            for answer, start in list(starts.items()):
                fitting = [token for token in likeliest[start] if token and answer.startswith(start + token)]
                token = max(fitting, key=len, default="")
                log_probs[answer] += likeliest[start][token] if token else min(likeliest[start].values())
                starts[answer] = start + token
                if not token or starts[answer] == answer:
                    del starts[answer]
        return np.array([log_probs[answer] for answer in answers])

    def _next_tokens(self, prompt: Prompt, starts: Sequence[str],
                     check: Callable[[], None]) -> dict[str, dict[str, float]]:
        """For each beginning of an answer the likeliest next tokens and their log-probabilities."""
        options = {"logprobs": True, "top_logprobs": _LIKELIEST}
        further = {**options, "continue_final_message": True, "add_generation_prompt": False}
        messages = messages_of(prompt)
        bodies = [self.body([*messages, {"role": "assistant", "content": start}], 1, further) if start
                  else self.body(messages, 1, options) for start in starts]
        replies = self.server.ask(bodies, self._guess(bodies), lambda whole: None, check)
        if not all(reply.likeliest for reply in replies):
            raise InputError(f"{self.server.where} shows no log-probabilities (logprobs), so known answers cannot be "
                             "scored there: use generate with a JSON schema, or another server.")
        return {start: reply.likeliest for start, reply in zip(starts, replies, strict=True)}

    def _save(self, folder):
        return {"endpoint": self._facts}

    def body(self, messages: Sequence[Mapping[str, str]], max_tokens: int,
             options: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON of a request with further options of the interface."""
        return {"model": self.name, "messages": messages, "max_tokens": max_tokens, "temperature": 0, **options}

    def _guess(self, bodies: Sequence[dict[str, Any]]) -> list[int]:
        """Tokens that each request may use."""
        return [sum(self.count_tokens([part["content"] for part in body["messages"]])) + body["max_tokens"]
                for body in bodies]


def _require_safe(url: str) -> None:
    """Refuse an address that would show the key or the prompts to others."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or url.split() != [url]:
        raise InputError("The address of an endpoint begins with https:// (on this machine, also http://) and names "
                         "a host, such as https://api.openai.com/v1.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InputError("The address of an endpoint stands in records and errors: give it without a user, a key, '?' "
                         "or '#'. The key comes from the environment variable that key_from names.")
    if parts.scheme == "http" and not is_local(url):
        raise InputError(f"http:// would send the prompts and the key to {host} unencrypted: use https://. Plain http "
                         "goes to this machine only (127.0.0.1).")
