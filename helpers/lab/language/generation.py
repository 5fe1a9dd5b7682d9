"""How fast language models answer, alone and together, and what a token and a resolved request cost and consume."""

import dataclasses
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import Answer, LanguageModel, Prompt, messages_of
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.energy import Power, measure_power
from helpers.lab.measuring.intervals import bootstrap_interval
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.money.costs import DEFAULT_OFFER, ApiPrice, Offer, cost, offer
from helpers.lab.progress import Progress, silent

_ASK_S = 0.2  # how often a process is asked for its result, and the caller whether to go on


@dataclasses.dataclass(frozen=True)
class Generation:
    """One language model answering some prompts, medians over rounds in one process.

    first_token_s: from the prompt to its first token, alone; an engine with a cache of prompts has met it in the
        warm-up. per_token_s: each further token, alone.
    alone_per_s, together_per_s: tokens a second, one prompt after another and all at once; `low` and `high` are the
        95% interval of `together_per_s` over rounds.
    read_per_s: prompt tokens a second, all prompts at once, each with a beginning that no cache has met.
    written_per_s: tokens a second after the first ones, all at once, without what reading takes; None where answers
        have one token, or two runs cannot be distinguished.
    peak_mb: the most memory (10^6 bytes) of a fresh process that loads the model and answers all prompts at once.
    joules_low, joules, joules_high: for a request, all at once; see lab.measuring.energy. These and `peak_mb` are None
        behind a server, which has them to itself, and where they were not asked for.
    agreement: share of prompts with the very answer of the first model of the run.
    resolved: share of prompts whose answer resolves the request; None where nobody judges.
    cached_tokens: of the prompts', all at once, how many a server had in its cache; None if it does not say.
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
    read_per_s: float
    written_per_s: float | None
    peak_mb: float | None
    joules_low: float | None
    joules: float | None
    joules_high: float | None
    energy_method: str
    agreement: float
    resolved: float | None
    prompts: int
    prompt_tokens: int
    answer_tokens: int
    cached_tokens: int | None
    rounds: int
    threads: int

    @property
    def throughput_per_s(self) -> float:
        """Tokens a second with all prompts together: what `cost` takes for a million tokens."""
        return self.together_per_s

    def row(self, place: Offer | ApiPrice | None) -> dict[str, object]:
        """All of it, and dollars: on a rented machine, at a price by the token, or None where no price is known.

        Columns `usd_per_million_tokens` (written, with all that reading takes), `usd_per_million_in` (read, none of it
        cached), `usd_per_million_out` (written, without reading), `usd_per_request`, and `usd_per_resolved`: of
        requests whose answer resolves them, who carry what the others cost; None where none does.
        """
        written = read = further = each = None
        if isinstance(place, Offer):
            written = cost(self, place).usd
            second = written * self.together_per_s / 1e6
            read, each = 1e6 * second / self.read_per_s, written * self.answer_tokens / self.prompts / 1e6
            further = 1e6 * second / self.written_per_s if self.written_per_s else None
        elif isinstance(place, ApiPrice):
            read, further = place.input_usd_per_million_tokens, place.output_usd_per_million_tokens
            whole = place.usd(self.prompt_tokens, self.answer_tokens)
            written, each = 1e6 * whole / self.answer_tokens, whole / self.prompts
        return dataclasses.asdict(self) | {
            "usd_per_million_tokens": written, "usd_per_million_in": read, "usd_per_million_out": further,
            "usd_per_request": each, "usd_per_resolved": each / self.resolved if each and self.resolved else None}


def measure_generation(llms: Sequence[LanguageModel], prompts: Sequence[Prompt], *, max_tokens: int = 32,
                       rounds: int = 5, resolves: Callable[[int, str], bool] | None = None,
                       prices: Mapping[str, ApiPrice] | None = None, energy: bool = True, memory: bool = True,
                       progress: Progress = silent) -> pd.DataFrame:
    """Time the same prompts in each model, in turns, after a warm-up; the first model is the reference.

    Args:
        resolves: whether an answer resolves the request: called with the prompt's place and the answer's text.
        prices: of models behind a server, by name.
        energy: measure or estimate joules (about a second more a model).
        memory: start a fresh process for each model to read its peak memory (some 10 s a model).

    Returns:
        A row a model, as `Generation.row` gives it: on DEFAULT_OFFER, or at its price behind a server.

    Raises:
        InputError: no model or no prompt, prompts that do not fit, answers without a token, or a server that does not
            answer.
        Cancelled: the caller of `progress` wants an end.
    """
    if not llms or not prompts:
        raise InputError("Measuring needs at least one language model and at least one prompt.")
    runs = [_Run(llm, prompts, max_tokens, progress) for llm in llms]
    works = {(index, kind): work for index, run in enumerate(runs) for kind, work in (
        ("alone", run.alone), ("together", run.together), ("one token", run.one_token), ("unmet", run.unmet))}
    here = [run for run in runs if run.llm.engine != "endpoint"]
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, progress=progress.part(0.0, 0.9))
        _require_tokens(runs)
        for run in here if energy else ():
            progress(0.9, f"energy of {run.llm.name}")
            run.power = measure_power(run.together, usable_cores())
    for run in here if memory else ():
        progress(0.95, f"memory of {run.llm.name}")
        run.peak_bytes = _peak_bytes(run.llm, prompts, max_tokens, progress)
    progress(1.0, "done")
    rows = []
    for index, run in enumerate(runs):
        place = offer(DEFAULT_OFFER) if run in here else (prices or {}).get(run.llm.name)
        rows.append(run.record({kind: seconds[index, kind] for other, kind in works if other == index},
                               runs[0].answers, rounds, resolves).row(place))
    return pd.DataFrame(rows)


def _require_tokens(runs: "Sequence[_Run]") -> None:
    for run in runs:
        if not any(answer.answer_tokens for answer in run.answers):
            raise InputError(f"'{run.llm.name}' ended every answer before its first token, so there is no speed to "
                             "measure: ask other prompts.")


class _Run:
    """One model's turns, and what they gave."""

    def __init__(self, llm: LanguageModel, prompts: Sequence[Prompt], max_tokens: int, progress: Progress) -> None:
        self.llm, self.prompts, self.max_tokens, self.progress = llm, prompts, max_tokens, progress
        self.answers: list[Answer] = []
        self.stamps: list[tuple[float, float, int]] = []  # seconds to the first token, those after it, tokens
        self.first_tokens = self.unmet_tokens = 0
        self.power: Power | None = None
        self.peak_bytes: int | None = None

    def together(self) -> None:
        self.answers = self._generate(self.prompts, self.max_tokens)

    def alone(self) -> None:
        for prompt in self.prompts:
            began, came = time.perf_counter(), []
            [answer] = self._generate([prompt], self.max_tokens, came)
            if answer.answer_tokens and came:
                self.stamps.append((came[0] - began, time.perf_counter() - came[0], answer.answer_tokens))

    def one_token(self) -> None:
        self.first_tokens = sum(answer.answer_tokens for answer in self._generate(self.prompts, 1))

    def unmet(self) -> None:
        """Prompts that begin with what no cache holds."""
        prompts = []
        for prompt in self.prompts:
            first, *others = messages_of(prompt)
            prompts.append([{**first, "content": f"{secrets.token_hex(8)} {first['content']}"}, *others])
        self.unmet_tokens = sum(answer.prompt_tokens for answer in self._generate(prompts, 1))

    def record(self, seconds: Mapping[str, np.ndarray], reference: list[Answer], rounds: int,
               resolves: Callable[[int, str], bool] | None) -> Generation:
        count = len(self.answers)
        tokens = sum(answer.answer_tokens for answer in self.answers)
        medians = {kind: float(np.median(taken)) for kind, taken in seconds.items()}
        together, low, high = bootstrap_interval(lambda taken, axis=-1: tokens / np.median(taken, axis),
                                                 seconds["together"])
        more, longer = tokens - self.first_tokens, medians["together"] - medians["one token"]
        joules = [watts * medians["together"] / count for watts in (self.power.low, self.power.mid, self.power.high)
                  ] if self.power else [None] * 3
        cached = [answer.cached_tokens for answer in self.answers]
        same = [one.text == other.text for one, other in zip(self.answers, reference, strict=True)]
        right = None if resolves is None else float(np.mean([resolves(place, answer.text)
                                                             for place, answer in enumerate(self.answers)]))
        return Generation(
            self.llm.name, self.llm.engine, self.llm.stored / 1e6, *self._first_and_further(),
            tokens / medians["alone"], float(together), float(low), float(high), self.unmet_tokens / medians["unmet"],
            more / longer if more > 0 and longer > 0 else None,
            None if self.peak_bytes is None else self.peak_bytes / 1e6, *joules,
            self.power.method if self.power else "not measured", float(np.mean(same)), right, count,
            sum(answer.prompt_tokens for answer in self.answers), tokens, None if None in cached else sum(cached),
            rounds, usable_cores())

    def _first_and_further(self) -> tuple[float, float]:
        further = [rest / (count - 1) for _, rest, count in self.stamps if count > 1]
        return (float(np.median([first for first, _, _ in self.stamps])),
                float(np.median(further)) if further else float("nan"))

    def _generate(self, prompts: Sequence[Prompt], max_tokens: int, came: list[float] | None = None) -> list[Answer]:
        """Answers; notes when tokens come, and hears the caller's wish for an end."""
        def note(_fraction: float | None, _message: str) -> None:
            if came is not None:
                came.append(time.perf_counter())

        def wants_an_end() -> bool:
            self.progress.check()
            return False

        return self.llm.generate(prompts, max_tokens=max_tokens, progress=Progress(note, wants_an_end))


