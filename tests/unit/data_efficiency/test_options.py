"""Prices, and choices that need no torch."""

import subprocess
import sys

import pytest

from helpers.app import recorded_table
from helpers.data_efficiency.generation.augmentation import AUGMENTATIONS
from helpers.data_efficiency.options import NOISES, REVIEWER_ERROR, REVIEWER_ERRORS
from helpers.lab import offer
from helpers.lab.data.augmentation import METHODS
from helpers.lab.money.costs import compute_usd


def test_seconds_become_dollars_at_the_offers_price_for_one_processor():
    machine = offer("AWS m6i.large")
    assert compute_usd(3600.0) == pytest.approx(machine.on_demand_usd_hour / 2)


def test_neither_the_options_nor_the_facade_import_torch():
    code = "import sys; import helpers.data_efficiency.options; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_augmentations_of_texts_that_keep_the_label_are_among_the_options():
    assert set(METHODS) - {"crossover"} < set(AUGMENTATIONS)


def test_the_page_has_reviews_of_both_noises_by_reviewers_who_err_with_budgets_on_both_sides_of_the_wrong_labels():
    reviews, wrong = recorded_table("4_data_efficiency_reviews"), recorded_table("4_data_efficiency_flag_quality")
    assert REVIEWER_ERROR in REVIEWER_ERRORS
    assert set(zip(reviews["noise"], reviews["reviewer_error"], strict=True)) == {
        (noise, error) for noise in NOISES for error in REVIEWER_ERRORS}
    numbers, [corrupted] = set(reviews["reviewed"]), set(wrong["corrupted"])
    assert corrupted not in numbers, "nobody knows it"
    assert min(numbers - {0}) < corrupted / 2
    assert max(numbers) > 2 * corrupted
