"""A language model beside its peers and beside what can take its place: tokens, extraction, classification, bits.

python -m benchmarks.language_model [--quick] [--json FILE] [--only PART ...] [--task tickets-fields | MODEL.gguf]

Without --task, or with the built-in one, the model is SmolLM2.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import Row, arguments, at_least, at_most, compared, finish, raced, shown
from helpers.efficient_architectures import (
    LANGUAGE_RUNGS,
    RUNGS,
    Routable,
    compare_rungs,
    extraction_rungs,
    routable,
    route_guarantees,
    score_rungs,
)
from helpers.lab import Measurement, Task, baseline, load_language_model, load_task, prompted, tuned_for
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.measuring import WARM_UPS
from helpers.lab.extraction.scores import MESSAGE, WITH_WISH, ExtractionScore
from helpers.lab.language.engines.model import Answer, LocalModel
from helpers.lab.language.loading import SMOLLM2, find_language_model
from helpers.lab.progress import printed
from helpers.model_optimization import bits_against_extraction, bits_against_speed, quantize

PARTS = ("tokens", "extraction", "classification", "bits")
PROMPTS, ANSWER_TOKENS = 16, 32
DOLLARS, NOT_BEHIND = 8.0, 0.95  # times the tokens for the money; of a peer's tokens a second
TUNED_POINTS, TAGGER_POINTS, CHEAPER, ROUTED_SHARE = 25.0, 3.0, 100.0, 0.2
ROWS, TIMED_ROWS, MAX_LOST = 200, 16, 3.0  # messages of either split; that are timed; points that the router may lose


def documented_openvino(path: Path, llm: LocalModel) -> Callable[[Sequence[str]], list[Answer]]:
    """OpenVINO GenAI as its guide has it: LLMPipeline on the file, with what the runtime chooses by itself."""
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(str(path), "CPU")
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens, config.do_sample = ANSWER_TOKENS, False

    def ask(prompts: Sequence[str]) -> list[Answer]:
        texts = pipeline.generate(list(prompts), config).texts
        written = (min(count + 1, ANSWER_TOKENS) for count in llm.count_tokens(texts))  # with the one that ends it
        return [Answer(text, (), 0, "", count) for text, count in zip(texts, written, strict=True)]
    return ask


def token_rows(path: str | Path, quick: bool) -> list[Row]:
    """Our engine with all prompts at once: over transformers one by one, and over others' documented settings.

    All prompts begin alike, as examples do; what follows is another message each time, which no cache has met.
    """
    rounds, count = (2, 4) if quick else (5, PROMPTS)
    task = load_task("tickets")
    asked, texts = "\n".join(task.train["text"][:2 if quick else 6]), task.test["text"][:]
    prompts = [f"{asked}\n{text}\nWhat does the last message want?" for text in texts]
    ours, reference, llama = (load_language_model(path, engine) for engine in ("openvino", "transformers", "llama.cpp"))
    peers = {"transformers in fp32, one request at a time": (lambda prompts: [
                 answer for prompt in prompts for answer in reference.generate([prompt], max_tokens=ANSWER_TOKENS)],
                 DOLLARS),
             "llama.cpp's server as it is started": (lambda prompts: llama.generate(
                 prompts, max_tokens=ANSWER_TOKENS), NOT_BEHIND),
             "OpenVINO GenAI as documented": (documented_openvino(find_language_model(path), ours), NOT_BEHIND)}
    rows: list[Row] = []
    expected: dict[str, str] = {}
    for name, (peer, target) in peers.items():
        ours_asked, theirs = (Asked(ask, prompts, count) for ask in (
            lambda prompts: ours.generate(prompts, max_tokens=ANSWER_TOKENS), peer))
        _, _, ratio = raced(ours_asked, theirs, rounds)
        each = [one * ours_asked.tokens_a_call / theirs.tokens_a_call for one in ratio]
        rows.append(at_least(f"tokens for the same money, over {name}", each[0], target, "x", *each[1:]))
        expected = expected or theirs.texts
        rows += [shown(f"greedy answers of {who} that are transformers'", np.mean(
            [other.texts[prompt] == text for prompt, text in expected.items() if prompt in other.texts]), "of answers")
            for who, other in (("ours", ours_asked), (name, theirs)) if other.texts is not expected]
    return rows


class Asked:
    """Asks an engine for the next prompts each time it is called, and keeps what it answers: texts, by prompt."""

    def __init__(self, ask: Callable[[Sequence[str]], Sequence[Answer]], prompts: Sequence[str], count: int) -> None:
        self.ask, self.prompts, self.count = ask, iter(prompts), count
        self.texts: dict[str, str] = {}
        self.calls = self.tokens = 0

    def __call__(self) -> None:
        prompts = list(itertools.islice(self.prompts, self.count))
        answers = self.ask(prompts)
        self.texts |= {prompt: answer.text.strip() for prompt, answer in zip(prompts, answers, strict=True)}
        self.calls, self.tokens = self.calls + 1, self.tokens + sum(answer.answer_tokens for answer in answers)

    @property
    def tokens_a_call(self) -> float:
        """Those written, on average."""
        return self.tokens / self.calls


@dataclasses.dataclass(frozen=True)
class Ladder:
    """All rungs of extraction on the same messages.

    frame: see `compare_rungs`; made: the extractors; scores: of the test messages, by rung; general: the rung of the
    language model that is best on validation messages; held_out, test: what the tagger and that rung make of either
    split; costs: dollars a million requests to either of the two.
    """

    frame: pd.DataFrame
    made: Mapping[str, Extractor]
    scores: Mapping[str, ExtractionScore]
    general: str
    held_out: Routable
    test: Routable
    costs: tuple[float, float]


def climb(path: str | Path, task: Task, *, rows: int = ROWS, timed_rows: int = TIMED_ROWS, rounds: int = 5,
          **settings: Any) -> Ladder:
    """Make all rungs, score them on the first `rows` messages of either split, and time them on others.

    Args:
        path: of the language model. settings: see `extraction_rungs`.
    """
    extractors = dict(zip(RUNGS, extraction_rungs(task, RUNGS, llm=path, progress=printed, **settings), strict=True))
    held_out, test = (dict(zip(RUNGS, score_rungs(list(extractors.values()), task, split, rows, progress=printed),
                               strict=True)) for split in ("validation", "test"))
    unread = task.test["text"][rows:][:timed_rows * (rounds + WARM_UPS)]
    frame = compare_rungs(RUNGS, list(extractors.values()), list(test.values()), unread, rounds=rounds,
                          progress=printed)
    print(frame.round(4).to_string(index=False), flush=True)
    general = max(LANGUAGE_RUNGS, key=lambda rung: held_out[rung][WITH_WISH])
    usd = frame.set_index("rung")["usd_per_million"]
    tagger = extractors["tagger"]
    return Ladder(frame, extractors, test, general, routable(tagger, held_out[general], task, "validation", rows),
                  routable(tagger, test[general], task, "test", rows), (usd["tagger"], usd[general]))


def extraction_rows(path: str | Path, quick: bool) -> list[Row]:
    """Regular expressions, tagger, and the language model asked, shown and tuned; and a router between the two."""
    small = {"rows": 20, "timed_rows": 2, "rounds": 2, "tagger_epochs": 1.0, "tuned_rows": 8} if quick else {}
    ladder = climb(path, load_task("tickets-fields"), **small)
    router = route_guarantees(ladder.held_out, ladder.test, ladder.costs, (MAX_LOST,)).iloc[0]
    return [*ladder_rows(ladder.frame, ladder.scores), *router_rows(router, ladder.general)]


def ladder_rows(ladder: pd.DataFrame, scores: Mapping[str, ExtractionScore]) -> list[Row]:
    """Rows for tuning's gain, the tagger's distance from it, and its cost ratio.

    Args:
        ladder: see `compare_rungs`, whose first rung is the tagger.
        scores: of all rungs on the same messages.
    """
    gain = [100 * one for one in scores["tuned"].difference(scores["instruction"])]
    lack = [100 * one for one in scores["tagger"].difference(scores["tuned"])]
    at = ladder.set_index("rung").loc["tuned"]
    cheaper = at["usd_per_million"] / ladder["usd_per_million"].iloc[0]
    low, high = (cheaper * at[f"energy_{end}"] / at["energy"] for end in ("low", "high"))  # seconds' interval
    return [at_least("all fields right: tuned above the instruction alone", gain[0], TUNED_POINTS, "points", *gain[1:]),
            shown("all fields right: the tuned one", 100 * scores["tuned"][MESSAGE], "percent"),
            shown("all fields right: who finds nothing", 100 * scores["tuned"].constant[MESSAGE], "percent"),
            at_least("all fields right: the tagger above the tuned one", lack[0], -TAGGER_POINTS, "points", *lack[1:]),
            at_least("the tagger's dollars, times less than the tuned one's", cheaper, CHEAPER, "x", low, high),
            shown("the tagger's joules, times less", at["energy"], "x", at["energy_low"], at["energy_high"])]


def router_rows(router: Mapping[str, Any], general: str) -> list[Row]:
    """The router from the tagger to the language rung that is best on validation messages, beside the better one.

    Args:
        router: a row of `route_guarantees`.
    """
    delta = [100 * router[name] for name in ("delta", "low", "high")]
    return [at_least(f"resolved: tagger, then {general}, above the {router['best']}", delta[0], 0.0, "points",
                     *delta[1:]),
            at_most("its dollars, beside that one's", router["best_cost_share"], ROUTED_SHARE, "of them")]


def classification_rows(path: str | Path, quick: bool) -> list[Row]:
    """MiniLM in int8 beside the language model with nearest examples, on the same messages."""
    task = load_task("tickets").take(**({"train": 300, "test": 24} if quick else {"test": ROWS}))
    general = prompted(load_language_model(path), task, select="nearest", progress=printed)
    base = baseline(task, epochs=1.0 if quick else None, progress=printed)
    specialist = quantize(base, task, scheme="dynamic-int8", runtime="onnxruntime")
    timing = {"rows": 8 if quick else 32, "rounds": 2 if quick else 5}
    return specialist_rows(*compared([general, specialist], task, timing, energy=True).measurements)


def specialist_rows(general: Measurement, specialist: Measurement) -> list[Row]:
    """Quality, paired, and times fewer joules; the interval is that of the seconds, since both have one meter."""
    joules = general.joules / specialist.joules
    low, high = (joules * end / specialist.speedup for end in (specialist.speedup_low, specialist.speedup_high))
    return [at_least("accuracy: the specialist above the language model", 100 * specialist.accuracy_delta, 0.0,
                     "points", 100 * specialist.accuracy_delta_low, 100 * specialist.accuracy_delta_high, specialist),
            at_least("joules of a message: times less", joules, CHEAPER, "x", low, high, specialist)]


def bit_rows(path: str | Path, quick: bool) -> list[Row]:
    """The tuned weights in 8 and 4 bits: what is lost, and whether bytes and speed come as they do on paper."""
    task, llm = load_task("tickets-fields"), load_language_model(path, "transformers")
    tuned = tuned_for(llm, task, rows=8 if quick else ROWS, progress=printed)
    lost = bits_against_extraction(tuned, llm.path, task, messages=4 if quick else ROWS, kinds=("F16", "Q8_0", "Q4_0"),
                                   progress=printed)
    speed = bits_against_speed(load_task("tickets").test["text"][:4 if quick else 16], rounds=2 if quick else 7,
                               name=path, meters=False, progress=printed)
    return [*loss_rows(lost), *paper_rows(speed)]


def loss_rows(lost: pd.DataFrame) -> list[Row]:
    """Points of each type below the first one; see `bits_against_extraction`."""
    return [shown(f"all fields right in {row['name']}, above {lost['name'].iloc[0]}", 100 * row["gain"], "points",
                  100 * row["gain_low"], 100 * row["gain_high"]) for _, row in lost.iloc[1:].iterrows()]


def paper_rows(speed: pd.DataFrame) -> list[Row]:
    """A token waits for the bytes of all weights to be read: so times each further token is quicker, on paper.

    Args:
        speed: see `bits_against_speed`, from the most bytes to the fewest.
    """
    paper = speed["megabytes"].iloc[0] / speed["megabytes"]
    seen = speed["per_token_s"].iloc[0] / speed["per_token_s"]
    ordered = bool((paper.diff().iloc[1:] > 0).all() and (seen.diff().iloc[1:] > 0).all())
    rows = [at_least("bytes and further tokens in the order of bits", float(ordered), 1.0, "of 1")]
    for name, on_paper, real in zip(speed["name"].iloc[1:], paper.iloc[1:], seen.iloc[1:], strict=True):
        rows += [shown(f"{name}: times quicker a further token", real, "x"),
                 shown(f"{name}: off the {on_paper:.2f} on paper", real / on_paper - 1, "of it")]
    return rows


def main() -> None:
    """Run the parts that are asked for."""
    options = arguments(__doc__.splitlines()[0], PARTS)
    path = options.task if options.task.endswith(".gguf") else SMOLLM2
    parts = {"tokens": token_rows, "extraction": extraction_rows, "classification": classification_rows,
             "bits": bit_rows}
    finish([row for part in options.only for row in parts[part](path, options.quick)], options.json)


if __name__ == "__main__":
    main()
