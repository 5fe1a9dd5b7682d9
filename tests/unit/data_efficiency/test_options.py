"""Prices, and choices that need no torch."""

import subprocess
import sys

import pytest

from helpers.data_efficiency.generation.augmentation import AUGMENTATIONS
from helpers.data_efficiency.options import compute_usd
from helpers.lab import offer
from helpers.lab.data.augmentation import METHODS


def test_seconds_become_dollars_at_the_offers_price_for_one_processor():
    machine = offer("AWS m6i.large")
    assert compute_usd(3600.0) == pytest.approx(machine.on_demand_usd_hour / 2)


def test_neither_the_options_nor_the_facade_import_torch():
    code = "import sys; import helpers.data_efficiency.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_augmentations_of_texts_that_keep_the_label_are_among_the_options():
    assert set(METHODS) - {"crossover"} < set(AUGMENTATIONS)
