"""What can be chosen in this strategy, and what it costs on paper: for pages, so nothing here imports torch."""

import dataclasses
from collections.abc import Sequence

import pandas as pd

from helpers.lab.errors import InputError
from helpers.lab.measuring.measurement import Measurement

STRATEGY = "efficient architectures"

# The ladder

STEPS = ("majority", "tfidf", "static", "zero-shot", "frozen", "contrastive", "fine-tuned")

# The ladder on extraction: the specialist first, to which the others are compared
RUNGS = ("tagger", "patterns", "instruction", "nearest examples", "tuned")
LANGUAGE_RUNGS = RUNGS[2:]


def require_rungs(rungs: Sequence[str]) -> None:
    """Raise InputError for an unknown rung, a repeated one, or none."""
    if unknown := [rung for rung in rungs if rung not in RUNGS]:
        raise InputError(f"Unknown rung '{unknown[0]}' of the ladder. Choose some of: {', '.join(RUNGS)}.")
    if not rungs or len(set(rungs)) < len(rungs):
        raise InputError("Name at least one rung of the ladder, and each only once.")


def require_steps(steps: Sequence[str]) -> None:
    """Raise InputError for an unknown step, a repeated one, or none."""
    if unknown := [step for step in steps if step not in STEPS]:
        raise InputError(f"Unknown step '{unknown[0]}' of the ladder. Choose one of: {', '.join(STEPS)}.")
    if not steps or len(set(steps)) < len(steps):
        raise InputError("Name at least one step of the ladder, and each only once.")


def cheapest_within(measurements: Sequence[Measurement], points: float = 2.0) -> Measurement:
    """The cheapest model whose accuracy is at most so many points below the best one's.

    A model that has learned no more than the constant answer is none, however near it is, unless all are such.

    Raises:
        InputError: no measurement, or a negative number of points.

    >>> cheapest_within(compare(models, task).measurements, points=2.0).model  # doctest: +SKIP
    'MiniLM-L6 fp32, PyTorch'
    """
    if not measurements or points < 0:
        raise InputError("The cheapest of some measurements within 0 or more points of the best is asked for; "
                         f"there are {len(measurements)} measurements and {points} points.")
    able = [record for record in measurements if record.learned is not False] or measurements
    best = max(record.accuracy for record in able)
    good = [record for record in able if record.accuracy >= best - points / 100 - 1e-12]
    return min(good, key=lambda record: record.usd_per_million)


# Adapters

# Learning rates: `baseline`'s for all weights; ten to fifty times more where few parameters are trained.
LEARNING_RATES = {"probe": 0.0, "bitfit": 2e-3, "ia3": 5e-3, "lora": 2e-3, "bottleneck": 1e-3, "full": 1e-4}
ADAPTERS = tuple(LEARNING_RATES)
RANKED = ("lora", "bottleneck")  # the kinds that have a rank


def require_adapter(kind: str, rank: int) -> None:
    """Raise InputError for an unknown kind, or a rank below 1."""
    if kind not in ADAPTERS:
        raise InputError(f"Unknown adapter '{kind}'. Choose one of: {', '.join(ADAPTERS)}.")
    if rank < 1:
        raise InputError(f"An adapter's rank is 1 or more, not {rank}.")


def tenant_bytes(model_bytes: int, delta_bytes: float, tenants: Sequence[int]) -> pd.DataFrame:
    """On paper: N whole models against one base and N adapters. Columns tenants, models, adapters, ratio.

    `ratio` is of the adapters' total over one model.

    Raises:
        InputError: fewer than one tenant, or a size below 0.

    >>> tenant_bytes(90_000_000, 500_000, [50])["ratio"].round(2).tolist()
    [1.28]
    """
    if min(tenants, default=0) < 1 or model_bytes <= 0 or delta_bytes < 0:
        raise InputError("Count tenants from 1 on, and give the bytes of a model and of an adapter.")
    rows = [{"tenants": count, "models": count * model_bytes, "adapters": model_bytes + count * delta_bytes,
             "ratio": (model_bytes + count * delta_bytes) / model_bytes} for count in tenants]
    return pd.DataFrame(rows)


# Convolutions

DESIGNS = ("standard", "separable", "inverted residual", "inverted residual, squeeze-excite")
CONFIGURED = ("MobileNetV2", "ResNet")  # networks of transformers, cut to size


def separable_ratio(c_out: int, kernel: int) -> float:
    """Multiplications of a depthwise-separable convolution over a standard one: 1/C_out + 1/K^2.

    Howard et al., arXiv 1704.04861, section 3.1; it depends on neither the image nor the channels in.

    >>> round(separable_ratio(64, 3), 4)
    0.1267
    """
    if c_out < 1 or kernel < 1:
        raise InputError(f"A convolution has at least one channel out and a filter of 1, not {c_out} and {kernel}.")
    return 1 / c_out + 1 / kernel**2


