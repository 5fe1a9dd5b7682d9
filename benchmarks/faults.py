"""kill -9 at random moments of training, measuring and writing: what was acknowledged is there, and whole.

python -m benchmarks.faults [--kills 200] [--json FILE]

Only where processes can be forked (Linux, macOS): a fork works at once, so that a kill meets the work and no import.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import math
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Row, at_most, finish, shown
from helpers.data_efficiency import Review
from helpers.lab import MINILM, Ledger, Task, baseline, compare, load, load_task, tfidf_baseline
from helpers.lab.errors import Cancelled, NotStored
from helpers.lab.measuring.timing import timing_turn
from helpers.lab.paths import write_atomically
from helpers.lab.progress import Progress

Acknowledge = Callable[[str], None]
MAX_TURN_S = 5.0  # until the next one gets the machine's stopwatch
FILE_VALUES = 20_000  # of the file that is written: some 100 KB
ROWS = 10  # that are reviewed


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of work that is killed.

    run: (folder, acknowledge) works on and on, and acknowledges what is stored as soon as it is.
    wrong: (folder, all that was acknowledged) -> a sentence for each thing that is lost or half-written.
    """

    name: str
    run: Callable[[Path, Acknowledge], None]
    wrong: Callable[[Path, Sequence[str]], list[str]]


