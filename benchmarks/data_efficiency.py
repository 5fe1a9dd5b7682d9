"""Cleaning, deduplication, selection and learning curves: their figures, and the libraries beside them.

python -m benchmarks.data_efficiency [--task FILE] [--test FILE] [--text COLUMN] [--label COLUMN] [--quick]
    [--json FILE]
"""

import csv
import functools
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import (
    Budget,
    Point,
    Row,
    arguments,
    at_least,
    at_most,
    beside,
    distance,
    finish,
    front_rows,
    raced,
    shown,
    task_of,
)
from benchmarks.peers.data import (
    DATASKETCH_THRESHOLD,
    PERMUTATIONS,
    SEMHASH_THRESHOLD,
    datasketch_pairs,
    letter_triples,
    semhash_pairs,
    small_text_queries,
)
from helpers.data_efficiency import (
    STRATEGIES,
    Features,
    Pool,
    check_curve,
    clean_large,
    compare_strategies,
    doubtful_rows,
    duplicate_quality,
    features,
    find_duplicates,
    fit,
    inject_duplicates,
    labels_to,
    measure_curve,
    recombined,
    review_curve,
    review_worth,
    typos,
)
from helpers.data_efficiency.options import THRESHOLDS
from helpers.lab import InputError, Task, load_task
from helpers.lab.data.shingles import Packed, hashed
from helpers.lab.machine import peak_resident_bytes
from helpers.lab.measuring.intervals import mean_interval

# What was to be shown, set beforehand.
FLAGS_PRECISION, FLAGS_RECALL = 0.6, 0.7  # of ten flags six are errors, and of ten errors seven are flagged
REGAINED = 0.5  # half of what the noise cost, for as many reviews as there are errors
COPIES_F1 = 0.95  # copies with typos or another order: a person would take nearly all of them for copies
CURVE_POINTS = 2.0  # points: less than what a doubling of the labels is bought for
LARGE_MINUTES, LARGE_GB = 20.0, 4.0  # a million rows on a small machine
ODD_FILES = {  # what design.md calls bad input, as bytes
    "empty.csv": b"", "one_class.csv": b"text,label\n" + b"some words,a\n" * 9, "no_column.csv": b"body,label\nx,a\n",
    "seen_once.csv": b"text,label\n" + b"x y,a\n" * 5 + b"z w,b\n",
    "many_classes.csv": b"text,label\n" + b"".join(b"w,l%d\n" % n for n in range(100_000)),
    "nul.csv": b"text,label\nx\0y,a\n", "latin1.csv": "text,label\ncaf\u00e9,a\n".encode("latin-1"),
    "headless.tsv": b"where is my order now\tparcel\n" * 6, "ids.csv": b"id,text,label\n" + b"1,x,a\n2,y,b\n" * 4,
    "missing.csv": b"text,label\n,a\nx,b\n"}


def noise_rows(data: Features, seeds: int) -> list[Row]:
    """One label in ten replaced by the most confusable one, and by any other; 15% of the rows reviewed, as decided
    before, by somebody who errs as often as published labels do."""
    rows, budget = [], round(0.15 * len(data.train_y))
    for kind in ("confusable", "uniform"):
        curves = pd.concat([review_curve(data, 0.1, kind, seed, reviews=(budget,)) for seed in range(seeds)])
        firsts = curves.drop_duplicates("seed")
        for name, target in (("precision", FLAGS_PRECISION), ("recall", FLAGS_RECALL)):
            mean, low, high = mean_interval(firsts[name])
            said = f"{kind} noise of 10%: {name} of the flags"
            rows.append(at_least(said, mean, target, "", low, high) if kind == "uniform" else shown(
                said, mean, "", low, high))
        back = review_worth(curves).set_index(["order", "reviewed"]).loc[("doubt", budget)]
        figures = [None if np.isnan(figure) else float(figure)
                   for figure in back[["regained", "regained_low", "regained_high"]]]
        said = f"{kind} noise of 10%: share of the lost accuracy regained by reviewing 15% of the rows"
        judged = kind == "uniform" and figures[0] is not None
        rows.append(at_least(said, figures[0], REGAINED, "", *figures[1:]) if judged else shown(
            said, figures[0], "", *figures[1:]))
    return rows


