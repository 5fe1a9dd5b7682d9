"""Prefill and decode: their time on paper, measured step by step, and a model fitted on few points.

Reading a prompt sends all of its tokens through the weights at once, writing an answer one token a sequence: the same
roofline, on its two sides (Pope et al., MLSys 2023).
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from helpers.hardware_codesign.language_serving.engine import Engine, Switches
from helpers.lab.errors import InputError
from helpers.lab.facts import Peaks
from helpers.lab.language.loading import read_gguf
from helpers.lab.measuring.timing import settle, timing_turn
from helpers.lab.progress import Progress, silent

PREFILL, DECODE = "prefill", "decode"
PROMPTS, SEQUENCES = (16, 32, 64, 128, 256, 512, 1024), (1, 2, 4, 8, 16, 32)
# (phase, batch, prompt) to fit on: the ends of both ranges, and some between. All others validate the fit.
FITTED_ON = ((PREFILL, 1, 16), (PREFILL, 1, 128), (PREFILL, 1, 1024), (DECODE, 1, 64), (DECODE, 1, 1024),
             (DECODE, 8, 64), (DECODE, 16, 128), (DECODE, 32, 64))
_WRITTEN = 9  # tokens of each answer: the first is prefill's
_KV_BYTES = 4  # of a number in the cache of keys and values: `Switches.kv_precision` is f32
_VOCABULARY = 1000  # token ids are drawn below it


@dataclasses.dataclass(frozen=True)
class StepCounts:
    """What a step of a decoder has to do, by its file.

    Args:
        body: weights that each token is multiplied by. head: those that turn a sequence's last token into scores.
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


def count_steps(path: Path) -> StepCounts:
    """The counts of a model in a GGUF file. Embeddings are looked up, not multiplied, unless they are the head as well.

    Raises:
        InputError: no GGUF file, or none of a decoder of the Llama form.
    """
    reader = read_gguf(path)
    name = reader.fields["general.architecture"].contents()

    def field(key: str) -> int:
        if f"{name}.{key}" not in reader.fields:
            raise InputError(f"'{path.name}' does not say its {key}: name a GGUF file of a decoder of the Llama form.")
        return int(reader.fields[f"{name}.{key}"].contents())

    matrices = {tensor.name: tensor for tensor in reader.tensors if len(tensor.shape) == 2}
    head = matrices.get("output.weight") or matrices.get("token_embd.weight")
    body = [tensor for key, tensor in matrices.items() if key.startswith("blk.")]
    if head is None or not body:
        raise InputError(f"'{path.name}' has no layers or no head: name a GGUF file of a decoder of the Llama form.")
    layers, heads, size = (field(key) for key in ("block_count", "attention.head_count", "embedding_length"))
    kv_width = field("attention.head_count_kv") * size // heads
    return StepCounts(float(sum(int(tensor.n_elements) for tensor in body)), float(head.n_elements),
                      float(sum(int(tensor.n_bytes) for tensor in [*body, head])), 2.0 * layers * kv_width * _KV_BYTES,
                      4.0 * layers * size)


def measure_phases(path: Path, *, prompts: Sequence[int] = PROMPTS, batches: Sequence[int] = SEQUENCES, rounds: int = 3,
                   max_tokens: int = 2048, progress: Progress = silent) -> pd.DataFrame:
    """Time each step of OpenVINO GenAI's continuous batching over prompts and batches.

    Args:
        path: a GGUF file.
        max_tokens: of all prompts of a batch; a point above it is left out.

    Returns:
        A row a point, medians over rounds: phase, batch, prompt (tokens of each), context (tokens that are attended
        to, on average), seconds (of reading one prompt, or of one step in which each sequence gets a token).

    Raises:
        InputError: no point within `max_tokens`, or what `Engine` refuses.
        Cancelled: `progress` was told to end.
    """
    points = [(batch, prompt) for batch in batches for prompt in prompts if batch * prompt <= max_tokens]
    if not points or rounds < 1:
        raise InputError(f"No point has at most {max_tokens} tokens, or there is no round: give shorter prompts, "
                         "smaller batches or more rounds.")
    rng, seconds = np.random.default_rng(0), []
    with timing_turn(progress):
        engine = Engine(path, Switches(sequences=max(batches), step_tokens=max_tokens))
        for number in range(-1, rounds):  # the first round warms up; the order differs, as a busy moment does
            for place, index in enumerate(rng.permutation(len(points))):
                batch, prompt = points[index]
                progress((number + 1 + place / len(points)) / (rounds + 1), f"{batch} x {prompt} tokens")
                ids = rng.integers(1, _VOCABULARY, (batch, prompt)).tolist()
                settle()
                run = engine.run(ids, [_WRITTEN] * batch, progress)
                if number >= 0:
                    seconds += _points(run.steps, run.first_s, batch, prompt)
    progress(1.0, "done")
    frame = pd.DataFrame(seconds, columns=["phase", "batch", "prompt", "context", "seconds"])
    return frame.groupby(["phase", "batch", "prompt", "context"], sort=False)["seconds"].median().reset_index(
        ).sort_values(["phase", "batch", "prompt"], ascending=[False, True, True], ignore_index=True)


def _points(steps: np.ndarray, first_s: np.ndarray, batch: int, prompt: int) -> list[tuple]:
    """(phase, batch, prompt, context, seconds) of one run: its decode steps as their median, its prefill if alone."""
    lasted = np.diff(steps[:, 0], prepend=0.0)
    decoding = (steps[:, 0] > first_s.max()) & (steps[:, 1] == batch)
    context = prompt + _WRITTEN / 2  # of the second to the last token, on average
    found = [(DECODE, batch, prompt, context, float(np.median(lasted[decoding])))]
    return [*found, (PREFILL, 1, prompt, float(prompt), float(first_s[0]))] if batch == 1 else found


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

        >>> from helpers.hardware_codesign.language_serving.phases import PhaseModel, StepCounts
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
    >>> from helpers.hardware_codesign.language_serving.phases import PhaseModel, StepCounts, phase_figures
    >>> from helpers.hardware_codesign.language_serving.phases import recorded_phases
    >>> model = PhaseModel(StepCounts(9.0, 1.0, 40.0, 2.0, 3.0), 0.1, 0.2, 1e9, 1e8, True)
    >>> recorded_phases(pd.Series(phase_figures(model))) == model
    True
    """
    counts = StepCounts(*(float(row[one.name]) for one in dataclasses.fields(StepCounts)))
    rate, bandwidth = (math.inf if pd.isna(row[name]) else float(row[name]) for name in ("rate", "bandwidth"))
    return PhaseModel(counts, float(row["fixed_s"]), float(row["sequence_s"]), rate, bandwidth, bool(row["overlap"]))


def _predicted(model: PhaseModel, points: pd.DataFrame) -> np.ndarray:
    return np.array([model.seconds(row.phase, row.batch, row.context) for row in points.itertuples()])
