"""The contribution of each step of a pipeline, and why the gains do not simply multiply."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from helpers.lab.data.task import Task
from helpers.lab.errors import InputError
from helpers.lab.measuring.comparison import Comparison, compare
from helpers.lab.measuring.ledger import Ledger
from helpers.lab.measuring.measurement import Measurement
from helpers.lab.measuring.timing import seconds_of, timing_turn
from helpers.lab.models.cascade import CascadeModel
from helpers.lab.models.torch import TorchTextModel
from helpers.lab.progress import Progress, silent
from helpers.model_optimization.pipelines.steps import Step, build, label, name_of, require_steps


@dataclasses.dataclass(frozen=True)
class CumulativeGains:
    """One run: the first model, the pipeline after each step, and each step alone.

    tokenizing_s: seconds to tokenize a text, which no encoder makes shorter. first_s: seconds that the first stage of
    a cascade takes for a text, 0 without one.
    """

    steps: tuple[Step, ...]
    result: Comparison
    tokenizing_s: float
    first_s: float

    @property
    def reference(self) -> Measurement:
        """The model before any step."""
        return self.result.measurements[0]

    def after(self, count: int) -> Measurement:
        """The record after so many steps."""
        return self.result.of(name_of(self.steps[:count])) if count else self.reference

    def alone(self, step: Step) -> Measurement:
        """The record of one step applied to the first model."""
        return self.result.of(name_of([step]))

    @property
    def combined(self) -> float:
        """Measured speed-up of all steps together."""
        return self.after(len(self.steps)).speedup

    @property
    def product(self) -> float:
        """Product of the single steps' speed-ups."""
        return math.prod(self.alone(step).speedup for step in self.steps)

    @property
    def paper(self) -> float:
        """The combined gain to be expected of the single ones (Amdahl's law).

        A cheaper encoder shortens what is not tokenizing, in proportion. A first stage takes its own time, and leaves
        to the second what it leaves to the first model: of the work, not of the rows, since unsure rows are longer
        than others; in proportion to the rows where another threshold is chosen before another model.
        """
        whole = 1 / self.reference.throughput_per_s
        rest = max(whole - self.tokenizing_s, 1e-12)
        left, paper = 1.0, whole
        for step in self.steps:
            alone = whole / self.alone(step).speedup
            if step["step"] == "cascade":
                here, there = (record.settings["escalated"] for record in (self.after(len(self.steps)),
                                                                           self.alone(step)))
                left_to_second = max(alone - self.first_s, 0) / whole * (here / there if there else 1.0)
                paper = self.first_s + left_to_second * paper
            else:
                left *= max(alone - self.tokenizing_s, 0) / rest
                paper = self.tokenizing_s + rest * left
        return whole / paper

    def waterfall(self) -> pd.DataFrame:
        """One row per step, the reference first.

        Columns: step, speedup (of all so far), gain (of this step over those before), alone (of this
        step over the first model), ms (per prediction), accuracy, accuracy_delta, majority (accuracy of the most
        frequent label alone), macro_f1, weakest_recall, macs, artefact_mb, usd_per_million.
        """
        rows = []
        for count in range(len(self.steps) + 1):
            record, step = self.after(count), self.steps[count - 1] if count else None
            rows.append({
                "step": label(step) if step else self.reference.model, "speedup": record.speedup,
                "gain": record.speedup / self.after(count - 1).speedup if step else 1.0,
                "alone": self.alone(step).speedup if step else 1.0, "ms": 1000 / record.throughput_per_s,
                "accuracy": record.accuracy, "accuracy_delta": record.accuracy_delta, "majority": record.majority,
                "macro_f1": record.macro_f1, "weakest_recall": record.weakest_recall, "macs": record.macs,
                "artefact_mb": record.artefact_bytes / 1e6, "usd_per_million": record.usd_per_million})
        return pd.DataFrame(rows)

    def explanation(self) -> str:
        """Why the combined gain is not the product, from the records."""
        staged = self.steps[-1]["step"] == "cascade"
        gains = (f"Alone, the steps' gains multiply to {self.product:.1f}x; together they give {self.combined:.1f}x. "
                 f"Tokenizing takes {1000 * self.tokenizing_s:.2g} ms per text whatever the encoder"
                 + (f", and a first stage, which takes {1000 * self.first_s:.2g} ms, saves less where the second is "
                    "already cheap" if staged else "")
                 + f": taking that into account, {self.paper:.1f}x is to be expected. ")
        overlap = [label(step) for count, step in enumerate(self.steps, 1)
                   if self.after(count).speedup / self.after(count - 1).speedup < 0.9 * self.alone(step).speedup]
        return gains + (f"These steps gain less here than alone: {'; '.join(overlap)}." if overlap
                        else "Each step gains about what it gains alone.")


def cumulative_gains(base: TorchTextModel, task: Task, steps: Sequence[Step], *, rows: int = 192, rounds: int = 7,
                     ledger: Ledger | None = None, progress: Progress = silent) -> CumulativeGains:
    """Build the pipeline and each step alone, and measure all in one run on the test rows.

    Raises:
        InputError: no step, or one that cannot be built.
        Cancelled: the caller of `progress` wants an end; models built so far stay on disk.
    """
    if not steps:
        raise InputError("A pipeline needs at least one step.")
    require_steps(steps, base)
    chains = {name_of(chain): chain for chain in
              [*(steps[:count] for count in range(1, len(steps) + 1)), *([step] for step in steps)]}
    models = [base]
    for index, chain in enumerate(chains.values()):
        part = progress.part(0.7 * index / len(chains), 0.7 * (index + 1) / len(chains))
        models.append(build(base, task, chain, progress=part))
    result = compare(models, task, rows=rows, rounds=rounds, energy=False, memory=False, ledger=ledger,
                     progress=progress.part(0.7, 1.0))
    texts = task.test["text"][:rows]
    staged = [model for model in models if isinstance(model, CascadeModel)]
    with timing_turn(progress):
        tokenizing_s = _seconds_a_text(base.encoder.encode, texts)
        first_s = _seconds_a_text(staged[-1].first.predict, texts) if staged else 0.0
    return CumulativeGains(tuple(steps), result, tokenizing_s, first_s)


def _seconds_a_text(work: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> float:
    """The best of five runs in batches of 64."""
    def once() -> None:
        for start in range(0, len(texts), 64):
            work(texts[start:start + 64])

    return min(seconds_of(once) for _ in range(5)) / len(texts)
