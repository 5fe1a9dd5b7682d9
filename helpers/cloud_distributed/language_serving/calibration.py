"""A serving engine from a few measured steps: time what it does alone, fit the step-time model, judge it elsewhere."""

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from helpers.cloud_distributed.language_serving.engine import ServingEngine
from helpers.lab.errors import InputError
from helpers.lab.measuring.timing import seconds_in_turns, timing_turn
from helpers.lab.progress import Progress, silent

if TYPE_CHECKING:  # the engines bring transformers, which fitting does not need
    from helpers.lab.language.engines.model import Answer, LanguageModel

COLUMNS = ("prompt", "batch", "read", "seconds")
_MIN_POINTS = 5  # there are four constants
_FILLER, _TASK = "the ship sails on and the sea is calm and ", "\nWrite a long story about the sea."


def measure_steps(llm: "LanguageModel", prompts: Sequence[int] = (16, 256, 1024), batches: Sequence[int] = (1, 4, 8),
                  contexts: Sequence[int] = (64, 320), max_tokens: int = 24, rounds: int = 3,
                  progress: Progress = silent) -> pd.DataFrame:
    """Time the steps of a language model, on this machine or behind an endpoint, that nobody else uses meanwhile.

    Args:
        prompts: lengths to read alone, in tokens, about. batches: sequences that write together, after each of
            `contexts` tokens: with one context, the cost of reading cannot be separated from that of writing.
        max_tokens: of each answer; the time of one token is taken off, and with it that of the prompts.

    Returns:
        A row a point, as `fit_engine` takes it: `prompt` tokens read, without those that a server had in its cache (the
        beginning of its chat template), `batch` sequences that decode, `read` tokens whose keys and values are fetched,
        all a step; median `seconds`.

    Raises:
        InputError: prompts that do not fit, an engine that ends its answers at once, or a server that does not answer.
        Cancelled: the caller of `progress` wants an end.
    """
    answers: dict[tuple, list[Answer]] = {}

    def work(key: tuple, tokens: int, count: int, limit: int) -> Callable[[], None]:
        def run() -> None:
            answers[key] = llm.generate([_prompt(llm, tokens) for _ in range(count)], max_tokens=limit,
                                        progress=Progress(cancelled=_asks(progress)))
        return run

    works = {key: work(key, *key[1:]) for key in (
        *(("prompt", tokens, 1, 1) for tokens in prompts),
        *((kind, context, count, limit) for context in contexts for count in batches
          for kind, limit in (("one", 1), ("all", max_tokens))))}
    with timing_turn(progress):
        seconds = {key: float(np.median(taken)) for key, taken in
                   seconds_in_turns(works, rounds, progress=progress).items()}
    read_alone = {key: answers[key][0] for key in works if key[0] == "prompt"}
    rows = [(answer.prompt_tokens - (answer.cached_tokens or 0), 0, answer.prompt_tokens, seconds[key])
            for key, answer in read_alone.items()]
    for context, count in itertools.product(contexts, batches):
        written = answers["all", context, count, max_tokens]
        steps = max(answer.answer_tokens for answer in written) - 1
        longer = seconds["all", context, count, max_tokens] - seconds["one", context, count, 1]
        if steps < 1 or longer <= 0:
            raise InputError(f"'{llm.name}' wrote too little to time its tokens: measure with more max_tokens, or "
                             "other contexts.")
        read = sum(answer.prompt_tokens + k for answer in written for k in range(answer.answer_tokens - 1))
        rows.append((0, sum(answer.answer_tokens - 1 for answer in written) / steps, read / steps, longer / steps))
    return pd.DataFrame(rows, columns=COLUMNS)


