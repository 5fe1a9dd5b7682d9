"""Write what the page of strategy 2 opens on, from a real run on this machine.

python -m recording.efficient_architectures
"""

from pathlib import Path

import numpy as np
import pandas as pd

import helpers
from helpers.efficient_architectures import (
    ATTENTIONS,
    STEPS,
    Shape,
    attention_times,
    calibrate,
    compare_adapters,
    compare_designs,
    convolution_times,
    curve,
    guarantees,
    hard_rows,
    ladder,
    paired_over_seeds,
    quality_by_labels,
    under_drift,
)
from helpers.lab import Measurement, Task, compare, load_task, write_recorded, write_table
from helpers.lab.models.model import Model
from helpers.lab.progress import printed

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
NAME = "2_efficient_architectures"
ADAPTER_ROWS = 1000  # thirty trainings have to fit into half an hour
PROCESSES = 3  # fresh ones; intervals of ratios are over them
TIMED = ("fine-tuned", "majority", "tfidf", "static", "zero-shot", "frozen")  # few-shot serves as "frozen" does
WAYS = [("full", 8), ("probe", 8), ("bitfit", 8), ("ia3", 8), ("lora", 8), ("bottleneck", 16)]
NETS = [*((design, width, 8) for design in ("standard", "separable", "inverted residual",
                                            "inverted residual, squeeze-excite", "ResNet") for width in (0.5, 1.0)),
        ("MobileNetV2", 0.5, 8), ("standard", 1.0, 16), ("separable", 1.0, 16)]


def write(part: str, frame: pd.DataFrame, data: str | None = None) -> None:
    """One table of the page, and the name of the data that it is about."""
    write_table(FOLDER / f"{NAME}_{part}.json", frame, data)
    print(f"\n{part}\n{frame.round(4).head(12).to_string(index=False)}", flush=True)


def record_ladder(task: Task) -> tuple[list[Model], list[Measurement]]:
    """The steps side by side, the fine-tuned model first: it is the reference."""
    models = ladder(task, TIMED, progress=printed)
    result = compare(models, task, rows=96, rounds=5, processes=PROCESSES, progress=printed)
    write_recorded(FOLDER / f"{NAME}.jsonl", list(result.measurements))
    print(result.frame().round(3).to_string(index=False))
    return models, list(result.measurements)


def record_labels(task: Task, fine_tuned: Measurement) -> None:
    """Accuracy with 5, 10, 50 and all labels a class; what takes minutes to train only where labels are few."""
    slow = ("contrastive", "fine-tuned")
    few = [quality_by_labels(task, (count,), [step for step in STEPS if count < 50 or step not in slow],
                             epochs=4, progress=printed) for count in (5, 10, 50)]
    every = quality_by_labels(task, (None,), [step for step in STEPS if step not in slow])
    whole = every.iloc[-1:].assign(step="fine-tuned", accuracy=fine_tuned.accuracy, low=fine_tuned.accuracy_low,
                                   high=fine_tuned.accuracy_high, made_in_s=fine_tuned.made_in_s)
    write("labels", pd.concat([*few, every, whole], ignore_index=True), task.name)


def record_cascade(task: Task, models: list[Model], measured: list[Measurement]) -> None:
    """TF-IDF before MiniLM, and static embeddings before both: curves, guarantees, drift."""
    by_step = dict(zip(TIMED, zip(models, measured, strict=True), strict=True))
    curves, chosen, drifts = [], [], []
    for steps in (["tfidf", "fine-tuned"], ["static", "tfidf", "fine-tuned"]):
        stages = [calibrate(by_step[step][0], task) for step in steps]
        seconds = [1 / by_step[step][1].throughput_per_s for step in steps]
        held_out, test = ([stage.predict(split["text"][:]) for stage in stages]
                          for split in (task.validation, task.test))
        labels, truth = (np.asarray(split["label"][:]) for split in (task.validation, task.test))
        label = {"stages": ", then ".join(steps)}
        curves.append(curve(test, truth, seconds).assign(**label))
        chosen.append(guarantees(held_out, labels, test, truth, seconds).assign(**label))
        threshold = chosen[-1]["threshold"].iloc[1]
        drifts.append(under_drift(test, truth, seconds, threshold, hard_rows(test)).assign(**label))
    for part, frames in (("cascade", curves), ("guarantees", chosen), ("drift", drifts)):
        write(part, pd.concat(frames, ignore_index=True), task.name)


def record_convolutions() -> None:
    """The two halves of a separable convolution, and whole networks on digits."""
    times = [convolution_times(channels, channels, size=size, batch=8).assign(channels=channels, size=size)
             for channels in (16, 64, 128) for size in (8, 32)]
    write("convolutions", pd.concat(times, ignore_index=True))
    write("digits", compare_designs(load_task("digits"), NETS, epochs=12, progress=printed), "digits")


def record_attention() -> None:
    """Every round of every kind and length."""
    write("attention", attention_times((256, 512, 1024, 2048, 4096), ATTENTIONS, Shape(heads=4), progress=printed))


def record_adapters(task: Task) -> None:
    """Each way to adapt the encoder on 1,000 rows: means of five seeds, and points against full fine-tuning."""
    runs = compare_adapters(task.take(train=ADAPTER_ROWS), WAYS, seeds=range(5), progress=printed)
    means = runs.drop(columns="seed").groupby("way", sort=False).mean(numeric_only=True)
    against = paired_over_seeds(runs).set_index("way")
    write("adapters", means.join(against).reset_index(), task.name)
    print(against.round(2).to_string())


def record() -> None:
    """All of it, the timed parts first."""
    record_attention()
    record_convolutions()
    task = load_task("tickets")
    models, measured = record_ladder(task)
    record_cascade(task, models, measured)
    record_labels(task, measured[0])
    record_adapters(task)


if __name__ == "__main__":
    record()
