"""More examples in the prompt, or tuning once? A language model measured both ways, with the same labelled rows."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.language.engines.model import LocalModel
from helpers.lab.language.prompting import PromptedModel, prompted
from helpers.lab.language.tuning import tune
from helpers.lab.measuring.intervals import paired_difference, wilson
from helpers.lab.measuring.timing import next_inputs, seconds_in_turns, timing_turn
from helpers.lab.progress import Progress, silent

TUNED = "tuned, instruction alone"
TIMED = 4  # texts in a round, the same for all ways; each round asks the next ones


def compare_ways(llm: LocalModel, task: Task, *, shots: Sequence[int] = (0, 2, 8), epochs: float = 2.0, rounds: int = 3,
                 progress: Progress = silent) -> pd.DataFrame:
    """A prompted language model with more and more nearest examples, and the same tuned by LoRA without any.

    Args:
        llm: in the engine "transformers", in which all ways are asked.
        task: its training rows are the examples to select from, and the rows to tune on; its test rows are asked.
        shots: numbers of examples; 0 is the instruction alone.
        epochs: of tuning. rounds: of timing.

    Returns:
        Columns way, shots, rows, accuracy, low, high (Wilson), gain, gain_low, gain_high (of the tuned one over this,
        paired; 0 of itself), tokens_in, tokens_out (of a request, mean), seconds (of a request alone, median), spent_s
        (of tuning).

    Raises:
        InputError: another engine or architecture, or no number of examples.
        Cancelled: `progress` cancelled the work.

    >>> from helpers.data_efficiency import compare_ways
    >>> from helpers.lab import load_language_model, load_task
    >>> llm = load_language_model("smollm2", "transformers")  # doctest: +SKIP
    >>> task = load_task("tickets").take(train=200, test=100)
    >>> compare_ways(llm, task)[["way", "accuracy", "tokens_in"]]  # doctest: +SKIP
    """
    if not len(shots) or min(shots) < 0:
        raise InputError(f"Name one or more numbers of examples, 0 or above, not {list(shots)}.")
    models = {way_of(count): prompted(llm, task, max(1, count), "nearest" if count else "none",
                                      progress=progress.part(0.2 * place / len(shots), 0.2 * (place + 1) / len(shots)))
              for place, count in enumerate(shots)}
    plain = models[way_of(0)] if 0 in shots else prompted(llm, task, select="none", progress=progress.part(0.2, 0.2))
    began = time.perf_counter()
    rows = [(plain.prompt(text), plain.words[label])
            for text, label in zip(task.train["text"][:], task.train["label"][:], strict=True)]
    tuned = tune(llm, rows, epochs=epochs, progress=progress.part(0.2, 0.6))
    spent_s = time.perf_counter() - began
    models[TUNED] = prompted(tuned, task, select="none", progress=progress.part(0.6, 0.65))
    texts, labels = task.test["text"][:], np.asarray(task.test["label"][:])
    right = {}
    for place, (way, model) in enumerate(models.items()):
        done = 0.65 + 0.25 * place / len(models)
        scores = model.scores(texts, progress.part(done, done + 0.25 / len(models)))
        right[way] = model.corrected(scores).argmax(axis=1) == labels
    seconds = _seconds(models, texts, rounds, progress)
    return pd.DataFrame([{
        "way": way, "shots": model.card.settings["shots"], "rows": len(labels), "accuracy": right[way].mean(),
        **_interval("", wilson(int(right[way].sum()), len(labels))),
        "gain": float(right[TUNED].mean() - right[way].mean()),
        **_interval("gain_", (0.0, 0.0) if way == TUNED else paired_difference(right[way], right[TUNED])[1:]),
        **dict(zip(("tokens_in", "tokens_out"), np.mean(model.tokens(texts), axis=0), strict=True)),
        "seconds": seconds[way], "spent_s": spent_s if way == TUNED else 0.0} for way, model in models.items()])


def way_of(shots: int) -> str:
    """The name of a way with so many examples."""
    return f"{shots} nearest examples" if shots else "instruction alone"


def _interval(prefix: str, bounds: tuple[float, float]) -> dict[str, float]:
    return dict(zip((f"{prefix}low", f"{prefix}high"), bounds, strict=True))


def _seconds(models: dict[str, PromptedModel], texts: Sequence[str], rounds: int,
             progress: Progress) -> dict[str, float]:
    """Median seconds of one request of each way; the ways take turns."""
    at_once = min(TIMED, len(texts))
    works = {way: next_inputs(lambda part, model=model: [model.predict([text]) for text in part], texts, at_once)
             for way, model in models.items()}
    with timing_turn(progress):
        measured = seconds_in_turns(works, rounds, progress=progress.part(0.9, 1.0))
    return {way: float(np.median(one)) / at_once for way, one in measured.items()}
