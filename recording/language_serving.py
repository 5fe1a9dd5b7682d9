"""Write what notebook 3's language part opens on, from a real run on this machine.

python -m recording.language_serving
"""

import os

import pandas as pd

from helpers.hardware_codesign import (
    BUDGETS,
    ENGINES,
    Target,
    cheapest_budget,
    compare_budgets,
    compare_caches,
    compare_engines,
    count_steps,
    find_rate,
    fit_phases,
    load_endpoint,
    measure_peaks,
    measure_phases,
    on_paper,
    phase_figures,
    poisson_times,
    shared_requests,
)
from helpers.lab import endpoint, load_language_model, load_task
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.language.loading import find_language_model
from helpers.lab.progress import printed
from recording.hardware_codesign import keep

WEIGHT_TYPES = {"F16": 16, "Q8_0": 8, "Q4_0": 4}  # of GGUF: bits
SHARES = (0.0, 0.95)  # of each prompt that all requests have in common, beside the 0.8 of all switches
PROMPT_TOKENS, ANSWERS = 128, (8, 24)  # tokens of each prompt; of the shortest answer and the longest
ON_SHARES = ("continuous batching", "with prefix caching")
TARGET = Target(first_s=2.0, per_token_s=0.15)
LOAD_S, ANSWER_TOKENS = 15.0, 24
BUDGET_ROWS = 24  # messages: a prompt with eight examples takes two seconds to read


def record_phases() -> None:
    """Prefill and decode over prompts, batches and bits: measured, on paper, and by the fitted model."""
    peaks, frames, figures = measure_peaks(progress=printed), [], []
    for kind, bits in WEIGHT_TYPES.items():
        path = in_weight_type(find_language_model(), kind, printed)
        counts = count_steps(path)
        model, points = fit_phases(measure_phases(path, rounds=2, progress=printed), counts)
        frames.append(on_paper(points, counts, peaks).assign(bits=bits))
        figures.append({"bits": bits, **phase_figures(model)})
    keep("language_phases", pd.concat(frames, ignore_index=True))
    keep("language_model", pd.DataFrame(figures))


def record_engines() -> None:
    """The engine's switches, with more and more of each prompt in common."""
    llm, task = load_language_model("smollm2"), load_task("tickets")
    texts = task.train["text"][:400]
    settings = [(0.8, ENGINES), *((share, {name: ENGINES[name] for name in ON_SHARES}) for share in SHARES)]
    frames = [compare_engines(llm.path, shared_requests(llm, texts, common=share, prompt_tokens=PROMPT_TOKENS,
                                                        answer_tokens=ANSWERS), engines, progress=printed).assign(
        common=share) for share, engines in settings]
    keep("language_engines", pd.concat(frames, ignore_index=True), task.name)


def record_load() -> None:
    """The highest rate of llama.cpp's own server within a target, found by itself, and all loads on the way."""
    local, task = load_language_model("smollm2", "llama.cpp"), load_task("tickets")
    os.environ["LLAMA_CPP_KEY"] = local._key
    llm = endpoint(f"{local.address}/v1", model="smollm2", key_from="LLAMA_CPP_KEY")
    prompts = iter(task.test["text"][:])  # no load sends what another one sent
    loads = find_rate(lambda rate: load_endpoint(llm, prompts, poisson_times(rate, LOAD_S), max_tokens=ANSWER_TOKENS),
                      TARGET, precision=0.2, progress=printed)
    keep("language_load", loads.assign(sustained=loads.attrs["rate"], first_target_s=TARGET.first_s,
                                       per_token_target_s=TARGET.per_token_s, share=TARGET.share), task.name)


def record_caches() -> None:
    """Answer caches before the model, over how unequally messages repeat and how often they are worded otherwise."""
    task = load_task("tickets")
    frames = [compare_caches(task, 600, exponent=exponent, changed=changed, progress=printed).assign(
        exponent=exponent, changed=changed) for exponent in (0.5, 1.0, 1.5) for changed in (0.0, 0.5)]
    keep("language_caches", pd.concat(frames, ignore_index=True), task.name)


def record_budgets() -> None:
    """Token budgets on validation rows, and beside the first one the cheapest that is enough, on test rows."""
    llm, task = load_language_model("smollm2"), load_task("tickets-fields")
    tried = compare_budgets(llm, task, rows=BUDGET_ROWS, progress=printed)
    both = {name: BUDGETS[name] for name in dict.fromkeys([next(iter(BUDGETS)), cheapest_budget(tried)])}
    tested = compare_budgets(llm, task, both, rows=BUDGET_ROWS, split="test", progress=printed)
    keep("language_budgets", pd.concat([tried, tested], ignore_index=True), task.name)


def record() -> None:
    """All of it."""
    for part in (record_caches, record_phases, record_engines, record_load, record_budgets):
        part()


if __name__ == "__main__":
    record()