def explain_separable(times: pd.DataFrame) -> str:
    """Why fewer multiplications are not as many times faster, in one sentence computed from convolution_times."""
    rows = times.set_index("part")
    fewer = rows.macs["standard"] / rows.macs["separable"]
    faster = rows.seconds["standard"] / rows.seconds["separable"]
    halves = rows.loc[["depthwise half", "pointwise half"]]
    share = halves.macs / halves.macs.sum()
    time_share = halves.seconds / halves.seconds.sum()
    return (f"{fewer:.1f} times fewer multiplications are {faster:.1f} times faster: the depthwise half has "
            f"{share['depthwise half']:.0%} of them and takes {time_share['depthwise half']:.0%} of the time, at "
            f"{rows.gmacs_per_s['depthwise half']:.1f} billion a second against "
            f"{rows.gmacs_per_s['standard']:.1f} in the standard convolution, with "
            f"{rows.macs_per_byte['depthwise half']:,.1f} multiplications for each byte moved against "
            f"{rows.macs_per_byte['standard']:,.1f}.")


# Attention

ATTENTIONS = ("full, materialized", "full", "grouped-query", "multi-query", "sliding window", "linear")
CHUNK = 64  # tokens that linear attention handles together


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of one attention layer. `kv_heads` is for the grouped-query kind; `window` for the sliding one."""

    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    window: int = 128

    def __post_init__(self) -> None:
        if min(self.heads, self.kv_heads, self.head_dim, self.window) < 1 or self.heads % self.kv_heads:
            raise InputError("Heads, key-value heads, their width and the window are 1 or more, and the key-value "
                             f"heads divide the heads; not {self.heads}, {self.kv_heads}, {self.head_dim} and "
                             f"{self.window}.")

    def kv_heads_of(self, kind: str) -> int:
        """Heads that keys and values have in this kind of attention."""
        return {"grouped-query": self.kv_heads, "multi-query": 1}.get(kind, self.heads)


def require_attention(kind: str) -> None:
    """Raise InputError for an unknown kind."""
    if kind not in ATTENTIONS:
        raise InputError(f"Unknown attention '{kind}'. Choose one of: {', '.join(ATTENTIONS)}.")


def attention_macs(kind: str, length: int, shape: Shape) -> int:
    """Multiply-accumulates of causal attention over one text, projections left out: what cannot be skipped.

    Each kind is charged for the pairs it looks at; linear attention for its states (d x d a head and
    token, written and read) and for the pairs inside a chunk.
    """
    require_attention(kind)
    per_pair = 2 * shape.heads * shape.head_dim  # one product with the key, one with the value
    if kind == "linear":
        return length * per_pair * (shape.head_dim + (min(CHUNK, length) + 1) // 2)
    reach = min(shape.window, length) if kind == "sliding window" else length
    pairs = reach * (reach + 1) // 2 + (length - reach) * reach
    return per_pair * pairs


def working_bytes(kind: str, length: int, shape: Shape, threads: int = 1) -> int:
    """The most that one call of full attention allocates in float32 beyond its inputs, on paper.

    Materialized: the weights before and after the softmax, and the result. Fused: the result, one
    normaliser a query, and for each thread the block of weights that torch's CPU kernel works on
    (up to 256 queries by 512 keys, their maxima and sums, and the block's result).

    Raises:
        InputError: a kind whose memory depends on the kernel: sliding window, linear.
    """
    require_attention(kind)
    if kind in ("sliding window", "linear"):
        raise InputError(f"There is no formula here for the memory of '{kind}'; measure it (peak_working_bytes).")
    result = 4 * shape.heads * length * shape.head_dim
    if kind == "full, materialized":
        return 2 * 4 * shape.heads * length**2 + result
    queries = min(length, 256 if length >= 768 else 64 if length >= 192 else 32)
    block = queries * min(length, 512) + 2 * queries + queries * shape.head_dim
    return result + 4 * shape.heads * length + 4 * threads * block


def cache_bytes(kind: str, length: int, shape: Shape, layers: int = 1, bytes_per_value: int = 4) -> int:
    """What a text of so many tokens leaves in memory while the next one is made.

    Keys and values of all tokens; of the window's only; or, for linear attention, one d x d state and
    one sum of keys a head, whatever the length.

    >>> cache_bytes("grouped-query", 8192, Shape(heads=32, kv_heads=8, head_dim=64), layers=16, bytes_per_value=2)
    268435456
    """
    require_attention(kind)
    if kind == "linear":
        return layers * bytes_per_value * shape.heads * shape.head_dim * (shape.head_dim + 1)
    cached = min(length, shape.window) if kind == "sliding window" else length
    return 2 * layers * shape.kv_heads_of(kind) * shape.head_dim * cached * bytes_per_value
