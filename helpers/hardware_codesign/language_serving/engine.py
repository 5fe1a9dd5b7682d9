"""OpenVINO GenAI with one switch after another, on the same requests: what each gives, and whether answers change."""

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.hardware_codesign.language_serving.drafts import draft_folder
from helpers.hardware_codesign.language_serving.switches import BLOCK, ENGINES, GUESSES, PROMPT, Switches, without
from helpers.lab.errors import InputError, reason
from helpers.lab.language.engines.model import LocalModel
from helpers.lab.measuring.comparison import in_fresh_processes
from helpers.lab.measuring.intervals import ratio_over_processes
from helpers.lab.measuring.timing import settle, timing_turn
from helpers.lab.progress import Progress, silent

_NGRAM = 3  # tokens that have to match before the tokens that prompt lookup guesses
_WARM_UP = 2  # requests: what prompts begin with is cached by then
_ANY_TEXT = r"[\s\S]*"  # a form that changes no answer: what is left is its price

Requests = tuple[list[list[int]], list[int]]  # token ids of each prompt, and how many tokens each answer has


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """Results of some requests.

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
        path: a GGUF file, or a folder with openvino_model.xml (which has no draft).

    Raises:
        InputError: OpenVINO GenAI cannot read it, or no draft can be made of it.
    """

    def __init__(self, path: Path, switches: Switches = ENGINES["continuous batching"]) -> None:
        import openvino_genai

        self.switches, self._requests = switches, 0
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(path), self._scheduler(), "CPU",
                                                                       self._properties(path))
        except RuntimeError as error:
            raise InputError(f"OpenVINO GenAI cannot serve '{path.name}' so ({reason(error)}): leave out a switch, or "
                             "take another file.") from error

    def _scheduler(self) -> Any:
        import openvino_genai

        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 1  # GB of keys and values
        scheduler.enable_prefix_caching = self.switches.prefix_caching
        scheduler.max_num_batched_tokens = self.switches.step_tokens
        if self.switches.kept_tokens:
            scheduler.use_cache_eviction = True
            scheduler.cache_eviction_config = openvino_genai.CacheEvictionConfig(
                BLOCK, BLOCK, self.switches.kept_tokens, openvino_genai.AggregationMode.NORM_SUM)
        return scheduler

    def _properties(self, path: Path) -> dict[str, Any]:
        import openvino_genai

        switches = self.switches
        properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
                      "KV_CACHE_PRECISION": switches.kv_precision, "NUM_STREAMS": str(switches.streams)}
        if switches.threads:
            properties["INFERENCE_NUM_THREADS"] = str(switches.threads)
        if switches.guesser == PROMPT:
            return {**properties, "prompt_lookup": True}
        if switches.guesser:
            return {**properties, "draft_model": openvino_genai.draft_model(
                str(draft_folder(path, switches.guesser)), "CPU", **properties)}
        return properties

    def run(self, prompts: Sequence[Sequence[int]], tokens: Sequence[int], progress: Progress = silent) -> Run:
        """Answer all prompts, each with so many tokens, whether or not the model would end before.

        Args:
            prompts: token ids of each.

        Raises:
            InputError: numbers that do not fit, or no room for keys and values.
            Cancelled: `progress` cancelled the work; asked at each step.
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
                self._step()  # cancelled requests leave with the next step
        return Run(answers, steps[-1][0], first_s, np.array(steps))

    def _ask(self, ids: Sequence[int], tokens: int) -> Any:
        import openvino
        import openvino_genai

        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos = int(tokens), True
        config.do_sample, config.apply_chat_template = False, False
        if self.switches.guesser:
            config.num_assistant_tokens = GUESSES
        if self.switches.guesser == PROMPT:
            config.max_ngram_size = _NGRAM
        if self.switches.form:
            config.structured_output_config = openvino_genai.StructuredOutputConfig(regex=_ANY_TEXT)
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
    """Make a generator of requests whose prompts begin alike, as an instruction with examples does; each number others.

    Args:
        texts: what prompts are made of, one after another, as tokens.
        common: share of each prompt that all have in common.
        answer_tokens: the shortest and the longest answer; between them all lengths are as frequent.

    Raises:
        InputError: a share outside of 0 to 1 (without 1), texts that are too short for prompts that differ, no request,
            or lengths of answers that are not two ascending numbers from 1 on.
    """
    if count < 1 or not 1 <= answer_tokens[0] <= answer_tokens[1]:
        raise InputError(f"There is at least one request, and its answer has from 1 token on, the shortest length "
                         f"first: not {count} requests with {answer_tokens[0]} to {answer_tokens[1]} tokens.")
    ids = [token for row in llm.encode(list(texts)) for token in row]
    shared = round(common * prompt_tokens)
    unshared = prompt_tokens - shared
    if not 0 <= common < 1 or unshared < 1 or len(ids) < 2 * prompt_tokens:
        raise InputError(f"Prompts of {prompt_tokens} tokens with a common share of {common:g} need a share from 0 to "
                         f"below 1, and texts of {2 * prompt_tokens} tokens or more, not {len(ids)}.")

    def requests(number: int) -> Requests:
        rng = np.random.default_rng(number)
        starts = rng.integers(shared, len(ids) - unshared + 1, count)
        return ([ids[:shared] + ids[start:start + unshared] for start in starts],
                rng.integers(answer_tokens[0], answer_tokens[1] + 1, count).tolist())
    return requests


def compare_engines(path: Path, requests: Callable[[int], Requests], engines: Mapping[str, Switches] = ENGINES, *,
                    rounds: int = 3, progress: Progress = silent) -> pd.DataFrame:
    """The same requests in each engine, in turns, in several fresh processes; the first one is the reference.

    Args:
        path: of the model, see `Engine`.
        requests: number -> requests, such as `shared_requests` gives. A round is a fresh process, in which each engine
            is opened in its turn, meets two of one number's in its warm-up and is timed on the next number's: what
            prompts share is cached by then, the rest is not. Each round begins with another engine.

    Returns:
        A row an engine: engine, seconds, requests_per_s, tokens_per_s (written), speedup, low, high (over the first
        engine; 95%, over processes), off (the engine that differs in this switch alone, where it is among them), gain,
        gain_low, gain_high (over that one), tokens_per_step (written), first_p50_s, first_p95_s (all requests come at
        once), same_answers (share of the first engine's, token by token), prompt_tokens, answer_tokens (means of a
        request), requests, rounds, note (why an engine did not run, empty where it did; its figures are missing).

    Raises:
        InputError: fewer than two rounds, no engine, or none that runs (what `Engine` says of the first one).
        Cancelled: `progress` cancelled the work.

    >>> from helpers.hardware_codesign import ENGINES, compare_engines, shared_requests
    >>> from helpers.lab import load_language_model, load_task
    >>> llm, task = load_language_model("smollm2"), load_task("tickets")
    >>> two = {name: ENGINES[name] for name in ("one by one", "continuous batching")}
    >>> compare_engines(llm.path, shared_requests(llm, task.train["text"][:200]), two)  # doctest: +SKIP
    """
    if rounds < 2 or not engines:
        raise InputError("Engines are compared in at least two rounds, and there is at least one.")
    runs: dict[str, list[Run]] = {name: [] for name in engines}
    notes = _without_drafts(path, engines, progress.part(0.0, 0.1))
    asked = [(requests(2 * number), requests(2 * number + 1)) for number in range(rounds)]
    with timing_turn(progress):
        for number, (warm, timed) in enumerate(asked):
            first = number * len(engines) // rounds  # no engine is always early, or always late
            order = [*engines][first:] + [*engines][:first]
            ready = {name: engines[name] for name in order if not notes[name]}
            part = progress.part(0.1 + 0.9 * number / rounds, 0.1 + 0.9 * (number + 1) / rounds)
            [round_runs] = in_fresh_processes([functools.partial(_round, path, ready, warm, timed)], part)
            for name, run in round_runs.items():
                if isinstance(run, Run):
                    runs[name].append(run)
                else:
                    notes[name] = run
            if not any(runs.values()):
                raise InputError(next(filter(None, notes.values())))
    progress(1.0, "done")
    ran = {name: some for name, some in runs.items() if not notes[name]}
    timed = [one for _, one in asked]
    return pd.DataFrame([{"engine": name, "note": note} if note else
                         {**_row(name, ran, engines, timed), "note": ""} for name, note in notes.items()])


def _without_drafts(path: Path, engines: Mapping[str, Switches], progress: Progress) -> dict[str, str]:
    """name -> why its draft cannot be made, or ""; the others are made before anything is timed."""
    notes = dict.fromkeys(engines, "")
    for place, (name, switches) in enumerate(engines.items()):
        progress(place / len(engines), name)
        if switches.guesser not in ("", PROMPT):
            try:
                draft_folder(path, switches.guesser, progress.part(place / len(engines), (place + 1) / len(engines)))
            except InputError as error:
                notes[name] = str(error)
    return notes


def _round(path: Path, engines: Mapping[str, Switches], warm: Requests, timed: Requests) -> dict[str, Run | str]:
    """name -> what came of it, or why it did not run: one process, one engine after another in memory."""
    runs: dict[str, Run | str] = {}
    for name, switches in engines.items():
        try:
            engine = Engine(path, switches)
            engine.run(*(some[:_WARM_UP] for some in warm))
            settle()
            runs[name] = engine.run(*timed)
            del engine
        except InputError as error:
            runs[name] = str(error)
    return runs


def _row(name: str, ran: Mapping[str, Sequence[Run]], engines: Mapping[str, Switches], asked: Sequence[Requests]
         ) -> dict[str, object]:
    runs, first, off = ran[name], next(iter(ran.values())), without(name, {one: engines[one] for one in ran})
    count, written = len(asked[0][0]), float(np.mean([sum(tokens) for _, tokens in asked]))
    first_s = np.concatenate([run.first_s for run in runs])
    same = [one == other for run, before in zip(runs, first, strict=True)
            for one, other in zip(run.answers, before.answers, strict=True)]
    middle = float(np.median([run.seconds for run in runs]))
    gain = (np.nan,) * 3 if off is None else _times_faster(ran[off], runs)
    return {"engine": name, "seconds": middle, "requests_per_s": count / middle, "tokens_per_s": written / middle,
            **dict(zip(("speedup", "low", "high"), _times_faster(first, runs), strict=True)), "off": off or "",
            **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
            "tokens_per_step": float(np.mean([run.steps[:, 1].sum() / len(run.steps) for run in runs])),
            "first_p50_s": float(np.median(first_s)), "first_p95_s": float(np.quantile(first_s, 0.95)),
            "same_answers": float(np.mean(same)),
            "prompt_tokens": float(np.mean([len(row) for rows, _ in asked for row in rows])),
            "answer_tokens": written / count, "requests": count, "rounds": len(runs)}


def _times_faster(reference: Sequence[Run], runs: Sequence[Run]) -> tuple[float, float, float]:
    if runs is reference:
        return 1.0, 1.0, 1.0
    return ratio_over_processes(*(np.array([run.seconds for run in some]) for some in (reference, runs)))
