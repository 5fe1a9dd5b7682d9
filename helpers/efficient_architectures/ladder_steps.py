"""The names of the ladder's steps, for controls that must not import torch."""

from collections.abc import Sequence

from helpers.lab.errors import InputError

STEPS = ("majority", "tfidf", "static", "zero-shot", "frozen", "contrastive", "fine-tuned")


def require_steps(steps: Sequence[str]) -> None:
    """Raise InputError for an unknown step, a repeated one, or none."""
    if unknown := [step for step in steps if step not in STEPS]:
        raise InputError(f"There is no step '{unknown[0]}' on the ladder. Known: {', '.join(STEPS)}.")
    if not steps or len(set(steps)) < len(steps):
        raise InputError("Name at least one step of the ladder, and each only once.")
