"""OpenVINO GenAI: continuous batching and a cache of shared prefixes, on a CPU."""

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from transformers import PreTrainedTokenizerBase

from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.model import Form, LocalModel
from helpers.lab.progress import Progress

_SEQUENCES = 16  # answers that are written together
# By itself OpenVINO computes in bf16 where the CPU can, rounds activations to 8 bits and stores keys and values in 8:
# of six answers of 24 tokens, one was that of transformers in fp32; with these, five.
FAITHFUL = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0", "KV_CACHE_PRECISION": "f32"}


class OpenVinoModel(LocalModel):
    """OpenVINO GenAI with continuous batching and a cache of shared prefixes; it reads GGUF and its own folders."""

    engine = "openvino"

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase, context: int, ends: Sequence[int],
                 stored: int, path: Path) -> None:
        super().__init__(name, tokenizer, context, ends, stored, path)
        self._pipeline, self._requests = self._open(path), 0
        # Tokens whose keys and values come out of the cache of prefixes are not scored again: their log-probabilities
        # are kept here. Hence a pipeline for scores alone, opened when first used.
        self._scorer: Any = None
        self._known: dict[bytes, float] = {}

    def uncached(self) -> Self:
        """The same model, loaded a second time and without a cache of prefixes: each prompt is read as if new."""
        other = copy.copy(self)
        other._pipeline, other._scorer, other._known = self._open(self.path, prefix_caching=False), None, {}
        return other

    @staticmethod
    def _open(path: Path, prefix_caching: bool = True) -> Any:
        import openvino_genai

        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = 1, _SEQUENCES, prefix_caching
        try:
            return openvino_genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", FAITHFUL)
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
        log_probs = self._echoed(prefix, rows, progress)
        if log_probs is None:  # its cache of prefixes knows what was never asked for: begin without it
            self._scorer = None
            log_probs = self._echoed(prefix, rows, progress)
        return np.array(log_probs)

    def _echoed(self, prefix: list[int], rows: list[list[int]], progress: Progress) -> list[float] | None:
        """The rows' log-probabilities, from the echo of the prompt; None where one is not to be had."""
        import openvino_genai

        if self._scorer is None:
            self._scorer, self._known = self._open(self.path), {}
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
                log_probs = [value for output in handle.read_all() for value in output.generated_log_probs][:-1]
                start = max(len(prefix), len(ids) - len(log_probs))
                for place, digest in enumerate(_digests(ids, start), start):
                    self._known[digest] = log_probs[place - len(ids)]
        keys = [list(_digests(prefix + row, len(prefix))) for row in rows]
        if any(key not in self._known for row in keys for key in row):
            return None
        return [sum(self._known[key] for key in row) for row in keys]


def _digests(ids: list[int], start: int) -> Iterator[bytes]:
    """Digests of the tokens up to each place from `start` on: thousands of prompts would fill the memory."""
    digest = hashlib.blake2b(np.array(ids[:start], np.int32).tobytes(), digest_size=16)
    for token in ids[start:]:
        digest.update(np.int32(token).tobytes())
        yield digest.digest()
