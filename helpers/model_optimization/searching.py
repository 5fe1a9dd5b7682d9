"""Which pipelines are worth it: quality side by side, then speed one at a time, the best ones kept."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.lab.errors import Cancelled, InputError
from helpers.lab.ledger import Ledger
from helpers.lab.machine import fingerprint, usable_cores
from helpers.lab.measurement import Measurement
from helpers.lab.model import Model, load
from helpers.lab.paths import cache, home
from helpers.lab.sweeping import sweep
from helpers.lab.task import Task
from helpers.lab.torch_model import TorchTextModel
from helpers.lab.training import Progress, silent

from .pipelines import Context, Step, build_from, folder_of, name_of, require_steps, start_of


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A pipeline's accuracy on the validation rows after the last step that was built."""

    steps: tuple[Step, ...]
    accuracy: float
    built: int  # steps; fewer than all where it was given up

    @property
    def stopped(self) -> bool:
        """Whether it was given up on the way."""
        return self.built < len(self.steps)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found. Accuracies and speeds are of validation rows: test the one that is chosen once."""

    reference: float  # accuracy of the first model
    measurements: tuple[Measurement, ...]
    pareto: tuple[Measurement, ...]
    given_up: tuple[Verdict, ...]


def search(base: TorchTextModel, task: Task, pipelines: Sequence[Sequence[Step]], *, lose_at_most: float = 1.0,
           give_up_at: float = 3.0, ledger: Ledger | None = None, engine: str = "local", rows: int = 96,
           rounds: int = 5, progress: Progress = silent, cancelled: Callable[[], bool] = lambda: False) -> Found:
    """Build and measure the pipelines on the validation rows; the Pareto set under 'lose at most so many points'.

    Pipelines that begin alike share what they share. One is given up as soon as a step leaves it
    `give_up_at` points below the first model. Finished models are on disk and finished records in
    the ledger, so a search that was killed takes up where it was.

    Args:
        lose_at_most: percentage points of the first model's accuracy.
        ledger: where records are looked up and put; by default the user's.
        engine: of `sweep`, for the building. On a cluster HELPERS_HOME must be a folder that all
            machines share. Timing is done here, one at a time.

    Raises:
        InputError: no pipelines, or a step that cannot be built.
        Cancelled: `cancelled()` turned true; asked between groups of pipelines.
    """
    from helpers.lab.comparison import compare  # slow to import, and the building processes do without

    pipelines = _distinct(pipelines)
    start, ledger = start_of(base, task), ledger or Ledger()
    held_out = dataclasses.replace(task, name=f"{task.name} (validation)", test=task.validation)
    first = _saved(base, cache("pipelines", f"{start}.first"))
    reference = _accuracy(base, task)
    floor = reference - give_up_at / 100
    records = _records(ledger, held_out.name, rounds)
    done, verdicts = [], []
    size = 2 * usable_cores()
    for number in range(0, len(pipelines), size):
        group = pipelines[number:number + size]
        if cancelled():
            raise Cancelled
        progress(number / len(pipelines), f"pipelines {number + 1} to {number + len(group)} of {len(pipelines)}")
        fresh = [steps for steps in group if folder_of(start, steps).name not in records]
        found = _judge(first, task, start, fresh, floor, engine)
        verdicts += [verdict for verdict in found if verdict.stopped]
        models = [load(folder_of(start, verdict.steps)) for verdict in found if not verdict.stopped]
        done += [records[folder_of(start, steps).name] for steps in group if steps not in fresh]
        if models:
            result = compare([base, *models], held_out, rows=rows, rounds=rounds, energy=False, memory=False,
                             ledger=ledger, cancelled=cancelled)
            done += result.measurements[1:]
    progress(1.0, "done")
    return Found(reference, tuple(done), pareto(done, lose_at_most), tuple(verdicts))


def pareto(measurements: Sequence[Measurement], lose_at_most: float) -> tuple[Measurement, ...]:
    """Those within the points to lose that no other one beats in both accuracy and speed-up, fastest first."""
    allowed = [m for m in measurements if -m.accuracy_delta <= lose_at_most / 100 + 1e-9]
    best = [m for m in allowed if not any(
        other.accuracy_delta >= m.accuracy_delta and other.speedup >= m.speedup
        and (other.accuracy_delta, other.speedup) != (m.accuracy_delta, m.speedup) for other in allowed)]
    return tuple(sorted(best, key=lambda m: -m.speedup))


def _saved(base: TorchTextModel, folder: Path) -> Path:
    """Where the other processes find the first model."""
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        base.save(unfinished)
        unfinished.rename(folder)
    return folder


def _distinct(pipelines: Sequence[Sequence[Step]]) -> list[tuple[Step, ...]]:
    for steps in pipelines:
        require_steps(steps)
    named = {name_of(steps): tuple(steps) for steps in pipelines if steps}
    if not named:
        raise InputError("A search needs at least one pipeline with a step.")
    return list(named.values())


def _records(ledger: Ledger, task: str, rounds: int) -> dict[str, Measurement]:
    """Finished records of this machine, by the pipeline's folder name; the newest of each."""
    mine = fingerprint()["id"]
    return {m.settings["pipeline"]: m for m in ledger.all()
            if m.settings.get("pipeline") and m.machine["id"] == mine and m.task == task
            and m.settings["rounds"] == rounds}


def _judge(first: Path, task: Task, start: str, pipelines: Sequence[tuple[Step, ...]], floor: float,
           engine: str) -> list[Verdict]:
    """Verdicts in order; those known from before cost nothing."""
    known = {name_of(steps): _known(start, steps, floor) for steps in pipelines}
    fresh = [steps for steps in pipelines if known[name_of(steps)] is None]
    grid = [{"first": str(first), "folder": str(home()), "task": task, "start": start, "steps": steps, "floor": floor}
            for steps in fresh]
    if grid:
        known |= {name_of(settings["steps"]): verdict for settings, verdict in sweep(_built, grid, engine)}
    return [known[name_of(steps)] for steps in pipelines]


def _known(start: str, steps: tuple[Step, ...], floor: float) -> Verdict | None:
    for count in range(1, len(steps) + 1):
        file = _quality_file(start, steps[:count])
        if not file.exists() or (count == len(steps) and not folder_of(start, steps).exists()):
            return None
        accuracy = json.loads(file.read_text(encoding="utf-8"))
        if accuracy < floor or count == len(steps):
            return Verdict(steps, accuracy, count)
    return None


def _built(first: str, folder: str, task: Task, start: str, steps: tuple[Step, ...], floor: float) -> Verdict:
    """Build a pipeline step by step, in a process of its own, until it is done or has lost too much."""
    os.environ["HELPERS_HOME"] = folder
    base = load(Path(first))
    for count in range(1, len(steps) + 1):
        accuracy = _accuracy(build_from(start, Context(base, task), steps[:count]), task)
        file = _quality_file(start, steps[:count])
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        unfinished.write_text(json.dumps(accuracy), encoding="utf-8")
        unfinished.replace(file)
        if accuracy < floor:
            break
    return Verdict(steps, accuracy, count)


def _quality_file(start: str, steps: Sequence[Step]) -> Path:
    folder = folder_of(start, steps)
    return folder.with_name(f"{folder.name}.quality.json")


def _accuracy(model: Model, task: Task) -> float:
    logits = model.predict(task.validation[task.input][:])
    return float((logits.argmax(axis=1) == np.asarray(task.validation["label"][:])).mean())