def duplicate_rows(task: Task, rounds: int) -> list[Row]:
    """Copies put in and found; then the libraries' own searches, and ours at the same threshold, on the same rows."""
    texts, rows = list(task.train["text"][:]), []
    for kind in ("typos", "reorder", "paraphrase"):
        more, sources = inject_duplicates(texts, kind, 0.2, seed=1)
        f1 = duplicate_quality(find_duplicates(more), len(texts), sources)["f1"]
        name = f"{task.name}: F1 of injected copies, {kind}"
        rows.append(shown(name, f1, "") if kind == "paraphrase" else at_least(name, f1, COPIES_F1, ""))
    more, sources = inject_duplicates(texts, "typos", 0.2, seed=1)
    vectors = hashed(Packed(more), 256)
    triples = {"shingles": letter_triples, "threshold": THRESHOLDS["minhash"]}
    ways = (("datasketch, its example", functools.partial(datasketch_pairs, more), DATASKETCH_THRESHOLD, {}),
            ("datasketch, our shingles and threshold", functools.partial(datasketch_pairs, more, **triples),
             THRESHOLDS["minhash"], {}),
            ("semhash, its defaults, given the vectors", functools.partial(semhash_pairs, more, vectors),
             SEMHASH_THRESHOLD, {"method": "semantic", "vectors": vectors}))
    mine, peers = {}, []
    for peer, theirs, threshold, given in ways:
        ours = functools.partial(find_duplicates, more, threshold=threshold, **given)
        name = f"{given.get('method', 'minhash')} here at {threshold}"
        seconds, peer_s, ratio = raced(ours, theirs, rounds)
        points = [Point(one, duplicate_quality(find(), len(texts), sources)["f1"], cost)
                  for one, find, cost in ((name, ours, seconds), (peer, theirs, peer_s))]
        mine[name], _ = points
        peers.append(points[1])
        rows += [*(shown(f"{task.name}: {point.name}", len(more) / point.cost, "rows/s") for point in points),
                 *(shown(f"{task.name}: F1 of copies with typos, {point.name}", point.quality, "") for point in points),
                 beside(f"{task.name}: {name}, rows a second", peer, *ratio)]
    return [*rows, *front_rows(list(mine.values()), peers, "s")]


