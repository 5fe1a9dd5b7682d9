"""What is known on paper of instructions, from their definitions."""

import pytest

from helpers.hardware_codesign import INT8_MACS
from helpers.lab.machine import INSTRUCTION_SETS


@pytest.mark.parametrize(("name", "sums", "products"), [
    ("NEON dotprod", 4, 4),  # SDOT: each of 4 sums of 32 bits adds 4 products
    ("NEON i8mm", 4, 8),     # SMMLA: 2 x 8 times 8 x 2
    ("WebAssembly", 4, 2)])  # i32x4.dot_i16x8_s
def test_an_instruction_adds_so_many_products_to_each_sum(name, sums, products):
    assert INT8_MACS[name] == sums * products


def test_each_name_is_one_that_a_machine_reports():
    assert set(INT8_MACS) - {"WebAssembly"} <= set(INSTRUCTION_SETS.values())
