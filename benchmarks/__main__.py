"""Measure this project beside its peers, and write benchmarks/README.md: make bench.

python -m benchmarks [PART ...] [--again] [--list] [--quick]

Part by part, and what this machine has measured is skipped (`--again` measures it again), so that a run that was cut
off goes on where it was. What needs an hour of visitors, or what does not come with this project, runs only where it
is named. --quick is a look, with fewer rows and settings: it writes nothing.
"""

import argparse
import dataclasses
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import Budget, Row
from benchmarks.results import FOLDER, Result, read_results, store
from helpers.lab import InputError, fingerprint
from helpers.lab.measuring.measurement import code_version
from recording.quiet import wait_until_quiet


@dataclasses.dataclass(frozen=True)
class Part:
    """What one run of a benchmark measures.

    only: the parts of the module that go into the run; all where there are none. if_named: whether it runs where it is
    named alone.
    """

    module: str
    only: tuple[str, ...] = ()
    if_named: bool = False

    @property
    def name(self) -> str:
        """As on the page: the module, and what of it."""
        return ": ".join(filter(None, [self.module, ", ".join(self.only)]))

    @property
    def arguments(self) -> list[str]:
        """What follows `python`."""
        return ["-m", f"benchmarks.{self.module}", *(["--only", *self.only] if self.only else [])]


PARTS = (
    Part("quantization"),
    Part("model_optimization", ("pruning", "combined")), Part("model_optimization", ("distillation",)),
    Part("efficient_architectures", ("ladder", "cascade")),
    *(Part("efficient_architectures", (part,)) for part in (
        "other ladders", "adapters", "tenants", "convolutions", "attention")),
    Part("hardware_codesign"),
    Part("data_efficiency"),
    *(Part("cloud_distributed", (part,)) for part in ("theory", "fcfs", "full", "page", "panel", "training")),
    Part("ray_serve"),
    *(Part("language_model", (part,)) for part in ("tokens", "extraction", "classification", "bits")),
    *(Part("language_serving", (part,)) for part in (
        "tester", "phases", "switches", "speed", "conserved", "theory", "steps", "engine")),
    Part("page"),
    Part("language_serving", ("peer",), if_named=True),  # GuideLLM is installed beside this project
    Part("crowd", if_named=True), Part("soak", if_named=True), Part("faults", if_named=True),
)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS, folder: Path = FOLDER) -> int:
    """Run all parts that are not done here, or those named; the exit status is 1 where one gave no result.

    Raises:
        InputError: an unknown part, or a machine that stays busy.
    """
    parser = argparse.ArgumentParser("python -m benchmarks")
    parser.add_argument("parts", nargs="*", metavar="PART", help="as in 'cloud_distributed: theory', or a module")
    parser.add_argument("--again", action="store_true", help="measure parts that are done, too")
    parser.add_argument("--list", action="store_true", help="say what is left, and how long it took last time")
    parser.add_argument("--quick", action="store_true", help="fewer rows and settings: a look, which writes nothing")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - {name for part in parts for name in (part.name, part.module)}:
        raise InputError(f"Unknown part '{min(unknown)}'. Choose some of: {'; '.join(part.name for part in parts)}.")
    wanted = [part for part in parts if {part.name, part.module} & set(asked.parts)
              or (not asked.parts and not part.if_named)]
    if asked.quick:
        return max(subprocess.run([sys.executable, *part.arguments, *(["--quick"] if not part.if_named else [])]
                                  ).returncode for part in wanted)
    left = [part for part in wanted if asked.again or not is_done(part, read_results(folder))]
    print(outlook(left, read_results(folder)), flush=True)
    failed = []
    for part in [] if asked.list else left:
        wait_until_quiet()
        print(f"\n{part.name}", flush=True)
        result = measured(part)
        if result is None:
            failed.append(part.name)
        else:
            store(part.name, result, [one.name for one in parts], folder)
    if failed:
        print(f"No result of: {'; '.join(failed)}. What they printed says why.", file=sys.stderr)
    return 1 if failed else 0


def is_done(part: Part, results: Mapping[str, Result]) -> bool:
    """Whether this machine has measured the part."""
    result = results.get(part.name)
    if result is None or result.machine["id"] != fingerprint()["id"]:
        return False
    if result.code != code_version():
        print(f"{part.name} is done, by other code ({result.code}); --again measures it again.", flush=True)
    return True


def outlook(left: Sequence[Part], results: Mapping[str, Result]) -> str:
    """List what is left, and how long it took last time, wherever that was."""
    if not left:
        return "Nothing is left to measure."
    known = [results[part.name].seconds for part in left if part.name in results]
    took = f" {len(known)} of them took {sum(known) / 60:.0f} minutes last time." if known else ""
    return f"Left: {'; '.join(part.name for part in left)}.{took}"


def measured(part: Part) -> Result | None:
    """Run a part in a process of its own; None where it left no rows. A missed target is a result like others."""
    with tempfile.TemporaryDirectory() as folder:
        path, began = Path(folder) / "rows.json", time.monotonic()
        subprocess.run([sys.executable, *part.arguments, "--json", str(path)])
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
    content["rows"] = [Row(**row) for row in content["rows"]]
    content["budgets"] = [Budget(**budget) for budget in content["budgets"]]
    return Result(shlex.join(["python", *part.arguments]), round(time.monotonic() - began), **content)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(str(error))
