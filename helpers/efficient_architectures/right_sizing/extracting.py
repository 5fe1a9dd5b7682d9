"""The ladder on extraction: regular expressions, a tagger, and a language model asked, shown examples, or tuned."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.efficient_architectures.options import LANGUAGE_RUNGS, RUNGS, require_rungs
from helpers.efficient_architectures.right_sizing.token_terms import RequestTokens
from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.measuring import WARM_UPS
from helpers.lab.extraction.patterns import learn_patterns
from helpers.lab.extraction.prompting import PromptedExtractor, prompted_extractor
from helpers.lab.extraction.scores import ALL, MESSAGE, WITH_WISH, ExtractionScore, score_extractions
from helpers.lab.extraction.tagging.tagger import Tagger
from helpers.lab.extraction.tuned import tuned_extractor
from helpers.lab.language.loading import load_language_model
from helpers.lab.machine import usable_cores
from helpers.lab.measuring.energy import Power, measure_power
from helpers.lab.measuring.intervals import mcnemar_p, ratio_of_medians, significant_of_many, wilson
from helpers.lab.measuring.timing import next_inputs, seconds_in_turns, timing_turn
from helpers.lab.money.costs import DEFAULT_OFFER, cost, offer
from helpers.lab.progress import Progress, silent
from helpers.lab.training.weights import MINILM

RESOLVED = WITH_WISH  # a request is resolved where its wish and all of its fields are right


def extraction_rungs(task: Task, rungs: Sequence[str] = RUNGS, *, llm: str | Path = "smollm2",
                     encoder: str | Path = MINILM, tagger_epochs: float = 4.0, tuned_rows: int = 400, seed: int = 0,
                     progress: Progress = silent) -> list[Extractor]:
    """What finds the fields of messages, by ever larger models.

    Args:
        task: with fields, such as load_task("tickets-fields").
        rungs: some of RUNGS, in the order wanted: "tagger" (the encoder, in int8), "patterns" (regular expressions),
            and the language model by "instruction" alone, with "nearest examples", or "tuned" with LoRA.
        llm: see load_language_model.
        tuned_rows: training rows that the language model is tuned on.

    Raises:
        InputError: an unknown rung, a task without fields, or a model that cannot be found.
        Cancelled: the caller of `progress` wants an end.

    >>> from helpers.efficient_architectures import extraction_rungs
    >>> from helpers.lab import load_task
    >>> [one.name for one in extraction_rungs(load_task("tickets-fields"), ["patterns"])]
    ['regular expressions']
    """
    require_rungs(rungs)
    field_names(task)  # refuses a task without
    speaker = load_language_model(llm) if set(rungs) & set(LANGUAGE_RUNGS[:2]) else None

    def tagger(report: Progress) -> Extractor:
        from helpers.lab.extraction.tagging.tag_training import train_tagger

        return train_tagger(task, encoder=encoder, epochs=tagger_epochs, seed=seed, progress=report).exported("int8")

    makers: dict[str, Callable[[Progress], Extractor]] = {
        "tagger": tagger,
        "patterns": lambda report: learn_patterns(task),
        "instruction": lambda report: prompted_extractor(speaker, task, select="none"),
        "nearest examples": lambda report: prompted_extractor(speaker, task, select="nearest"),
        "tuned": lambda report: tuned_extractor(llm, task, rows=tuned_rows, seed=seed, progress=report)}
    extractors = []
    for number, rung in enumerate(rungs):
        progress(number / len(rungs), f"making rung {number + 1} of {len(rungs)}: {rung}")
        extractors.append(makers[rung](progress.part(number / len(rungs), (number + 1) / len(rungs))))
    return extractors


def times_the_work(specialist: Tagger, general: PromptedExtractor, tokens: RequestTokens) -> float:
    """On paper: how many times a specialist's multiplications a language model's request takes.

    A language model multiplies once for each parameter and each token that it reads or writes; attention is left out.
    The specialist's are those of a message of mean length.

    Raises:
        InputError: a language model whose parameters are not known, as behind a server.
    """
    if general.llm.parameters is None:
        raise InputError(f"How many parameters '{general.llm.name}' has is not known: load it from a GGUF file.")
    return general.llm.parameters * (tokens.read + tokens.written) / specialist.model.card.macs


def score_rungs(extractors: Sequence[Extractor], task: Task, split: str = "test", rows: int | None = None, *,
                progress: Progress = silent) -> list[ExtractionScore]:
    """How well each extractor understands the same messages of a split: the first `rows` of them, or all.

    Raises:
        InputError: no message.
        Cancelled: the caller of `progress` wants an end.
    """
    texts, expected = getattr(task, split)["text"][:rows], extractions(task, split)[:rows]
    scores = []
    for number, one in enumerate(extractors):
        part = progress.part(number / len(extractors), (number + 1) / len(extractors))
        part(0.0, f"{one.name}: {len(texts):,} messages")
        scores.append(score_extractions(one.extract(texts, progress=part), expected, field_names(task)))
    return scores


@dataclasses.dataclass(frozen=True)
class _Timed:
    """What `cost` asks of a measurement."""

    throughput_per_s: float
    threads: int


def compare_rungs(rungs: Sequence[str], extractors: Sequence[Extractor], scores: Sequence[ExtractionScore],
                  texts: Sequence[str], *, rounds: int = 5, progress: Progress = silent) -> pd.DataFrame:
    """Quality, seconds, joules and dollars of each extractor; the first is the reference.

    Args:
        scores: what score_rungs gave for the extractors.
        texts: messages that are timed, which no extractor has read yet. Each of the `rounds`, and each call to warm up,
            reads other ones, as many at once: of messages that it has read, a language model's cache of prefixes would
            spare nearly all the work, and of traffic it spares the shared beginning alone.

    Returns:
        One row a rung: rung, model; message (share with all fields exact) and resolved (with the wish, too), both with
        their intervals and what the constant answer gets (_constant, see ExtractionScore); field (share of single
        fields that are exact, absent ones too, mean over the fields); delta,
        low and high (of `resolved` against the first, paired) and significant (McNemar's test, Holm over all rungs);
        request_s; joules_low, joules and joules_high a request (see lab.measuring.energy); energy, energy_low and
        energy_high (so many times the joules of the first, interval over rounds); joules_per_resolved;
        usd_per_million, usd_per_million_resolved (NaN where none is resolved); stored_mb; energy_method, rows, rounds.

    Raises:
        InputError: fewer messages than calls, or not as many rungs, extractors and scores.
        Cancelled: the caller of `progress` wants an end.
    """
    at_once = len(texts) // (rounds + WARM_UPS)
    if not at_once or not len(rungs) == len(extractors) == len(scores) > 0:
        raise InputError(f"Rungs are compared on at least {rounds + WARM_UPS} messages in {rounds} rounds, with an "
                         f"extractor and a score each; there are {len(texts)} messages, {len(rungs)} rungs, "
                         f"{len(extractors)} extractors and {len(scores)} scores.")
    listening = Progress(cancelled=lambda: bool(progress.check()))  # what is timed reports nothing, and can be ended
    works = {number: next_inputs(functools.partial(one.extract, progress=listening), texts, at_once)
             for number, one in enumerate(extractors)}
    with timing_turn(progress):
        seconds = seconds_in_turns(works, rounds, progress=progress.part(0.0, 0.8))
        powers = []
        for number, one in enumerate(extractors):
            progress(0.8 + 0.2 * number / len(extractors), f"energy of {one.name}")
            powers.append(measure_power(works[number], usable_cores()))
    each = {number: taken / at_once for number, taken in seconds.items()}
    frame = pd.DataFrame([{"rung": rung, "model": one.name, **_quality(score, scores[0]),
                           **_bill(each[number], powers[number], score[RESOLVED]),
                           **_energy_ratio(each[number], powers[number], each[0], powers[0]),
                           "stored_mb": one.stored / 1e6, "rows": len(score.right[MESSAGE]), "rounds": rounds}
                          for number, (rung, one, score) in enumerate(zip(rungs, extractors, scores, strict=True))])
    frame["significant"] = significant_of_many(frame.pop("p"))
    return frame


def _quality(score: ExtractionScore, reference: ExtractionScore) -> dict[str, object]:
    columns: dict[str, object] = {}
    for name, measure in (("message", MESSAGE), ("resolved", RESOLVED)):
        right = score.right[measure]
        low, high = wilson(int(right.sum()), len(right))
        columns |= {name: score[measure], f"{name}_low": low, f"{name}_high": high,
                  f"{name}_constant": score.constant[measure]}
    delta, low, high = score.difference(reference, RESOLVED)
    p = np.nan if score is reference else mcnemar_p(reference.right[RESOLVED], score.right[RESOLVED])
    fields = [score[name] for name in score.counts if name != ALL]
    return columns | {"field": float(np.mean(fields)), "delta": delta, "low": low, "high": high, "p": p}


def _bill(seconds: np.ndarray, power: Power, resolved: float) -> dict[str, object]:
    """Of a request, and of a resolved one, which carries what the others cost."""
    second = float(np.median(seconds))
    usd = cost(_Timed(1 / second, usable_cores()), offer(DEFAULT_OFFER)).usd
    return {"request_s": second, "joules_low": power.low * second, "joules": power.mid * second,
            "joules_high": power.high * second, "energy_method": power.method,
            "joules_per_resolved": power.mid * second / resolved if resolved else np.nan,
            "usd_per_million": usd, "usd_per_million_resolved": usd / resolved if resolved else np.nan}


def _energy_ratio(seconds: np.ndarray, power: Power, reference_s: np.ndarray,
                  reference: Power) -> dict[str, float]:
    times = ratio_of_medians(seconds, reference_s)
    factor = power.mid / reference.mid if seconds is not reference_s else 1.0
    return dict(zip(("energy", "energy_low", "energy_high"), (factor * one for one in times), strict=True))
