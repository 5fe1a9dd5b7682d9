"""Write the results that the pages open on, from a real run on this machine: make record.

python -m recording [PART ...] [--language] [--again] [--list]

What trains comes before what times, so that all timings come together. A part that is done on this machine is skipped
(`--again` records it again), so that a run that was cut off goes on where it was. After each part its figures are held
against what can be and against those recorded before it on this machine; a fault stops the run with a sentence. Two
stories are recorded, the classifier's and the language model's, each on one machine: a part alone only where
the others of its story are this machine's.
"""

import argparse
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.lab import InputError, Task, baseline, find_weights, fingerprint, load_task
from helpers.lab.data.tokenizer import TextEncoder
from helpers.lab.measuring.checks import faults
from helpers.lab.measuring.measurement import code_version
from helpers.lab.paths import cache, write_atomically
from recording import (
    architectures_language,
    data_efficiency,
    data_language,
    efficient_architectures,
    hardware_codesign,
    language_serving,
    language_together,
    model_optimization,
)
from recording.quiet import wait_until_quiet

FOLDER = hardware_codesign.FOLDER


@dataclasses.dataclass(frozen=True)
class Part:
    """One step of a recording.

    files: the beginnings of the names of what it writes; minutes: on 2 cores, until one run has shown it; times:
    whether it times anything, which wants a quiet machine; of_language: whether it belongs to the language model's
    story. No table of the one story is compared with a table of the other: what a language model is held against (a
    specialist, people's labels) is measured again in its own part.
    """

    name: str
    work: Callable[[], object]
    files: tuple[str, ...]
    minutes: float
    times: bool = False
    of_language: bool = False


LanguagePart = functools.partial(Part, of_language=True)


def _with_base(work: Callable) -> Callable[[], object]:
    def run() -> object:
        task = load_task("tickets")
        return work(baseline(task), task)
    return run


def _with_ladder() -> None:
    task = load_task("tickets")
    models, measured = efficient_architectures.record_ladder(task)
    efficient_architectures.record_cascade(task, models, measured)
    efficient_architectures.record_labels(task, measured[0])


ONE, TWO, THREE, FOUR = ("1_model_optimization", "2_efficient_architectures", "3_hardware_codesign",
                         "4_data_efficiency")
PARTS = (
    Part("data", data_efficiency.record, tuple(f"{FOUR}_{part}" for part in (
        "augmentation", "curve_points", "curves", "duplicate_effect", "duplicate_quality", "duplicates", "flag_quality",
        "flags", "labels", "privacy", "pruning", "reviews", "selection", "synthesis")), 28),
    LanguagePart("written rows", data_language.record_written, (f"{FOUR}_written",), 15),
    Part("adapters", lambda: efficient_architectures.record_adapters(load_task("tickets")), (f"{TWO}_adapters",), 30),
    *(Part(name, _with_base(getattr(model_optimization, f"record_{name}")), (), minutes)
      for name, minutes in (("quantization", 4), ("pruning", 11), ("distillation", 7), ("together", 14))),
    LanguagePart("language", model_optimization.record_language, (f"{ONE}_language.json", *(
        f"{ONE}_language_{part}" for part in ("tables", "cache"))), 1),
    LanguagePart("tuned bits", model_optimization.record_tuned_bits, (f"{ONE}_tuned_bits", f"{ONE}_data_aware"), 24),
    LanguagePart("depth", model_optimization.record_depth, (f"{ONE}_depth",), 8),
    LanguagePart("language speed", model_optimization.record_language_speed, (f"{ONE}_language_speed",), 6, times=True),
    LanguagePart("teacher", model_optimization.record_teacher, (f"{ONE}_taught",), 18, times=True),
    Part("models", _with_base(model_optimization.measure_all),
         tuple(f"{ONE}{part}.jsonl" for part in ("", "_pruning", "_distillation", "_together")), 33, times=True),
    Part("ladder", _with_ladder, (f"{TWO}.jsonl", *(f"{TWO}_{part}" for part in (
        "cascade", "guarantees", "drift", "labels"))), 19, times=True),
    Part("attention", efficient_architectures.record_attention, (f"{TWO}_attention",), 1, times=True),
    Part("convolutions", efficient_architectures.record_convolutions, (f"{TWO}_convolutions", f"{TWO}_digits"), 1,
         times=True),
    Part("roofline", _with_base(hardware_codesign.record_roofline), tuple(
        f"{THREE}_{part}" for part in ("peaks", "layers", "work", "times")), 2, times=True),
    Part("batching", _with_base(hardware_codesign.record_batching), tuple(
        f"{THREE}_{part}" for part in ("padding", "batches", "load", "layouts")), 3, times=True),
    Part("runtimes", _with_base(hardware_codesign.record_runtimes), tuple(
        f"{THREE}_{part}" for part in ("runtimes", "levels", "switches")), 12, times=True),
    Part("leaving", _with_base(hardware_codesign.record_leaving), (f"{THREE}_leaving",), 2, times=True),
    Part("measurements", _with_base(hardware_codesign.record_measurements), (f"{THREE}.jsonl",), 7, times=True),
    LanguagePart("annotation", data_language.record_annotation, (f"{FOUR}_annotation",), 15, times=True),
    LanguagePart("retrieval", data_language.record_retrieval, (f"{FOUR}_retrieval",), 25, times=True),
    LanguagePart("language rungs", architectures_language.record_rungs, tuple(
        f"{TWO}_language_{part}" for part in ("rungs", "tokens", "router", "drift")), 17, times=True),
    LanguagePart("language together", language_together.record, (f"{TWO}_language_together",), 25, times=True),
    LanguagePart("language tenants", architectures_language.record_tenants, tuple(
        f"{TWO}_language_{part}" for part in ("tenants", "tenant_bytes")), 6, times=True),
    LanguagePart("language serving", language_serving.record, (f"{THREE}_language",), 20, times=True),
)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS, folder: Path = FOLDER) -> None:
    """Record all parts that are not done here, or those named.

    Raises:
        InputError: an unknown part, other parts' files from another machine, a machine that stays busy, or figures that
            cannot be or do not agree.
    """
    parser = argparse.ArgumentParser("python -m recording")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--language", action="store_true", help="of these, the parts of the language model's story")
    parser.add_argument("--again", action="store_true", help="record parts that are done, too")
    parser.add_argument("--list", action="store_true", help="say what is left, and how long it takes; record nothing")
    asked = parser.parse_args(arguments)
    names = [part.name for part in parts]
    if unknown := set(asked.parts) - set(names):
        raise InputError(f"Unknown part '{min(unknown)}'. Choose some of: {', '.join(names)}.")
    wanted = [part for part in parts
              if (not asked.parts or part.name in asked.parts) and (part.of_language or not asked.language)]
    left = [part for part in wanted if asked.again or not is_done(part, folder)]
    stories = {part.of_language for part in wanted}
    require_one_machine([part for part in parts if part not in wanted and part.of_language in stories], folder)
    print(_outlook(left), flush=True)
    if asked.list:
        return
    for number, part in enumerate(left):
        if part.times:
            wait_until_quiet()
        print(f"\n{part.name}", flush=True)
        began = time.monotonic()
        part.work()
        require_no_fault(files_of(part, folder), folder)
        _stamp(part, time.monotonic() - began)
        print(_outlook(left[number + 1:]), flush=True)


