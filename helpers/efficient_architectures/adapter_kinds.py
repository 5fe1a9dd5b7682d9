"""The ways to adapt an encoder and their learning rates, for controls that must not import torch."""

from helpers.lab.errors import InputError

# Learning rates: `baseline`'s for all weights; ten to fifty times more where few numbers are trained.
KINDS = {"probe": 0.0, "bitfit": 2e-3, "ia3": 5e-3, "lora": 2e-3, "bottleneck": 1e-3, "full": 1e-4}
ADAPTERS = tuple(KINDS)


def require_kind(kind: str, rank: int) -> None:
    """Raise InputError for an unknown kind, or a rank below 1."""
    if kind not in KINDS:
        raise InputError(f"There is no adapter '{kind}'. Known: {', '.join(KINDS)}.")
    if rank < 1:
        raise InputError(f"An adapter's rank is 1 or more, not {rank}.")
