"""Which pipelines are worth it: quality in parallel, then speed one at a time, and the Pareto set of both."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from helpers.lab.cache import cached
from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.machine import fingerprint, usable_cores
from helpers.lab.measuring.ledger import Ledger
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.models.model import Model, cached_model, load
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.paths import cache, home
from helpers.lab.progress import Progress, silent
from helpers.lab.sweeping import sweep
from helpers.model_optimization.pipelines.steps import (
    Context,
    Step,
    build_from,
    folder_of,
    name_of,
    require_steps,
    start_of,
)


@dataclasses.dataclass(frozen=True)
class Abandoned:
    """A pipeline that was given up: its accuracy on the validation rows after the last step that was built."""

    steps: tuple[Step, ...]
    accuracy: float
    built: int  # steps, fewer than all


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Result of a search. Accuracies and speeds are of validation rows: test the one that is chosen once."""

    reference: float  # accuracy of the first model
    measurements: tuple[Measurement, ...]
    pareto: tuple[Measurement, ...]
    given_up: tuple[Abandoned, ...]


def search(base: TorchTextModel, task: Task, pipelines: Sequence[Sequence[Step]], *, max_accuracy_loss: float = 1.0,
           give_up_at: float = 3.0, ledger: Ledger | None = None, engine: str = "local", rows: int = 96,
           rounds: int = 5, progress: Progress = silent) -> SearchResult:
    """Build and measure the pipelines on the validation rows; the Pareto set within an accuracy loss.

    Pipelines with the same first steps share them. One is given up as soon as a step leaves it
    `give_up_at` points below the first model. Finished models are on disk and finished records in
    the ledger, so a search that was killed continues where it was.

    Args:
        max_accuracy_loss: percentage points of accuracy below the first model's.
        ledger: of the records; by default the user's.
        engine: of `sweep`, for the building. On a cluster HELPERS_HOME must be a folder that all
            machines share. Timing is done here, one at a time.

    Raises:
        InputError: no pipelines, or a step that cannot be built.
        Cancelled: the caller of `progress` wants an end; asked between groups of pipelines.
    """
    from helpers.lab.measuring.comparison import compare  # slow to import, and the building processes do without

    pipelines = _distinct(pipelines, base)
    start, ledger = start_of(base, task), ledger or Ledger()
    held_out = dataclasses.replace(task, name=f"{task.name} (validation)", test=task.validation)
    reference = _accuracy(base, task)
    known = _records(ledger, held_out.name, rounds)
    fresh = [steps for steps in pipelines if folder_of(start, steps).name not in known]
    first = cache("pipelines", f"{start}.first")  # where the other processes find the first model
    if not first.exists():
        cached_model(first, lambda: base)
    building = _Building(first, task, start, reference - give_up_at / 100, engine)
    given_up = building.all(fresh, progress.part(0.0, 0.7))
    left = [steps for steps in fresh if all(one.steps is not steps for one in given_up)]
    for number, group in enumerate(groups := _groups(left)):
        progress(0.7 + 0.3 * number / len(groups), f"measuring pipelines, group {number + 1} of {len(groups)}")
        result = compare([base, *(load(folder_of(start, steps)) for steps in group)], held_out, rows=rows,
                         rounds=rounds, energy=False, memory=False, ledger=ledger, progress=progress)
        known |= {m.settings["pipeline"]: m for m in result.measurements[1:]}
    progress(1.0, "done")
    done = [known[name] for steps in pipelines if (name := folder_of(start, steps).name) in known]
    return SearchResult(reference, tuple(done), pareto(done, max_accuracy_loss), tuple(given_up))


def pareto(measurements: Sequence[Measurement], max_accuracy_loss: float) -> tuple[Measurement, ...]:
    """Those within so many points that no other one beats in both accuracy and speed-up, fastest first."""
    allowed = [m for m in measurements if -m.accuracy_delta <= max_accuracy_loss / 100 + 1e-9]
    best = [m for m in allowed if not any(
        other.accuracy_delta >= m.accuracy_delta and other.speedup >= m.speedup
        and (other.accuracy_delta, other.speedup) != (m.accuracy_delta, m.speedup) for other in allowed)]
    return tuple(sorted(best, key=lambda m: -m.speedup))