def _peak_bytes(llm: LanguageModel, prompts: Sequence[Prompt], max_tokens: int, progress: Progress) -> int:
    """Peak resident bytes of a fresh process that loads the saved model and answers all prompts at once."""
    code = "\n".join(["import sys, json", "from pathlib import Path",
                      "from helpers.lab.language.loading import load_saved",
                      "from helpers.lab.machine import peak_resident_bytes", "llm = load_saved(Path(sys.argv[1]))",
                      "llm.generate(json.load(sys.stdin), max_tokens=int(sys.argv[2]))",
                      "print(peak_resident_bytes())"])
    asked = json.dumps([messages_of(prompt) for prompt in prompts])
    with tempfile.TemporaryDirectory() as folder:
        llm.save(Path(folder))
        command = [sys.executable, "-W", "ignore", "-c", code, folder, str(max_tokens)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            try:
                while True:
                    try:
                        out, error = process.communicate(asked, timeout=_ASK_S)
                        break
                    except subprocess.TimeoutExpired:
                        asked = None  # it has been sent, or is being sent
                        progress.check()
            finally:
                process.kill()
    if process.returncode:
        raise InputError(f"'{llm.name}' could not be loaded in a fresh process to read its peak memory "
                         f"({' '.join(error.split())[-160:]}): measure with memory=False.")
    return int(out.split()[-1])