def survived(work: Work, folder: Path, kills: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """(what went wrong, what was acknowledged) of work that is killed at random moments of its first two results."""
    chance, wrong = random.Random(seed), []
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    acknowledged = forked(lambda acknowledge: work.run(folder, acknowledge), folder, results=2)
    span = time.monotonic() - began
    for number in range(kills):
        after_s = chance.uniform(0, span)
        acknowledged += forked(lambda acknowledge: work.run(folder, acknowledge), folder, after_s=after_s)
        wrong += [f"{work.name}, kill {number + 1}: {sentence}" for sentence in looked_at(work, folder, acknowledged)]
    return wrong, acknowledged


def looked_at(work: Work, folder: Path, acknowledged: Sequence[str]) -> list[str]:
    """Faults in what the work left in the folder, as a new process sees it."""
    return forked(lambda acknowledge: list(map(acknowledge, work.wrong(folder, acknowledged))), folder)


def forked(task: Callable[[Acknowledge], object], folder: Path, *, after_s: float | None = None,
           results: int | None = None) -> list[str]:
    """The lines that a task acknowledged in a separate process, whose home and temporary files lie in `folder`.

    It is killed after so many seconds or results; without either it works to its end.

    Raises:
        RuntimeError: it ended with an error.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            torch.set_num_threads(1)  # a fork would wait for ever for the threads of its parent's OpenMP
            os.environ["HELPERS_HOME"], tempfile.tempdir = str(folder), str(folder)
            task(lambda line: os.write(writing, f"{line}\n".encode()))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)  # not by way of what the parent would do at its end
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        lines = [pipe.readline().strip() for _ in range(results or 0)]
        if after_s is not None:
            time.sleep(after_s)
        if after_s is not None or results is not None:
            os.kill(child, signal.SIGKILL)
        lines += pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a process that was not killed ended with an error: see above")
    return lines


def training(task: Task, encoder: str | Path = MINILM) -> Work:
    """Models fine-tuned into the cache, each time in a new home; acknowledged with a digest of their answers."""
    texts = task.test["text"][:20]

    def answers(model) -> str:
        return hashlib.sha256(model.predict(texts).tobytes()).hexdigest()

    def model_of(home: Path, seed: int, progress: Progress):
        os.environ["HELPERS_HOME"] = str(home)
        return baseline(task, encoder, epochs=1, seed=seed, progress=progress)

    def run(folder: Path, acknowledge: Acknowledge) -> None:
        (folder / "homes").mkdir(exist_ok=True)
        home = folder / "homes" / str(len(list((folder / "homes").iterdir())))
        home.mkdir()
        for seed in itertools.count():
            acknowledge(f"{home.name} {seed} {answers(model_of(home, seed, Progress()))}")

    def wrong(folder: Path, acknowledged: Sequence[str]) -> list[str]:
        home = max((folder / "homes").iterdir(), key=lambda path: int(path.name))
        losses = []
        for entry in (home / "cache" / "baselines").glob("[0-9a-f]*"):
            if entry.is_dir() and not np.isfinite(load(entry).predict(texts)).all():
                losses.append(f"the model in {entry.name} answers with no numbers")
        for where, seed, digest in map(str.split, acknowledged):
            if where != home.name:
                continue
            try:
                if answers(model_of(home, int(seed), Progress(cancelled=lambda: True))) != digest:
                    losses.append(f"the model of seed {seed} answers otherwise")
            except Cancelled:  # it would have been trained again
                losses.append(f"the model of seed {seed} is lost")
        return losses

    return Work("training", run, strictly(wrong))


def measuring(task: Task) -> Work:
    """Records of a small model put into one ledger; acknowledged by their number."""
    def run(_folder: Path, acknowledge: Acknowledge) -> None:
        model = tfidf_baseline(task)
        while True:
            measured = compare([model], task, rows=16, rounds=2, energy=False, memory=False, ledger=Ledger())
            acknowledge(measured.measurements[0].id)

    def wrong(folder: Path, acknowledged: Sequence[str]) -> list[str]:
        lost = set(acknowledged) - {record.id for record in Ledger().all()}
        losses = [f"the record {number} is lost" for number in lost]
        with sqlite3.connect(folder / "ledger.sqlite") as connection:
            if (state := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                losses.append(f"the ledger is damaged ({state})")
        losses += [f"{path.name} was set aside" for path in folder.glob("*.damaged*")]
        began = time.monotonic()
        with timing_turn():
            if (waited := time.monotonic() - began) > MAX_TURN_S:
                losses.append(f"the next one got the stopwatch after {waited:.0f} s")
        return losses

    return Work("measuring", run, strictly(wrong))


def writing() -> Work:
    """A file written again and again, and a review's decisions; acknowledged by their number."""
    def review(folder: Path) -> Review:
        return Review([f"text {row}" for row in range(ROWS)], ["label"] * ROWS, folder / "log.jsonl")

    def entries(folder: Path) -> int:
        log = review(folder).path  # opening takes a torn line away
        return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0

    def run(folder: Path, acknowledge: Acknowledge) -> None:
        for number in itertools.count(entries(folder)):
            write_atomically(folder / "file.json", json.dumps([number] * FILE_VALUES))
            review(folder).decide(number % ROWS, "keep")
            acknowledge(str(number))

    def wrong(folder: Path, acknowledged: Sequence[str]) -> list[str]:
        last, path, losses = max(map(int, acknowledged), default=-1), folder / "file.json", []
        if path.exists() or acknowledged:
            values = json.loads(path.read_text(encoding="utf-8"))
            if len(values) != FILE_VALUES or len(set(values)) != 1:
                losses.append("the file is half of one and half of another")
            elif values[0] < last:
                losses.append(f"the file is number {values[0]}, and {last} was acknowledged")
        if (decided := entries(folder)) <= last:
            losses.append(f"the log has {decided} decisions, and {last + 1} were acknowledged")
        return losses

    return Work("writing", run, strictly(wrong))


def strictly(wrong: Callable[[Path, Sequence[str]], list[str]]) -> Callable[[Path, Sequence[str]], list[str]]:
    """The same, where whatever cannot be read, or is said to be damaged, is wrong as well."""
    def looked(folder: Path, acknowledged: Sequence[str]) -> list[str]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", NotStored)
                return wrong(folder, acknowledged)
        except Exception as error:  # each format raises its own errors
            return [" ".join(f"{type(error).__name__}: {error}".split())]

    return looked


def rows_of(work: Work, folder: Path, kills: int) -> list[Row]:
    """Rows with the targets of one kind of work."""
    wrong, acknowledged = survived(work, folder, kills)
    for sentence in wrong:
        print(sentence)
    return [at_most(f"{work.name}: lost or half-written after {kills} kills", len(wrong), 0, ""),
            shown(f"{work.name}: results acknowledged", len(acknowledged), "")]


def main() -> None:
    """Kill each kind of work a third of the times; exit status 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of all three kinds of work together")
    parser.add_argument("--json", type=Path, help="write machine and rows to this file")
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        sys.exit("This system cannot fork processes: run it on Linux or macOS.")
    task = load_task("tickets").take(train=64, test=48)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for work in (training(task), measuring(task), writing()):
            rows += rows_of(work, Path(folder) / work.name, math.ceil(options.kills / 3))
    finish(rows, options.json)
    sys.exit(any(row.holds is False for row in rows))


if __name__ == "__main__":
    main()