def _distinct(pipelines: Sequence[Sequence[Step]], base: TorchTextModel) -> list[tuple[Step, ...]]:
    for steps in pipelines:
        require_steps(steps, base)
    by_name = {name_of(steps): tuple(steps) for steps in pipelines if steps}
    if not by_name:
        raise InputError("A search needs at least one pipeline with a step.")
    return list(by_name.values())


def _records(ledger: Ledger, task: str, rounds: int) -> dict[str, Measurement]:
    """Finished records of this machine, by the pipeline's folder name; the newest of each."""
    mine = fingerprint()["id"]
    return {m.settings["pipeline"]: m for m in ledger.all()
            if m.settings.get("pipeline") and m.machine["id"] == mine and m.task == task
            and m.settings["rounds"] == rounds}


@dataclasses.dataclass(frozen=True)
class _Building:
    """Settings shared by every pipeline that is built."""

    first: Path
    task: Task
    start: str
    floor: float
    engine: str

    def all(self, pipelines: Sequence[tuple[Step, ...]], progress: Progress) -> list[Abandoned]:
        """Build the first steps of all, then the second ones, and so on; those given up on the way.

        What several pipelines share is one piece of work so, and no process waits for another's.
        """
        given_up: list[Abandoned] = []
        alive = list(pipelines)
        longest = max(map(len, pipelines), default=0)
        for count in range(1, longest + 1):
            begun = {self._key(steps[:count]): steps[:count] for steps in alive if len(steps) >= count}
            accuracies = {}
            for number, group in enumerate(groups := _groups(list(begun.values()))):
                progress((count - 1 + number / len(groups)) / longest, f"step {count} of {longest}, up to "
                         f"{len(begun)} models")
                accuracies |= self._accuracies(group)
            for steps in [steps for steps in alive if len(steps) > count]:
                if (accuracy := accuracies[self._key(steps[:count])]) < self.floor:
                    given_up.append(Abandoned(steps, accuracy, count))
                    alive.remove(steps)
        return given_up

    def _accuracies(self, group: Sequence[tuple[Step, ...]]) -> dict[str, float]:
        """Key -> accuracy on the validation rows, of models cached before or built now."""
        accuracies = {self._key(steps): _quality(self.start, steps, load, self.task)
                      for steps in group if folder_of(self.start, steps).exists()}
        grid = [{"first": str(self.first), "folder": str(home()), "task": self.task, "start": self.start,
                 "steps": steps} for steps in group if self._key(steps) not in accuracies]
        if grid:
            accuracies |= {self._key(settings["steps"]): accuracy
                           for settings, accuracy in sweep(_built, grid, self.engine)}
        return accuracies

    def _key(self, steps: Sequence[Step]) -> str:
        return folder_of(self.start, steps).name


def _groups(pipelines: Sequence[tuple[Step, ...]]) -> list[Sequence[tuple[Step, ...]]]:
    """Small enough for progress and Cancel between them, large enough to keep all cores at work."""
    size = 2 * usable_cores()
    return [pipelines[start:start + size] for start in range(0, len(pipelines), size)]


def _built(first: str, folder: str, task: Task, start: str, steps: tuple[Step, ...]) -> float:
    """Build a model in another process, from the steps that are cached; its accuracy on the validation rows."""
    os.environ["HELPERS_HOME"] = folder
    model = build_from(start, Context(load(Path(first)), task), steps)
    return _quality(start, steps, lambda _: model, task)


def _quality(start: str, steps: Sequence[Step], model_of: Callable[[Path], Model], task: Task) -> float:
    """The cached accuracy of a built model on the validation rows; `model_of` its folder gives the model."""
    folder = folder_of(start, steps)
    file = folder.with_name(f"{folder.name}.quality.txt")
    return cached(file, lambda: _accuracy(model_of(folder), task), read=lambda path: float(path.read_text()),
                  write=lambda accuracy, path: path.write_text(str(accuracy)))


def _accuracy(model: Model, task: Task) -> float:
    logits = model.predict(task.validation[task.input][:])
    return float((logits.argmax(axis=1) == np.asarray(task.validation["label"][:])).mean())
