"""OpenVINO GenAI with one switch after another, on the same requests: what each gives, and whether answers change."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.model import LocalModel
from helpers.lab.measuring.intervals import ratio_over_processes
from helpers.lab.measuring.timing import settle, timing_turn
from helpers.lab.progress import Progress, silent

KV_PRECISIONS = ("f32", "u8")
_NGRAM = 3  # tokens that have to be the same before those that prompt lookup guesses
_WARM_UP = 2  # requests: what prompts begin with is cached by then

Requests = tuple[list[list[int]], list[int]]  # token ids of each prompt, and how many tokens each answer has


@dataclasses.dataclass(frozen=True)
class Switches:
    """How an engine serves.

    Args:
        sequences: answers that are written together, at most; 1: one by one.
        static: the next ones begin when all of these have ended, not when one has.
        prefix_caching: keys and values of what prompts begin with alike are computed once.
        lookup: tokens that are guessed from the prompt (what stood there behind the same three) and checked in one
            step; 0: none (Saxena, prompt lookup decoding, 2023).
        kv_precision: of keys and values in memory, one of KV_PRECISIONS.
        step_tokens: in one step, at most; a longer prompt takes several, between which others write (chunked prefill).

    Raises:
        InputError: figures or a precision that cannot be.
    """

    sequences: int = 8
    static: bool = False
    prefix_caching: bool = False
    lookup: int = 0
    kv_precision: str = "f32"
    step_tokens: int = 256

    def __post_init__(self) -> None:
        if self.kv_precision not in KV_PRECISIONS:
            raise InputError(f"Unknown precision '{self.kv_precision}' of keys and values. Choose one of: "
                             f"{', '.join(KV_PRECISIONS)}.")
        if self.sequences < 1 or self.lookup < 0 or self.step_tokens < 1:
            raise InputError("An engine needs at least one sequence and one token in a step, and no negative lookup.")


ENGINES: Mapping[str, Switches] = {
    "one by one": Switches(sequences=1),
    "static batches": Switches(static=True),
    "continuous batching": Switches(),
    "with whole prompts in a step": Switches(step_tokens=8192),
    "with prefix caching": Switches(prefix_caching=True),
    "with prompt lookup": Switches(lookup=4),
    "with 8-bit keys and values": Switches(kv_precision="u8"),
    "with prefix caching and 8 bits": Switches(prefix_caching=True, kv_precision="u8"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What came of some requests.

    Attributes:
        answers: the token ids of each. seconds: until the last token of all.
        first_s: (requests,) seconds to the first token, all requests being there from the start.
        steps: (steps, 2) the end of each step in seconds, and the tokens that came with it.
    """

    answers: list[list[int]]
    seconds: float
    first_s: np.ndarray
    steps: np.ndarray


class Engine:
    """A pipeline of OpenVINO GenAI with such switches. Products are in fp32: what is compared is the serving.

    Args:
        path: a GGUF file, or a folder with openvino_model.xml.

    Raises:
        InputError: OpenVINO GenAI cannot read it.
    """

    def __init__(self, path: Path, switches: Switches = Switches()) -> None:
        import openvino_genai

        self.switches, self._requests = switches, 0
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 1  # GB of keys and values
        scheduler.enable_prefix_caching = switches.prefix_caching
        scheduler.max_num_batched_tokens = switches.step_tokens
        properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
                      "KV_CACHE_PRECISION": switches.kv_precision}
        if switches.lookup:
            properties["prompt_lookup"] = True
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(path), scheduler, "CPU", properties)
        except RuntimeError as error:
            raise InputError(f"OpenVINO GenAI cannot serve '{path.name}' so ({reason(error)}): leave out a switch, or "
                             "take another file.") from error

    def run(self, prompts: Sequence[Sequence[int]], tokens: Sequence[int], progress: Progress = silent) -> Run:
        """Answer all prompts, each with so many tokens, whether or not the model would end before.

        Args:
            prompts: token ids of each.

        Raises:
            InputError: numbers that do not fit, or no room for keys and values.
            Cancelled: `progress` was told to end; asked at each step.
        """
        if not len(prompts) or len(prompts) != len(tokens) or min(tokens) < 1 or not all(map(len, prompts)):
            raise InputError("An engine needs prompts of at least one token, and for each the tokens to write.")
        answers: list[list[int]] = [[] for _ in prompts]
        first_s, steps, waiting, inside = np.zeros(len(prompts)), [], deque(range(len(prompts))), {}
        began = time.perf_counter()
        try:
            while waiting or inside:
                # The scheduler's own limit (max_num_seqs) holds only where it does not cut prompts into chunks.
                free = 0 if self.switches.static and inside else self.switches.sequences - len(inside)
                for _ in range(min(free, len(waiting))):
                    row = waiting.popleft()
                    inside[row] = self._ask(prompts[row], tokens[row])
                progress.check()
                self._step()
                now, came = time.perf_counter() - began, 0
                for row, handle in list(inside.items()):
                    fresh = self._read(handle)
                    first_s[row] = now if fresh and not answers[row] else first_s[row]
                    answers[row] += fresh
                    came += len(fresh)
                    if len(answers[row]) >= tokens[row]:
                        del inside[row]
                steps.append((now, came))
                if inside and not self._pipeline.has_non_finished_requests():
                    raise InputError(f"OpenVINO GenAI ended an answer before its {max(tokens)} tokens: ask for fewer.")
        finally:
            for handle in inside.values():
                handle.cancel()
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()  # cancelled requests leave with the next step
        return Run(answers, steps[-1][0], first_s, np.array(steps))

    def _ask(self, ids: Sequence[int], tokens: int) -> Any:
        import openvino
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos = int(tokens), True
        config.do_sample, config.apply_chat_template = False, False
        if self.switches.lookup:
            config.num_assistant_tokens, config.max_ngram_size = self.switches.lookup, _NGRAM
        self._requests += 1
        return self._pipeline.add_request(self._requests, openvino.Tensor(np.array([ids], np.int64)), config)

    def _step(self) -> None:
        try:
            self._pipeline.step()
        except RuntimeError as error:
            raise InputError(f"OpenVINO GenAI gave up ({reason(error)}).") from error

    @staticmethod
    def _read(handle: Any) -> list[int]:
        if str(handle.get_status()).endswith("IGNORED"):
            raise InputError("The engine's memory of keys and values has no room for so many prompts of this length: "
                             "give fewer at once, or shorter ones.")
        fresh: list[int] = []
        while handle.can_read():
            fresh += [token for output in handle.read().values() for token in output.generated_ids]
        return fresh