def selection_rows(data: Features, seeds: int, budget: int, names: tuple[str, ...]) -> list[Row]:
    """Labels to 95% of the full accuracy, each strategy against random."""
    full = fit(data.train, data.train_y, len(data.labels)).accuracy(data.test, data.test_y)
    table = labels_to(compare_strategies(data, budget, max(2, budget // 12), names, seeds=seeds), 0.95 * full)
    rows = [shown("random: labels to 95% of the full accuracy", table.set_index("strategy").loc["random", "labels"],
                  "labels")]
    table = table.astype(object).where(table.notna(), None)  # what none reached has no figure
    for row in table[table["strategy"] != "random"].sort_values("saved", ascending=False).itertuples():
        rows += [shown(f"{row.strategy}: labels fewer than random, paired", row.saved, "labels", row.saved_low,
                       row.saved_high),
                 shown(f"{row.strategy}: dollars saved, computing included", row.saved_usd, "$", row.saved_usd_low,
                       row.saved_usd_high)]
    return rows


def peer_rows(data: Features, rounds: int) -> list[Row]:
    """Does small-text choose the same rows, and as fast?"""
    x, classes = np.asarray(data.train), len(data.labels)
    rest, known = np.arange(len(x) * 3 // 4), np.arange(len(x) * 3 // 4, len(x))
    model = fit(x[known], data.train_y[known], classes)
    pool, count, rows = Pool(x, known, rest, model, np.random.default_rng(0)), min(50, len(rest)), []

    def accuracy(chosen: np.ndarray) -> float:
        """Of the classifier with the labels of the chosen rows, too."""
        labelled = np.concatenate([known, chosen])
        return fit(x[labelled], data.train_y[labelled], classes).accuracy(data.test, data.test_y)

    for name, theirs in small_text_queries(pool, data.train_y, count).items():
        ours, peer = functools.partial(STRATEGIES[name], pool, count), f"small-text's {name}"
        chosen, others = np.asarray(ours()), np.asarray(theirs())
        seconds, peer_s, ratio = raced(ours, theirs, rounds)
        same = len(set(chosen.tolist()) & set(others.tolist())) / count
        rows += [at_least(f"{name}: share of the rows that small-text chooses too", same, 1.0, ""),
                 beside(f"{name}: choices a second", peer, *ratio),
                 *front_rows([Point(name, accuracy(chosen), seconds)], [Point(peer, accuracy(others), peer_s)], "s")]
    return rows


def curve_rows(data: list[Features], seeds: int) -> list[Row]:
    """The end of the curve, predicted from its left half."""
    rows = []
    for one in data:
        seen = check_curve(measure_curve(one, seeds=seeds))
        off = distance(*(100 * seen[name] for name in ("predicted", "low", "high", "measured")))
        rows.append(at_most(f"{one.task}: learning curve's end predicted from its first half, off by", off[0],
                            CURVE_POINTS, "points", *off[1:]))
    return rows


def large_rows(count: int) -> list[Row]:
    """Docstrings recombined within their class, a tenth of them copied with typos, one label in twenty wrong."""
    task, rng = load_task("docstrings"), random.Random(0)
    by_label: dict[int, list[str]] = {}
    for text, label in zip(task.train["text"][:], task.train["label"][:], strict=True):
        by_label.setdefault(label, []).append(text)
    with tempfile.TemporaryDirectory() as folder:
        source, copies, last = Path(folder) / "rows.csv", 0, None
        with source.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for _ in range(count):
                if last and rng.random() < 0.1:
                    writer.writerow([typos(last[0], rng), last[1]])
                    copies += 1
                    continue
                label = rng.choice(list(by_label))
                wrong = rng.choice(list(by_label)) if rng.random() < 0.05 else label
                last = recombined(*rng.choices(by_label[label], k=2)), task.labels[wrong]
                writer.writerow(last)
        began = time.perf_counter()
        cleaned = clean_large(source, Path(folder) / "clean.csv", Path(folder) / "log.jsonl", remove="near",
                              threshold=0.65)  # rows share halves
        minutes = (time.perf_counter() - began) / 60
    return [at_most(f"{count:,} rows cleaned, deduplicated and selected from", minutes, LARGE_MINUTES, "min"),
            at_most(f"{count:,} rows: most memory of this process", peak_resident_bytes() / 1e9, LARGE_GB,
                    "GB"),
            shown(f"{count:,} rows: duplicates found, of the copies put in", len(cleaned.duplicates) / copies, "x"),
            shown(f"{count:,} rows: doubtful labels", float(len(cleaned.flags)), "rows")]


def odd_rows() -> list[Row]:
    """Every odd file is refused in a sentence; a megabyte of text goes through."""
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ODD_FILES.items():
            path = Path(folder) / name
            path.write_bytes(content)
            try:
                doubtful_rows(path, kind="hashed")
            except InputError:
                refused += 1
        rows = "".join(f"refund {n} please,money\nparcel {n} is late,parcel\n" for n in range(10))
        (Path(folder) / "long.csv").write_text(f"text,label\n{rows}{'very long ' * 100_000},money\n")
        through = len(doubtful_rows(Path(folder) / "long.csv", kind="hashed")["texts"])
    return [at_least(f"odd files refused in one sentence, of {len(ODD_FILES)}", refused, len(ODD_FILES), ""),
            at_least("rows of a file with a text of 1 MB that went through, of 21", through, 21, "")]


def budgets(task: Task) -> list[Budget]:
    """Budgets of ours and of each peer: the same rows, vectors, classifier and threshold, in turns."""
    rows = len(task.train)
    return [Budget("minhash here", f"{PERMUTATIONS} permutations, letter triples, each peer's threshold", rows),
            Budget("datasketch", f"{PERMUTATIONS} permutations, words at its 0.9; our triples and threshold", rows),
            Budget("semantic here", "the same vectors, semhash's threshold", rows),
            Budget("semhash", "the same vectors, its defaults", rows),
            Budget("selection here and small-text", "the same pool and classifier, 50 rows", rows)]


def main() -> None:
    """Measure, compare, print."""
    options = arguments(__doc__)
    task = task_of(options)
    data, quick = features(task), options.quick
    seeds, rounds = (2, 3) if quick else (5, 9)
    names = ("margin", "k-center") if quick else tuple(STRATEGIES)
    others = [] if quick else [features(load_task("docstrings"), "lexical")]
    docstrings = load_task("docstrings")
    rows = [*large_rows(20_000 if quick else 1_000_000), *noise_rows(data, seeds), *duplicate_rows(task, rounds),
            *duplicate_rows(docstrings.take(train=2000) if quick else docstrings, rounds),
            *selection_rows(data, seeds, len(data.train_y) // 2, names), *peer_rows(data, rounds),
            *curve_rows([data, *others, features(load_task("digits"), "pixels")], seeds), *odd_rows()]
    finish(rows, options.json, budgets(task))


if __name__ == "__main__":
    main()
