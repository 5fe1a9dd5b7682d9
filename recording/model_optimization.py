"""Recorded results of notebook 1: quantization, pruning, distillation, all of it together, a language model.

python -m recording.model_optimization
"""

import shutil
from pathlib import Path

from pandas import DataFrame

import helpers
from benchmarks.model_optimization import INT8, Effort, distil_step, first_step, prune_step
from helpers.lab import (
    Task,
    baseline,
    compare,
    export,
    load,
    load_language_model,
    load_task,
    prompted,
    prompted_extractor,
    tuned_for,
    write_recorded,
    write_table,
)
from helpers.lab.models.model import Model
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.paths import cache
from helpers.lab.progress import printed
from helpers.model_optimization import (
    beside_tables,
    bits_against_extraction,
    bits_against_perplexity,
    bits_against_speed,
    build,
    cache_in_8_bits,
    data_aware_rounding,
    depth_against_perplexity,
    distill,
    distill_static,
    distill_with_control,
    people_labelled,
    prune,
    quantize,
    teach_specialist,
    teach_tagger,
)
from helpers.model_optimization.pipelines.steps import Step

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
PROCESSES = 3  # fresh ones; intervals of ratios are over them
EFFORT = Effort.of(quick=False)
STUDENT, PRUNED = distil_step(3, EFFORT), prune_step(0.65, EFFORT)  # the one model that its rule chose
FIRST = first_step(EFFORT)
# What else changes where INT8 is made, each alone: the runtime, rows at a time, streams; the bits come last.
IN_FP32 = tuple({"step": "export", "runtime": "onnxruntime", "name": ", ".join(["ONNX Runtime", *named]), **settings}
                for named, settings in (
                    (["rows by 64"], {"micro_batch": 64}), (["rows by 8"], {"micro_batch": INT8["micro_batch"]}),
                    (["2 streams", "rows by 8"], {name: INT8[name] for name in ("streams", "micro_batch")})))
QUANTIZED = {**INT8, "name": "int8 in ONNX Runtime, 2 streams, rows by 8"}
STEPS = (STUDENT, PRUNED, QUANTIZED, FIRST)
# The pipeline after each step, with its first two steps in either order; each step alone; and before each int8 the same
# model's changes of runtime, rows at a time and streams in fp32.
ORDERS = STEPS, (PRUNED, STUDENT, *STEPS[2:])
TOGETHER: list[list[Step]] = [
    *(list(order[:count]) for order in ORDERS for count in range(1, len(order) + 1)), *([step] for step in STEPS[2:]),
    *([*before, step] for before in (*(order[:2] for order in ORDERS), ()) for step in IN_FP32)]
PEOPLE, TAUGHT = 100, 200  # messages that people label, and a language model: the one half a second each
TUNED, RECOVERED = 200, 64  # messages and texts that a language model is tuned on: some 15 seconds a step of eight
LANGUAGE_TEXTS = 30  # each weight type reads them in a minute or so on two cores


def record() -> None:
    """All parts, one after another."""
    task = load_task("tickets")
    base = baseline(task)
    record_quantization(base, task)
    record_pruning(base, task)
    record_distillation(base, task)
    record_together(base, task)
    measure_all(base, task)
    record_language()
    record_tuned_bits()
    record_depth()
    record_teacher()
    record_language_speed()


def record_quantization(base: TorchTextModel, task: Task) -> None:
    """Fewer bits in each runtime, losing candidates included; energy and memory, too.

    Runtime, rows at a time, streams and bits change one by one on the way to int8 with two streams.
    """
    models = [
        base,
        export(base, "onnxruntime", micro_batch=64),
        export(base, "onnxruntime"),
        export(base, "onnxruntime", streams=2),
        quantize(base, task, "dynamic-int8"),
        quantize(base, task, "dynamic-int8", per_channel=False),
        quantize(base, task, "dynamic-int8", reduce_range=True),
        quantize(base, task, "dynamic-int8", streams=2),
        quantize(base, task, "static-int8", streams=2),
        quantize(base, task, "static-int8", "openvino", streams=2),
        quantize(base, task, "bf16"),
        *(quantize(base, task, "weight-only", bits=bits) for bits in (4, 2)),
    ]
    keep("", models)


def record_pruning(base: TorchTextModel, task: Task) -> None:
    """Zeros on dense kernels, parts pruned at once by either importance, and the pruning of the pipeline, recovered."""
    models = [
        base,
        prune(base, task, "magnitude", 0.5),
        prune(base, task, "2:4"),
        *(prune(base, task, "structured", share) for share in (0.25, 0.5, 0.75)),
        prune(base, task, "structured", 0.5, importance="magnitude"),
        prune(base, task, "layers", 0.5),
        build(base, task, [PRUNED]),
    ]
    keep("_pruning", models)


