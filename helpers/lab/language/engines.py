"""Engines that run a language model: transformers (the reference), OpenVINO GenAI and llama.cpp.

All three read token ids and give token ids: one tokenizer, that of the model's own file, serves them all, so that they
differ in their arithmetic only.
"""

import abc
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import queue
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from transformers import PreTrainedTokenizerBase

from helpers.lab.errors import InputError, reason
from helpers.lab.machine import usable_cores
from helpers.lab.progress import Progress, silent

_HEARTBEAT_S = 0.2  # an engine lets its caller look at Cancel this often
_CHUNK = 128  # prompt tokens that transformers reads in one go: a fraction of a second for a small model
_SEQUENCES = 16  # answers that OpenVINO GenAI writes together
# By itself OpenVINO computes in bf16 where the CPU can, rounds activations to 8 bits and stores keys and values in 8:
# of six answers of 24 tokens, one was that of transformers in fp32; with these, five.
_FAITHFUL = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}
_SLOTS = 4  # answers that llama.cpp writes together; each holds its own context

Prompt = str | Sequence[Mapping[str, str]]  # what a user says, or messages {"role": …, "content": …}
Form = str | Mapping[str, Any]  # a regular expression, or a JSON schema
Piece = tuple[int | None, list[int]]  # (row, its new tokens); no row says that time has passed


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model wrote: text and token ids, without the end token and without the stop word.

    ended: "stop" where the model (or a stop word) ended it, "length" where `max_tokens` did.
    """

    text: str
    tokens: tuple[int, ...]
    prompt_tokens: int
    ended: str


class LanguageModel(abc.ABC):
    """A causal language model with its tokenizer, in one of the engines.

    Args:
        context: tokens of prompt and answer together, at most.
        ends: token ids that end an answer.
        stored: bytes of the file that the engine reads.
    """

    engine: str

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int) -> None:
        self.name, self.tokenizer, self.context, self.ends = name, tokenizer, context, frozenset(ends)
        self.stored = stored

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text as it stands: no chat template, no marks around it."""
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []

    def read(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt in the model's chat template, up to where the answer begins.

        A model without a template reads the plain text.
        """
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(part) for part in prompt]
        if self.tokenizer.chat_template:
            prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            prompt = "\n".join(message["content"] for message in messages)
        return self.encode([prompt])[0]

    def generate(self, prompts: Sequence[Prompt], *, max_tokens: int = 64, stop: Sequence[str] = (),
                 form: Form | None = None, progress: Progress = silent) -> list[Answer]:
        """An answer to each prompt: the likeliest token each time (greedy).

        Args:
            stop: an answer ends before the first of these.
            form: a regular expression or a JSON schema that answers keep to, where the engine can.
            progress: hears what is being written; asked several times a second whether to end.

        Raises:
            InputError: no tokens to read or to write, more than the context holds, or a form that the engine lacks.
            Cancelled: `progress` was told to end.
        """
        rows = [self.read(prompt) for prompt in prompts]
        self._require_room(rows, max_tokens)
        written: list[list[int]] = [[] for _ in rows]
        texts, ended = [""] * len(rows), {}
        with contextlib.closing(self._stream(rows, max_tokens, form, ended)) as pieces:
            for row, tokens in pieces:
                progress.check()
                for token in tokens if row is not None and row not in ended else ():
                    if token in self.ends:
                        ended[row] = "stop"
                        break
                    written[row].append(token)
                    texts[row] = self._decode(written[row]) if stop or len(rows) == 1 else ""
                    if any(word in texts[row] for word in stop):
                        ended[row] = "stop"
                        break
                    if len(written[row]) == max_tokens:
                        ended[row] = "length"
                        break
                if row is not None:
                    progress(sum(map(len, written)) / (max_tokens * len(rows)),
                             texts[0][-60:] if len(rows) == 1 else f"{len(ended)} of {len(rows)} answers")
        return [Answer(_before(self._decode(tokens), stop), tuple(tokens), len(ids), ended.get(row, "stop"))
                for row, (ids, tokens) in enumerate(zip(rows, written, strict=True))]

    def score(self, prompt: Prompt, answers: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """(answers,) log-probability, in nats, that the model answers just so and then ends.

        The prompt is read once for all answers.

        Raises:
            InputError: no answers, an empty one, or more tokens than the context holds.
            Cancelled: `progress` was told to end.
        """
        prefix, end = self.read(prompt), min(self.ends)
        rows = [[*ids, end] for ids in self.encode(answers)]
        if not rows or min(map(len, rows)) < 2:
            raise InputError("Scoring needs at least one answer, and none that is empty.")
        self._require_room([prefix], max(map(len, rows)))
        progress.check()
        return self._score(prefix, rows, progress)

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _require_room(self, rows: Sequence[Sequence[int]], more: int) -> None:
        if more < 1 or not all(rows):
            raise InputError("A language model needs a prompt of at least one token, and at least one token to write.")
        longest = max(map(len, rows), default=0)
        if longest + more > self.context:
            raise InputError(f"A prompt of {longest:,} tokens and {more:,} more do not fit in the {self.context:,} "
                             f"that '{self.name}' reads at once: shorten the prompt or max_tokens.")

    @abc.abstractmethod
    def _stream(self, rows: list[list[int]], limit: int, form: Form | None, ended: dict[int, str]) -> Iterator[Piece]:
        """Up to `limit` tokens of each row as they come, in any order; rows in `ended` need no more."""

    @abc.abstractmethod
    def _score(self, prefix: list[int], rows: list[list[int]], progress: Progress) -> np.ndarray:
        """Summed log-probability of each row's tokens after the prefix."""


def _chunks(ids: list[int]) -> list[list[int]]:
    """A prompt in parts, so that Cancel is heard between them."""
    return [ids[start:start + _CHUNK] for start in range(0, len(ids), _CHUNK)]


def _before(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the stop words in it."""
    return text[:min((text.index(word) for word in stop if word in text), default=len(text))]


class TransformersModel(LanguageModel):
    """The reference: fp32 weights in PyTorch, one request at a time."""

    engine = "transformers"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, module: Any) -> None:
        super().__init__(name, tokenizer, context, ends, stored)
        self.module = module.eval()

    def _stream(self, rows, limit, form, ended):
        if form is not None:
            raise InputError("transformers cannot hold answers to a form: use engine='openvino' or 'llama.cpp'.")
        for row, ids in enumerate(rows):
            cache = self._cache()
            for part in _chunks(ids):
                logits = self._forward([part], cache)
                yield None, []
            for _ in range(limit):
                token = int(logits.argmax(-1))
                yield row, [token]
                if row in ended:
                    break
                logits = self._forward([[token]], cache)

    def _score(self, prefix, rows, progress):
        import torch
        from torch.nn import functional

        cache = self._cache()
        for part in _chunks(prefix):
            logits = self._forward([part], cache)
            progress.check()
        first = functional.log_softmax(logits.double(), -1)[0]                      # (vocabulary,)
        # Padded on the right: in a causal model, what comes later changes nothing before it.
        longest, padding = max(map(len, rows)), rows[0][-1]
        padded = [row + [padding] * (longest - len(row)) for row in rows]
        ids = torch.tensor(padded, device=logits.device)                            # (answers, longest)
        cache.batch_repeat_interleave(len(rows))
        after = functional.log_softmax(self._forward([row[:-1] for row in padded], cache, keep=0).double(), -1)
        told = after.gather(2, ids[:, 1:, None])[..., 0]                            # (answers, longest - 1)
        return np.array([float(first[row[0]]) + float(told[index, :len(row) - 1].sum())
                         for index, row in enumerate(rows)])

    def _cache(self) -> Any:
        from transformers.cache_utils import DynamicCache

        return DynamicCache(config=self.module.config)

    def _forward(self, ids: list[list[int]], cache: Any, keep: int = 1) -> Any:
        """(rows, vocabulary) logits of the last token; of all tokens with keep=0."""
        import torch

        with torch.inference_mode():
            held = torch.tensor(ids, device=self.module.device)
            logits = self.module(held, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits
        return logits[:, -1] if keep else logits


class OpenVinoModel(LanguageModel):
    """OpenVINO GenAI with continuous batching and a cache of shared prefixes; it reads GGUF and its own folders."""

    engine = "openvino"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, path: Path) -> None:
        super().__init__(name, tokenizer, context, ends, stored)
        self._path, self._pipeline, self._requests = path, self._open(path), 0
        # Tokens whose keys and values come out of the cache of prefixes are not scored again: their log-probabilities
        # are kept here. Hence a pipeline for scores alone, opened when first used.
        self._scorer: Any = None
        self._known: dict[tuple[int, ...], float] = {}

    @staticmethod
    def _open(path: Path) -> Any:
        import openvino_genai

        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = 1, _SEQUENCES, True
        try:
            return openvino_genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", _FAITHFUL)
        except RuntimeError as error:
            raise InputError(f"OpenVINO GenAI cannot read '{path.name}' ({reason(error)}). Try engine='llama.cpp' or "
                             "'transformers'.") from error

    def _stream(self, rows, limit, form, ended):
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.apply_chat_template = limit, False, False
        config.stop_token_ids = set(self.ends)
        if form is not None:
            config.structured_output_config = openvino_genai.StructuredOutputConfig()
            if isinstance(form, str):
                config.structured_output_config.regex = form
            else:
                config.structured_output_config.json_schema = json.dumps(form)
        handles = {}
        try:
            for row, ids in enumerate(rows):
                handles[row] = self._ask(self._pipeline, ids, config)
            while handles and self._pipeline.has_non_finished_requests():
                self._step(self._pipeline, form)
                for row, handle in list(handles.items()):
                    if row in ended:
                        handles.pop(row).cancel()
                    elif str(handle.get_status()).endswith("IGNORED"):
                        raise InputError(f"The cache of OpenVINO GenAI has no room for {len(rows)} prompts of "
                                         f"{max(map(len, rows)):,} tokens: give fewer at once.")
                    elif handle.can_read():
                        yield row, [token for output in handle.read().values() for token in output.generated_ids]
                yield None, []
        finally:
            for handle in handles.values():
                handle.cancel()
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # cancelled requests leave with the next step

    @staticmethod
    def _step(pipeline: Any, form: Form | None) -> None:
        try:
            pipeline.step()
        except RuntimeError as error:
            raise InputError(f"OpenVINO GenAI gave up ({reason(error)})."
                             + (" Check the regular expression or the JSON schema." if form else "")) from error

    def _ask(self, pipeline: Any, ids: Sequence[int], config: Any) -> Any:
        import openvino

        self._requests += 1
        return pipeline.add_request(self._requests, openvino.Tensor(np.array([ids], np.int64)), config)

    def _score(self, prefix, rows, progress):
        found = self._echoed(prefix, rows, progress)
        if found is None:  # its cache of prefixes knows what was never asked for: begin without it
            self._scorer = None
            found = self._echoed(prefix, rows, progress)
        return np.array(found)

    def _echoed(self, prefix: list[int], rows: list[list[int]], progress: Progress) -> list[float] | None:
        """The rows' log-probabilities, from the echo of the prompt; None where one is not to be had."""
        import openvino_genai

        if self._scorer is None:
            self._scorer, self._known = self._open(self._path), {}
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.do_sample, config.apply_chat_template = 1, False, False
        config.echo, config.logprobs, config.ignore_eos = True, 1, True
        before = prefix[:(len(prefix) - 1) // 32 * 32]  # whole blocks of the cache, without the prompt's last token
        for part in ([before] if before else [], [prefix + row for row in rows]):
            handles = [self._ask(self._scorer, ids, config) for ids in part]
            while self._scorer.has_non_finished_requests():
                self._step(self._scorer, None)
                progress.check()
            for ids, handle in zip(part, handles, strict=True):
                # The last value is that of the token written after the prompt.
                told = [value for output in handle.read_all() for value in output.generated_log_probs][:-1]
                start = max(len(prefix), len(ids) - len(told))
                for place in range(start, len(ids)):
                    self._known[tuple(ids[:place + 1])] = told[place - len(ids)]
        keys = [[(*prefix, *row[:place + 1]) for place in range(len(row))] for row in rows]
        if any(key not in self._known for row in keys for key in row):
            return None
        return [sum(self._known[key] for key in row) for row in keys]


class LlamaCppModel(LanguageModel):
    """llama.cpp's own server, inside this process, on 127.0.0.1 and with a key of its own."""

    engine = "llama.cpp"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, path: Path) -> None:
        import xllamacpp

        super().__init__(name, tokenizer, context, ends, stored)
        params = xllamacpp.CommonParams()
        params.model.path, params.n_ctx, params.n_parallel = str(path), context * _SLOTS, _SLOTS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = usable_cores()  # of prompts, too
        params.verbosity = 0
        self._key = secrets.token_hex(16)
        params.api_keys = [self._key]
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise InputError(f"llama.cpp cannot read '{path.name}' ({reason(error)}). Try engine='transformers'."
                             ) from error
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

        with concurrent.futures.ThreadPoolExecutor(_SLOTS) as pool:
            try:
                for row in range(len(rows)):
                    pool.submit(ask, row)
                left = len(rows)
                while left:
                    try:
                        row, piece = pieces.get(timeout=_HEARTBEAT_S)
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
                    with contextlib.suppress(OSError):  # closed meanwhile
                        connection.sock.shutdown(socket.SHUT_RDWR)

    def _events(self, body: dict[str, Any], connections: set[http.client.HTTPConnection],
                stopped: threading.Event) -> Iterator[dict[str, Any]]:
        """What the server sends, one JSON object after another; just one where the body asks for no stream."""
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
                said = json.loads(response.read()).get("error", {}).get("message", "no reason given")
                raise InputError(f"llama.cpp's server refused: {said}.")
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
                    [told] = self._events({"prompt": [*prefix, *start], "n_predict": 1, "temperature": 0,
                                           "n_probs": len(self.tokenizer)}, set(), threading.Event())
                    top = told["completion_probabilities"][0]["top_logprobs"]
                    after[start] = {token["id"]: token["logprob"] for token in top}
        return np.array([sum(after[tuple(row[:place])][token] for place, token in enumerate(row)) for row in rows])
