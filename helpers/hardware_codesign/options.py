"""Choices of strategy 3 that need no torch: what controls offer."""

from typing import Literal

PRECISIONS = ("fp32", "bf16", "int8")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
Padding = Literal["fixed", "longest", "sorted", "packed"]
PADDINGS: tuple[Padding, ...] = ("fixed", "longest", "sorted", "packed")
# 8-bit multiply-adds that one instruction of 128 bits does, by its definition: Arm's SDOT and SMMLA; WebAssembly's
# i32x4.dot_i16x8_s, before which 8 bits are widened to 16.
INT8_MACS = {"WebAssembly": 8, "NEON dotprod": 16, "NEON i8mm": 32}
