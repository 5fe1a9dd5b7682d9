"""How fast language models answer: the first token, each further one, alone and together, and what a token costs."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import Answer, LanguageModel, Prompt
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.intervals import bootstrap_interval
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.money.costs import DEFAULT_OFFER, Offer, cost, offer
from helpers.lab.progress import Progress, silent


@dataclasses.dataclass(frozen=True)
class Generation:
    """One language model answering some prompts, medians over rounds in one process.

    first_token_s: from the prompt to its first token, alone. per_token_s: each further token, alone.
    alone_per_s, together_per_s: tokens a second, one prompt after another and all at once; `low` and `high` are the
        95 % interval of `together_per_s` over rounds.
    agreement: share of prompts with the very answer of the first model of the run.
    """

    model: str
    engine: str
    megabytes: float
    first_token_s: float
    per_token_s: float
    alone_per_s: float
    together_per_s: float
    low: float
    high: float
    agreement: float
    prompts: int
    prompt_tokens: int
    answer_tokens: int
    rounds: int
    threads: int

    @property
    def throughput_per_s(self) -> float:
        """Tokens a second with all prompts together: what `cost` takes for a million tokens."""
        return self.together_per_s

    def row(self, place: Offer) -> dict[str, object]:
        """All of it, and the dollars for a million tokens written on a rented machine."""
        return dataclasses.asdict(self) | {"usd_per_million_tokens": cost(self, place).usd}


def measure_generation(llms: Sequence[LanguageModel], prompts: Sequence[Prompt], *, max_tokens: int = 32,
                       rounds: int = 5, progress: Progress = silent) -> pd.DataFrame:
    """Time the same prompts in each model, in turns, after a warm-up; the first model is the reference.

    Returns:
        A row a model with the fields of `Generation`, and `usd_per_million_tokens` written, on DEFAULT_OFFER.

    Raises:
        InputError: no model or no prompt, or prompts that do not fit.
        Cancelled: the caller of `progress` wants an end.
    """
    if not llms or not prompts:
        raise InputError("Measuring needs at least one language model and at least one prompt.")
    stamps: dict[int, list[tuple[float, float, int]]] = {index: [] for index in range(len(llms))}
    answers: dict[int, list[Answer]] = {}

    def together(index: int) -> None:
        answers[index] = llms[index].generate(prompts, max_tokens=max_tokens, progress=_checking(progress))

    def alone(index: int) -> None:
        for prompt in prompts:
            began, came = time.perf_counter(), []
            [answer] = llms[index].generate([prompt], max_tokens=max_tokens, progress=_checking(progress, came))
            if answer.tokens:
                stamps[index].append((came[0] - began, time.perf_counter() - came[0], len(answer.tokens)))

    works = {(index, kind): (lambda index=index, run=run: run(index))
             for index in range(len(llms)) for kind, run in (("alone", alone), ("together", together))}
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, progress=progress)
    return pd.DataFrame([_record(llm, index, answers, stamps[index], seconds, rounds).row(offer(DEFAULT_OFFER))
                         for index, llm in enumerate(llms)])


def _checking(progress: Progress, came: list[float] | None = None) -> Progress:
    """Notes when tokens come, and hears the caller's wish for an end."""
    def note(_fraction: float | None, _message: str) -> None:
        progress.check()
        if came is not None:
            came.append(time.perf_counter())

    return Progress(note)


def _record(llm: LanguageModel, index: int, answers: dict[int, list[Answer]],
            stamps: list[tuple[float, float, int]], seconds: dict[tuple[int, str], np.ndarray],
            rounds: int) -> Generation:
    own = answers[index]
    tokens = sum(len(answer.tokens) for answer in own)
    together, low, high = bootstrap_interval(lambda taken, axis=-1: tokens / np.median(taken, axis),
                                             seconds[index, "together"])
    return Generation(
        llm.name, llm.engine, llm.stored / 1e6, float(np.median([first for first, _, _ in stamps])),
        float(np.median([rest / (count - 1) for _, rest, count in stamps if count > 1])),
        tokens / float(np.median(seconds[index, "alone"])), float(together), float(low), float(high),
        float(np.mean([one.tokens == other.tokens for one, other in zip(own, answers[0], strict=True)])), len(own),
        sum(answer.prompt_tokens for answer in own), tokens, rounds, usable_cores())