def shared_requests(llm: LocalModel, texts: Sequence[str], *, common: float = 0.8, count: int = 16,
                    prompt_tokens: int = 256, answer_tokens: tuple[int, int] = (8, 56)) -> Callable[[int], Requests]:
    """What gives requests whose prompts begin alike, as an instruction with examples does; each number others.

    Args:
        texts: what prompts are made of, one after another, as tokens.
        common: share of each prompt that all have in common.
        answer_tokens: the shortest and the longest answer; between them all lengths are as frequent.

    Raises:
        InputError: a share outside of 0 to 1 (without 1), or texts that are too short for prompts that differ.
    """
    ids = [token for row in llm.encode(list(texts)) for token in row]
    shared = round(common * prompt_tokens)
    own = prompt_tokens - shared
    if not 0 <= common < 1 or own < 1 or len(ids) < 2 * prompt_tokens:
        raise InputError(f"Prompts of {prompt_tokens} tokens with a common share of {common:g} need a share from 0 to "
                         f"below 1, and texts of {2 * prompt_tokens} tokens or more, not {len(ids)}.")

    def requests(number: int) -> Requests:
        rng = np.random.default_rng(number)
        starts = rng.integers(shared, len(ids) - own + 1, count)
        return ([ids[:shared] + ids[start:start + own] for start in starts],
                rng.integers(answer_tokens[0], answer_tokens[1] + 1, count).tolist())
    return requests


def compare_engines(path: Path, requests: Callable[[int], Requests], engines: Mapping[str, Switches] = ENGINES, *,
                    rounds: int = 3, progress: Progress = silent) -> pd.DataFrame:
    """The same requests in each engine, in turns; the first one is the reference.

    Args:
        path: of the model, see `Engine`.
        requests: number -> requests, such as `shared_requests` gives. Each engine is opened anew in each round, meets
            two of one number's in its warm-up and is timed on the next number's: what prompts share is cached by then,
            the rest is not.

    Returns:
        A row an engine: engine, seconds, requests_per_s, tokens_per_s (written), speedup, low, high (95 %, over
        rounds), first_p50_s, first_p95_s (all requests come at once), same_answers (share of the first engine's, token
        by token), prompt_tokens, answer_tokens (means of a request), requests, rounds, note
        (why an engine did not run, empty where it did; its figures are missing).

    Raises:
        InputError: fewer than two rounds, no engine, or what `Engine` refuses of the first one.
        Cancelled: `progress` was told to end.
    """
    if rounds < 2 or not engines:
        raise InputError("Engines are compared in at least two rounds, and there is at least one.")
    runs: dict[str, list[Run]] = {name: [] for name in engines}
    notes = dict.fromkeys(engines, "")
    with timing_turn(progress):
        for number in range(rounds):
            for place, name in enumerate(name for name in engines if not notes[name]):
                progress((number + place / len(engines)) / rounds, f"round {number + 1} of {rounds}: {name}")
                try:
                    engine = Engine(path, engines[name])
                    engine.run(*(some[:_WARM_UP] for some in requests(2 * number)), progress)
                    settle()
                    runs[name].append(engine.run(*requests(2 * number + 1), progress))
                    del engine  # one at a time in memory
                except InputError as error:
                    if not any(runs.values()):
                        raise
                    notes[name] = str(error)
    progress(1.0, "done")
    asked = [requests(2 * number + 1) for number in range(rounds)]
    reference = next(iter(runs.values()))
    return pd.DataFrame([{"engine": name, "note": note} if note else
                         {**_row(name, runs[name], reference, asked), "note": ""} for name, note in notes.items()])


def _row(name: str, runs: Sequence[Run], reference: Sequence[Run], asked: Sequence[Requests]) -> dict[str, object]:
    seconds, before = (np.array([run.seconds for run in some]) for some in (runs, reference))
    ratio = (1.0, 1.0, 1.0) if runs is reference else ratio_over_processes(before, seconds)
    count, written = len(asked[0][0]), float(np.mean([sum(tokens) for _, tokens in asked]))
    first_s = np.concatenate([run.first_s for run in runs])
    same = [one == other for run, first in zip(runs, reference, strict=True)
            for one, other in zip(run.answers, first.answers, strict=True)]
    middle = float(np.median(seconds))
    return {"engine": name, "seconds": middle, "requests_per_s": count / middle, "tokens_per_s": written / middle,
            **dict(zip(("speedup", "low", "high"), ratio, strict=True)), "first_p50_s": float(np.median(first_s)),
            "first_p95_s": float(np.quantile(first_s, 0.95)), "same_answers": float(np.mean(same)),
            "prompt_tokens": float(np.mean([len(row) for rows, _ in asked for row in rows])),
            "answer_tokens": written / count, "requests": count, "rounds": len(runs)}