def record_distillation(base: TorchTextModel, task: Task) -> None:
    """A student of two layers and its control, one of one layer, and one that only looks words up."""
    effort = {"epochs": 1.5, "augmented": 2}
    models = [
        base,
        *distill_with_control(base, task, layers=[0, 1], **effort),
        distill(base, task, layers=[0], **effort),
        distill_static(base, task, augmented=1),
    ]
    keep("_distillation", models)


def record_together(base: TorchTextModel, task: Task) -> None:
    """The pipeline after each step, and what each of its changes gives."""
    models = [base, *(build(base, task, chain, progress=printed) for chain in TOGETHER)]
    keep("_together", models)


def record_language() -> None:
    """SmolLM2 in fewer bits on real texts, beside a table of pairs, and its cache in 8 bits: nothing is timed."""
    rows = load_task("docstrings")
    llm = load_language_model("smollm2", "transformers")
    unseen = rows.test["text"][:LANGUAGE_TEXTS]
    _write_language("language", bits_against_perplexity(llm, unseen, progress=printed), rows.name)
    _write_language("language_tables", beside_tables(llm, unseen, rows.train["text"][:], progress=printed), rows.name)
    _write_language("language_cache", cache_in_8_bits(llm, unseen, progress=printed), rows.name)


def record_tuned_bits() -> None:
    """SmolLM2 tuned for extraction, in fewer bits: what rounding loses of originals. Nothing is timed."""
    forms, llm = load_task("tickets-fields"), load_language_model("smollm2", "transformers")
    tuned = tuned_for(llm, forms, rows=TUNED, progress=printed)
    _write_language("tuned_bits", bits_against_extraction(tuned, llm.path, forms, progress=printed), forms.name)
    _write_language("data_aware", data_aware_rounding(tuned, llm.path, forms, progress=printed), forms.name)


def record_depth() -> None:
    """SmolLM2 without some of its blocks, and after a short recovery. Nothing is timed."""
    rows, llm = load_task("docstrings"), load_language_model("smollm2", "transformers")
    frame = depth_against_perplexity(llm, rows.test["text"][:LANGUAGE_TEXTS], rows.train["text"][:RECOVERED],
                                     progress=printed)
    _write_language("depth", frame, rows.name)


def record_teacher() -> None:
    """Record specialists trained on SmolLM2's labels and extractions, beside people's, and the cost of both."""
    task, forms, llm = load_task("tickets"), load_task("tickets-fields"), load_language_model("smollm2")
    labels = prompted(llm, people_labelled(task, PEOPLE), select="none", progress=printed)
    _write_language("taught_labels", teach_specialist(labels, task, messages=TAUGHT, people=(0, PEOPLE, None),
                                                      progress=printed), task.name)
    fields = prompted_extractor(llm, people_labelled(forms, PEOPLE), shots=4)
    _write_language("taught_fields", teach_tagger(fields, forms, messages=TAUGHT, people=(0, PEOPLE, None),
                                                  progress=printed), forms.name)


def record_language_speed() -> None:
    """How fast SmolLM2 answers from files in each weight type: the timed part, for a quiet moment."""
    task = load_task("tickets")
    frame = bits_against_speed(task.test["text"][:16], rounds=7, progress=printed)
    _write_language("language_speed", frame, task.name)


def _write_language(part: str, frame: DataFrame, data: str) -> None:
    write_table(FOLDER / f"1_model_optimization_{part}.json", frame, data)
    print(frame.round(3).to_string(index=False), flush=True)


def keep(part: str, models: list[Model]) -> None:
    """Save the models of a part, which `measure` loads: what trains comes first, so that all timing comes together."""
    shutil.rmtree(_made(part), ignore_errors=True)
    for number, model in enumerate(models):
        model.save(_made(part) / f"{number:02}")


def measure(part: str, task: Task) -> None:
    """Compare the kept models of a part, and write their records; energy and memory in the first table only.

    All tables are timed on the same rows: messages differ in length, and so does what another choice of them costs.
    """
    models = [load(folder) for folder in sorted(_made(part).iterdir())]
    result = compare(models, task, rows=96, rounds=5, processes=PROCESSES, energy=not part, memory=not part,
                     progress=printed)
    write_recorded(FOLDER / f"1_model_optimization{part}.jsonl", list(result.measurements))
    print(result.frame()[["model", "accuracy", "accuracy_delta", "speedup", "speedup_low", "speedup_high",
                          "usd_per_million"]].round(3).to_string(index=False), flush=True)


def measure_all(_base: TorchTextModel, task: Task) -> None:
    """Every part of kept models."""
    for part in ("", "_pruning", "_distillation", "_together"):
        measure(part, task)


def _made(part: str) -> Path:
    return cache("recording", f"1_model_optimization{part}")


if __name__ == "__main__":
    record()