def fit_engine(points: pd.DataFrame, kv_tokens: int, source: str = "calibrated") -> ServingEngine:
    """Fit the seconds of a step by least squares of relative errors, with no constant below 0.

    Two forms are tried, and the one that tells each point best from the others is kept: the usual sum,
    a + b prompt + c batch + d read; and the roofline, the longer of a + c batch + d read and e + b (prompt + batch).
    Steps that read and write at once are not among the points: there a roofline says less than a sum, and where the
    points cannot tell them apart the sum is kept.

    Args:
        points: columns prompt, batch, read and seconds, see `measure_steps`; five or more.
        kv_tokens: what fits in memory, as the engine's settings say.

    Raises:
        InputError: too few points, or times that cannot be.

    >>> import pandas as pd
    >>> from helpers.cloud_distributed import fit_engine
    >>> steps = pd.DataFrame({"prompt": [16, 128, 512, 0, 0, 0], "batch": [0, 0, 0, 1, 8, 8],
    ...                       "read": [16, 128, 512, 64, 512, 4096]})
    >>> steps["seconds"] = 0.004 + 2e-5 * steps["prompt"] + 1e-4 * steps["batch"] + 1e-7 * steps["read"]
    >>> round(fit_engine(steps, kv_tokens=10_000).traffic[1], 7)
    2e-05
    """
    values = _checked(points)
    if len(values) < _MIN_POINTS:
        raise InputError(f"A step-time model has four constants: give {_MIN_POINTS} points or more, not {len(values)}.")

    def left_out(fit: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> float:
        others = [np.delete(values, at, axis=0) for at in range(len(values))]
        return sum(_error(fit(rest), values[[at]]) for at, rest in enumerate(others))

    form = min((_fit_sum, _fit_roofline), key=left_out)
    arithmetic, traffic = form(values)
    return ServingEngine(tuple(arithmetic.tolist()), tuple(traffic.tolist()), 0.0, kv_tokens, source)


def judge_engine(engine: ServingEngine, points: pd.DataFrame) -> pd.DataFrame:
    """The points with what the engine says of them: `predicted_s`, and its relative `error`.

    A prompt is taken to be read at once: each token attends to itself and those before it.

    Raises:
        InputError: times that cannot be.
    """
    prompt, batch, read, seconds = _checked(points).T
    predicted = engine.step_s(prompt, batch, prompt * (prompt + 1) / 2 + read - prompt, read)
    return points.assign(predicted_s=predicted, error=predicted / seconds - 1)


def step_points(table: pd.DataFrame) -> pd.DataFrame:
    """A recorded table of prefills and decodes as `fit_engine` takes it: medians over processes.

    Args:
        table: columns phase ("prefill", of one prompt, or "decode"), batch, context (tokens a sequence) and seconds.
    """
    table = table.groupby(["phase", "batch", "context"], as_index=False)["seconds"].median()
    reads = table["phase"] == "prefill"
    return pd.DataFrame({"prompt": table["context"].where(reads, 0), "batch": table["batch"].where(~reads, 0),
                         "read": table["context"] * table["batch"].where(~reads, 1), "seconds": table["seconds"]})


def _fit_sum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prompt, batch, read, seconds = values.T
    return np.zeros(4), _relative([np.ones_like(prompt), prompt, batch, read], seconds)


def _fit_roofline(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps of many tokens lie on the line of arithmetic, the others on that of traffic: each border is tried."""
    prompt, batch, read, seconds = values.T
    tokens, best = prompt + batch, (np.zeros(4), _relative([np.ones_like(prompt), 0 * prompt, batch, read], seconds))
    for border in np.unique(tokens)[1:]:
        many = tokens >= border
        line = [np.ones(many.sum()), tokens[many]] if many.sum() > 1 else [0 * tokens[many], tokens[many]]
        start, each = _relative(line, seconds[many])
        traffic = _relative([np.ones((~many).sum()), 0 * prompt[~many], batch[~many], read[~many]], seconds[~many])
        both = np.array([start, each, each, 0.0]), traffic
        best = min(best, both, key=lambda fit: _error(fit, values))
    return best


def _relative(columns: Sequence[np.ndarray], seconds: np.ndarray) -> np.ndarray:
    """Constants >= 0 with the least squares of relative errors; a column of zeros gets 0."""
    table = np.stack(columns, axis=1) / seconds[:, None]
    scale = np.where(table.any(axis=0), np.abs(table).max(axis=0), 1.0)  # the columns differ by orders of magnitude
    return nnls(table / scale, np.ones(len(seconds)))[0] / scale


def _error(fit: tuple[np.ndarray, np.ndarray], values: np.ndarray) -> float:
    """Sum of squared relative errors."""
    prompt, batch, read, seconds = values.T
    arithmetic, traffic = fit
    table = np.stack([np.ones_like(prompt), prompt, batch, read])
    return float(((np.maximum(arithmetic @ table, traffic @ table) / seconds - 1) ** 2).sum())


def _checked(points: pd.DataFrame) -> np.ndarray:
    if missing := [name for name in COLUMNS if name not in points.columns]:
        raise InputError(f"Points need the columns {', '.join(COLUMNS)}; there is no {missing[0]}.")
    values = points[list(COLUMNS)].to_numpy(float)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values[:, 3] > 0).all()):
        raise InputError("Points need finite figures of 0 or more, and more than 0 seconds.")
    return values


def _prompt(llm: "LanguageModel", tokens: int) -> str:
    """About so many tokens with a beginning that no cache has met, and an end that models answer at length."""
    begin, words = f"{secrets.token_hex(4)} ", _FILLER * tokens
    room = max(0, tokens - llm.count_tokens([begin + _TASK])[0])
    return begin + words[:round(room * len(words) / llm.count_tokens([words])[0])] + _TASK


def _asks(progress: Progress) -> Callable[[], bool]:
    def wants_an_end() -> bool:
        progress.check()
        return False

    return wants_an_end
