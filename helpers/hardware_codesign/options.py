"""Choices of strategy 3 that need no torch: what controls offer."""

from typing import Literal

PRECISIONS = ("fp32", "bf16", "int8")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
Padding = Literal["fixed", "longest", "sorted", "packed"]
PADDINGS: tuple[Padding, ...] = ("fixed", "longest", "sorted", "packed")
