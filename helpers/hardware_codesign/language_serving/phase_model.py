"""Prefill and decode on the roofline: what a step has to do, its time on paper, and a model fitted on few points.

Reading a prompt sends all of its tokens through the weights at once, writing an answer one token a sequence: the same
roofline, on its two sides (Pope et al., MLSys 2023).
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks

PREFILL, DECODE = "prefill", "decode"
# (phase, batch, prompt) to fit on: the ends of both ranges, and some between. All others validate the fit.
FITTED_ON = ((PREFILL, 1, 16), (PREFILL, 1, 128), (PREFILL, 1, 1024), (DECODE, 1, 64), (DECODE, 1, 1024),
             (DECODE, 8, 64), (DECODE, 16, 128), (DECODE, 32, 64))


@dataclasses.dataclass(frozen=True)
class StepCounts:
    """The work of a decoder's step, read from its file.

    Args:
        body: weights that each token is multiplied by. head: weights that turn a sequence's last token into scores.
        stored: bytes of both. kv_bytes: of one token's keys and values.
        attention: operations of one token that attends to one other.
    """

    body: float
    head: float
    stored: float
    kv_bytes: float
    attention: float

    def flops(self, tokens: float, sequences: float, attended: float) -> float:
        """Operations of a step; a multiply-add is two.

        Args:
            tokens: that go through the weights. sequences: that get their next token.
            attended: pairs of a token and one that it attends to.
        """
        return 2 * self.body * tokens + 2 * self.head * sequences + self.attention * attended

    def moved(self, read: float) -> float:
        """Bytes that a step fetches: all weights, and the keys and values of so many tokens."""
        return self.stored + self.kv_bytes * read

    def work(self, phase: str, batch: float, context: float) -> tuple[float, float]:
        """(operations, bytes) of reading a prompt of `context` tokens for each of `batch`, or of their next tokens."""
        if phase == PREFILL:
            return (self.flops(batch * context, batch, batch * context * (context + 1) / 2),
                    self.moved(batch * context))
        return self.flops(batch, batch, batch * context), self.moved(batch * context)


def on_paper(points: pd.DataFrame, counts: StepCounts, peaks: Peaks) -> pd.DataFrame:
    """The points with flops, bytes, the least seconds that the peaks allow, what limits, and the share that is reached.

    Returns:
        Further columns flops, bytes, paper_s, bound ("arithmetic" or "memory"), reached (paper_s / seconds).
    """
    work = np.array([counts.work(row.phase, row.batch, row.context) for row in points.itertuples()])
    times = work / [peaks.rate("fp32"), peaks.bandwidth]  # (points, 2)
    paper_s = times.max(axis=1)
    return points.assign(flops=work[:, 0], bytes=work[:, 1], paper_s=paper_s,
                         bound=np.where(times[:, 0] >= times[:, 1], "arithmetic", "memory"),
                         reached=paper_s / points["seconds"].to_numpy())


@dataclasses.dataclass(frozen=True)
class PhaseModel:
    """seconds = fixed + sequences * each + arithmetic and memory traffic, one after the other or at the same time.

    Args:
        fixed_s: of a step. sequence_s: of each sequence in it (scheduling, choosing the token).
        rate: operations a second. bandwidth: bytes a second. Infinite where the points show no such cost.
        overlap: whether the longer of the two times counts, or their sum.
    """

    counts: StepCounts
    fixed_s: float
    sequence_s: float
    rate: float
    bandwidth: float
    overlap: bool

    def seconds(self, phase: str, batch: float, context: float) -> float:
        """Predicted seconds of reading prompts of `context` tokens, or of one token more for each sequence."""
        flops, moved = self.counts.work(phase, batch, context)
        both = flops / self.rate, moved / self.bandwidth
        return self.fixed_s + batch * self.sequence_s + (max(both) if self.overlap else sum(both))

    def turning_batch(self, context: float) -> float:
        """Sequences from which on a step's arithmetic takes longer than its memory traffic.

        Infinite where it never does: each sequence fetches its own keys and values, and in a long context that takes
        longer than multiplying.

        >>> from helpers.hardware_codesign.language_serving.phase_model import PhaseModel, StepCounts
        >>> counts = StepCounts(body=100.0, head=0.0, stored=400.0, kv_bytes=1.0, attention=0.0)
        >>> PhaseModel(counts, 0.0, 0.0, rate=100.0, bandwidth=10.0, overlap=True).turning_batch(context=10)
        40.0
        """
        each = self.counts.flops(1, 1, context) / self.rate - self.counts.kv_bytes * context / self.bandwidth
        return self.counts.stored / self.bandwidth / each if each > 0 else math.inf


def fit_phases(points: pd.DataFrame, counts: StepCounts,
               fitted_on: Iterable[tuple[str, int, int]] = FITTED_ON) -> tuple[PhaseModel, pd.DataFrame]:
    """Fit the four figures to some points, and predict all of them.

    Args:
        points: of `measure_phases`.
        fitted_on: (phase, batch, prompt) of the points to fit; all others validate.

    Returns:
        The model whose relative errors on the fitted points are least, among: both costs in turn, and both at the same
        time with the ridge between any two of the points; non-negative least squares each. And the points with columns
        fitted, predicted_s, error (relative).

    Raises:
        InputError: fewer than five points to fit, none left to validate, or seconds that are not positive.
    """
    wanted = set(fitted_on)
    fitted = np.array([(row.phase, row.batch, row.prompt) in wanted for row in points.itertuples()], bool)
    if fitted.sum() < 5 or fitted.all() or (points["seconds"] <= 0).any():
        raise InputError("A fit of prefill and decode needs at least five of the points in `fitted_on`, others to "
                         "validate it, and positive seconds.")
    some = points[fitted]
    work = np.array([counts.work(row.phase, row.batch, row.context) for row in some.itertuples()])  # (points, 2)
    intensity, seconds = work[:, 0] / work[:, 1], some["seconds"].to_numpy()
    shares = [np.ones_like(work), *(np.column_stack([intensity >= ridge, intensity < ridge])
                                    for ridge in [*np.sort(intensity), math.inf])]
    models = []
    for number, share in enumerate(shares):
        columns = np.column_stack([np.ones(len(work)), some["batch"], work * share])
        scale = columns.max(axis=0)
        scale[scale == 0] = 1.0
        figures = nnls(columns / scale / seconds[:, None], np.ones(len(work)))[0] / scale
        rate, bandwidth = (1 / figure if figure else math.inf for figure in figures[2:])
        models.append(PhaseModel(counts, *map(float, (*figures[:2], rate, bandwidth)), overlap=number > 0))

    def off(model: PhaseModel) -> float:
        return float(np.square(_predicted(model, some) / seconds - 1).sum())

    best = min(models, key=off)
    predicted_s = _predicted(best, points)
    return best, points.assign(fitted=fitted, predicted_s=predicted_s, error=predicted_s / points["seconds"] - 1)


def phase_figures(model: PhaseModel) -> dict[str, float]:
    """The model as one row of a table, for `recorded_phases`."""
    figures = dataclasses.asdict(model)
    return figures.pop("counts") | figures


def recorded_phases(row: pd.Series) -> PhaseModel:
    """The model in a row of `phase_figures`; a cost that was not seen, infinite there, is empty in a recorded table.

    >>> import pandas as pd
    >>> from helpers.hardware_codesign.language_serving.phase_model import PhaseModel, StepCounts, phase_figures
    >>> from helpers.hardware_codesign.language_serving.phase_model import recorded_phases
    >>> model = PhaseModel(StepCounts(9.0, 1.0, 40.0, 2.0, 3.0), 0.1, 0.2, 1e9, 1e8, True)
    >>> recorded_phases(pd.Series(phase_figures(model))) == model
    True
    """
    counts = StepCounts(*(float(row[one.name]) for one in dataclasses.fields(StepCounts)))
    rate, bandwidth = (math.inf if pd.isna(row[name]) else float(row[name]) for name in ("rate", "bandwidth"))
    return PhaseModel(counts, float(row["fixed_s"]), float(row["sequence_s"]), rate, bandwidth, bool(row["overlap"]))


def _predicted(model: PhaseModel, points: pd.DataFrame) -> np.ndarray:
    return np.array([model.seconds(row.phase, row.batch, row.context) for row in points.itertuples()])
