"""Record what notebook 4 shows of a language model in the place of people or data: python -m recording.data_language"""

import dataclasses

import numpy as np
import pandas as pd

from helpers.data_efficiency import (
    accuracy_that_pays,
    annotate,
    annotation_study,
    cohens_kappa,
    compare_ways,
    errors_by_class,
    extraction_test,
    features,
    paired_gains,
    synthesis_study,
)
from helpers.data_efficiency.language_model.annotation_costs import PEOPLE
from helpers.data_efficiency.language_model.annotation_runs import full_accuracy
from helpers.lab import load_language_model, load_task, prompted
from helpers.lab.machine import usable_cores
from helpers.lab.money.costs import compute_usd
from helpers.lab.progress import printed
from recording.data_efficiency import SEEDS, write

POOL, EXAMPLES, BATCH = 400, 100, 20  # rows that the model labels; rows with people's labels that it may be shown
MIXES, SAMPLES = {5: 1.0, 20: 0.25}, 100  # synthetic rows for each real one, by real rows a class; texts searched
WAYS = {"the names of the classes alone": {"select": "none"}, "8 nearest examples": {"select": "nearest", "shots": 8}}


def record_annotation() -> None:
    """SmolLM2 as annotator: agreement, errors by class, and what a specialist trained on its labels costs.

    The examples that it is shown have people's labels, which are paid for in its bills. Labels of validation rows, up
    to 48 of which choose the correction of its scores, are on no bill, and neither are those of test rows.
    """
    task = load_task("tickets").take(train=EXAMPLES + POOL)
    data, llm = features(task), load_language_model("smollm2")
    pool = dataclasses.replace(data, train=np.asarray(data.train[EXAMPLES:]), train_y=data.train_y[EXAMPLES:])
    shown = dataclasses.replace(task, train=task.train.select(range(EXAMPLES)))
    agreement, classes, runs, full = [], [], [], full_accuracy(pool)
    for name, settings in WAYS.items():
        model = prompted(llm, shown, **settings, progress=printed)
        given = annotate(model, task.train["text"][EXAMPLES:], progress=printed)
        kappa, low, high = cohens_kappa(pool.train_y, given.labels)
        agreement.append({"labelled_by": name, "rows": POOL, "equal": int((given.labels == pool.train_y).sum()),
                          "kappa": kappa, "low": low, "high": high, "usd_per_label": given.usd_per_label,
                          "majority": np.bincount(pool.train_y).max() / POOL})
        classes.append(errors_by_class(pool.train_y, given.labels, data.labels).assign(labelled_by=name))
        played = annotation_study(pool, given, BATCH, seeds=SEEDS, progress=printed)
        if settings["select"] != "none":
            played["people"] += EXAMPLES * (played["annotator"] != PEOPLE)
        runs.append(played.assign(labelled_by=name, full=full))
    write("annotation_agreement", pd.DataFrame(agreement))
    write("annotation_classes", pd.concat(classes))
    write("annotation_runs", pd.concat(runs))
    price = agreement[-1]["usd_per_label"]
    swept = accuracy_that_pays(pool, 0.95, price, batch=BATCH, seeds=SEEDS, progress=printed)
    write("annotation_accuracies", swept.assign(usd_per_model_label=price))


def record_written() -> None:
    """Rows that SmolLM2 writes, filtered, beside the simple generators: trained on them, tested on real ones."""
    task, llm = load_task("tickets"), load_language_model("smollm2")
    data, tables = features(task), []
    for per_class, mix in MIXES.items():
        for name, method in (("words", "words"), ("recombine", "recombine"), ("smollm2", llm)):
            runs = synthesis_study(task, data, per_class, method, (mix,), seeds=SEEDS, per_class=True,
                                   progress=printed)
            table = paired_gains(runs.assign(labels=per_class), "mix", reference="real only")
            once = runs.drop_duplicates("seed")
            tables.append(table.assign(generator=name, per_class=per_class, kept=once["kept"].mean(),
                                       confident=once["confident"].mean(), novel=once["novel"].mean(),
                                       similarity=once["similarity"].mean(), usd=compute_usd(once["cpu_s"].mean()),
                                       kept_rows=(once["kept"] * once["made"]).mean()))
    write("written_rows", pd.concat(tables))
    leaks = extraction_test(task.train["text"][:], task.train["label"][:], llm, samples=SAMPLES, progress=printed)
    write("written_privacy", leaks)


def record_retrieval() -> None:
    """SmolLM2 with examples in its prompt and tuned: quality, tokens and seconds of a request, seconds of tuning."""
    task = load_task("tickets").take(train=200, test=100, validation=24)
    llm = load_language_model("smollm2", "transformers")
    write("retrieval_ways", compare_ways(llm, task, progress=printed).assign(cores=usable_cores()))


def record() -> None:
    """All of it."""
    for part in (record_annotation, record_written, record_retrieval):
        part()


if __name__ == "__main__":
    record()
