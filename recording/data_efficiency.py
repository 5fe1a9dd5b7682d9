"""Record what notebook 4's page opens on: python -m recording.data_efficiency"""

import json
from pathlib import Path

import pandas as pd

import helpers
from helpers.data_efficiency import (
    augmentation_study,
    check_curve,
    compare_strategies,
    deduplicated,
    duplicate_effect,
    duplicate_quality,
    extraction_test,
    features,
    find_duplicates,
    find_label_errors,
    fit,
    fit_curve,
    inject_duplicates,
    labels_to,
    measure_curve,
    paired_gains,
    prune_study,
    review_curve,
    review_worth,
    synthesis_study,
)
from helpers.data_efficiency.options import NOISES, REVIEWER_ERRORS
from helpers.lab import Task, load_task, write_table
from helpers.lab.data.docstrings import PIN, harvest, pin_of
from helpers.lab.paths import write_atomically

FOLDER = Path(helpers.__file__).parent / "facts" / "recorded"
SEEDS = 5
REVIEWS = (25, 50, 100, 150, 200, 300, 400, 600)
KIND = {"tickets": "minilm", "docstrings": "lexical", "digits": "pixels"}


def write(name: str, frame: pd.DataFrame) -> None:
    """Write a table and show its head; one about several tasks names them in its column `task`."""
    write_table(FOLDER / f"4_data_efficiency_{name}.json", frame, None if "task" in frame else "tickets")
    print(f"\n{name}\n{frame.head(12).round(3).to_string(index=False)}", flush=True)


def record_cleaning(task: Task) -> None:
    """Flags on the data as they are, with their texts; and what reviewing is worth where labels were corrupted."""
    flags = find_label_errors(task)
    write("flags", flags.assign(text=[task.train["text"][row] for row in flags["row"].tolist()]))
    data, worth, quality = features(task), [], []
    for kind in NOISES:
        for error in REVIEWER_ERRORS:
            curves = pd.concat([review_curve(data, 0.1, kind, seed, reviews=REVIEWS, reviewer_error=error)
                                for seed in range(SEEDS)])
            worth.append(review_worth(curves).assign(noise=kind, reviewer_error=error))
        one = curves.drop_duplicates("seed")
        quality.append({"noise": kind, "precision": one["precision"].mean(), "recall": one["recall"].mean(),
                        "flagged": one["flagged"].mean(), "corrupted": round(0.1 * len(task.train))})
    write("reviews", pd.concat(worth))
    write("flag_quality", pd.DataFrame(quality))


def record_selection(name: str, task: Task, budget: int, batch: int) -> None:
    """All strategies against random, with what validation rows say of each; and all scores for pruning."""
    data = features(task, KIND[name])
    runs = compare_strategies(data, budget, batch, seeds=SEEDS)
    write(f"selection_{name}", paired_gains(runs))
    model, needed = fit(data.train, data.train_y, len(data.labels)), []
    full = model.accuracy(data.test, data.test_y)
    full_validation = model.accuracy(data.validation, data.validation_y)
    for share in (0.8, 0.85, 0.9, 0.95):
        there = labels_to(runs, share * full_validation, on="validation")
        needed.append(labels_to(runs, share * full).assign(share=share, accuracy=share * full,
                                                           saved_on_validation=there["saved"]))
    write(f"labels_{name}", pd.concat(needed))
    write(f"pruning_{name}", paired_gains(prune_study(data, seeds=SEEDS), "method", "keep"))


def record_curves() -> None:
    """Learning curves with their fit from all points, and from the left half."""
    points, fits = [], []
    for name, kind in KIND.items():
        measured = measure_curve(features(load_task(name), kind), seeds=SEEDS)
        points.append(measured.assign(task=name))
        curve = fit_curve(measured)
        fits.append({"task": name, "floor": curve.floor, "scale": curve.scale, "exponent": curve.exponent,
                     **check_curve(measured)})
    write("curve_points", pd.concat(points))
    write("curves", pd.DataFrame(fits))


def record_duplicates(tasks: dict[str, Task]) -> None:
    """How much is duplicated, and how many of the injected copies are found."""
    shares, quality = [], []
    for name, task in tasks.items():
        train, test = list(task.train["text"][:]), list(task.test["text"][:])
        for method in ("exact", "minhash"):
            crossing = find_duplicates(test, method, others=train)
            shares.append({"task": name, "method": method, "repeated": 1 - deduplicated(train, method).mean(),
                           "test_in_train": crossing["row"].nunique() / len(test)})
        for kind in ("typos", "reorder", "paraphrase"):
            texts, sources = inject_duplicates(train, kind)
            figures = duplicate_quality(find_duplicates(texts), len(train), sources)
            quality.append({"task": name, "kind": kind, **figures})
    write("duplicates", pd.DataFrame(shares))
    effects = [duplicate_effect(task, features(task, KIND[name])).assign(task=name) for name, task in tasks.items()]
    write("duplicate_effect", pd.concat(effects))
    write("duplicate_quality", pd.DataFrame(quality))


def record_making(task: Task) -> None:
    """Augmentation and synthesis against the real rows alone, and what a generator gives away."""
    data = features(task)
    runs = augmentation_study(task, data, (48, 120, 240), seeds=SEEDS, copies=1)
    write("augmentation", paired_gains(runs, "method", reference="none"))
    parts = []
    for method in ("words", "recombine"):
        runs = synthesis_study(task, data, 120, method, (0.5, 1.0), seeds=SEEDS)
        table = paired_gains(runs.rename(columns={"mix": "method"}).assign(labels=120), "method", reference="real only")
        parts.append(table.assign(generator=method, kept=runs["kept"].mean(), similarity=runs["similarity"].mean()))
    write("synthesis", pd.concat(parts))
    texts, labels = list(task.train["text"][:]), list(task.train["label"][:])
    write("privacy", pd.concat([extraction_test(texts, labels, method) for method in ("words", "recombine")]))


def pin_docstrings() -> None:
    """Hold all later harvests of docstrings against this one: what is recorded is of it."""
    write_atomically(PIN, json.dumps(pin_of(harvest()), indent=1) + "\n")


def record() -> None:
    """All tables of the page."""
    pin_docstrings()
    tickets, docstrings = load_task("tickets"), load_task("docstrings")
    record_cleaning(tickets)
    record_selection("tickets", tickets, budget=1440, batch=60)
    record_curves()
    record_duplicates({"tickets": tickets, "docstrings": docstrings})
    record_making(tickets)


if __name__ == "__main__":
    record()