def files_of(part: Part, folder: Path) -> list[Path]:
    """Files that the part has written; none of an accelerator's, which `recording.accelerator` writes."""
    return sorted(path for path in folder.glob("*.json*") if not machine_of(path)["gpu"] and any(
        path.name.startswith(f"{beginning}.") or path.name.startswith(f"{beginning}_") or path.name == beginning
        for beginning in part.files))


@functools.cache
def _machine_of(path: Path, _changed: int) -> dict:
    text = path.read_text(encoding="utf-8")
    return json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)["machine"]


def machine_of(path: Path) -> dict:
    """The fingerprint in a recorded file."""
    return _machine_of(path, path.stat().st_mtime_ns)


def is_done(part: Part, folder: Path) -> bool:
    """Whether this machine has recorded the part, and all of its files are this machine's."""
    stamp = _stamps().get(part.name, {})
    machines = {machine_of(path)["id"] for path in files_of(part, folder)}
    here = machines == ({fingerprint()["id"]} if part.files else set())
    if stamp.get("machine") == fingerprint()["id"] and here and stamp["code"] != code_version():
        print(f"{part.name} is done, by other code ({stamp['code']}); --again records it again.", flush=True)
    return stamp.get("machine") == fingerprint()["id"] and here


def require_one_machine(others: Sequence[Part], folder: Path) -> None:
    """Refuse to record beside files of the same story that another machine wrote, and that stay."""
    foreign = [path.name for part in others for path in files_of(part, folder)
               if machine_of(path)["id"] != fingerprint()["id"]]
    if foreign:
        raise InputError(f"{foreign[0]} and {len(foreign) - 1} other files were recorded on another machine, and would "
                         "stay: record all parts here (make record), or this one there.")


def require_no_fault(written: Sequence[Path], folder: Path) -> None:
    """Stop where what was written cannot be, or disagrees with what this machine recorded before."""
    task = load_task("tickets")
    ours = [path for path in sorted(folder.glob("*.json*")) if machine_of(path)["id"] == fingerprint()["id"]]
    faulty = faults(ours, {task.name: median_tokens(task)})
    said = [sentence for path in written for sentence in faulty.get(path.name, [])]
    if said:
        raise InputError(f"{said[0]} ({len(said)} such sentences; the part counts as not done. Record it again, with "
                         "--again the one that it disagrees with, or mend how it is measured.)")


def median_tokens(task: Task) -> float:
    """Tokens of the median test text: as times rise with the length, it takes the median time."""
    encoder = TextEncoder.load(find_weights() / "tokenizer.json")
    return float(np.median([len(row) for row in encoder.encode(task.test["text"][:])]))


def _stamps() -> Mapping[str, dict]:
    path = cache("recording", "stamps.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _stamp(part: Part, seconds: float) -> None:
    stamp = {"machine": fingerprint()["id"], "code": code_version(), "seconds": round(seconds)}
    write_atomically(cache("recording", "stamps.json"), json.dumps({**_stamps(), part.name: stamp}, indent=1))


def _outlook(left: Sequence[Part]) -> str:
    """List what is left, and how long it takes by this machine's earlier times."""
    if not left:
        return "Nothing is left to record."
    stamps = _stamps()
    here = {name: stamp["seconds"] / 60 for name, stamp in stamps.items() if stamp["machine"] == fingerprint()["id"]}
    minutes = sum(here.get(part.name, part.minutes) for part in left)
    return f"Left, about {minutes:.0f} minutes: {', '.join(part.name for part in left)}."


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
