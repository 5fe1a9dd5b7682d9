"""Watts against the table of sources, and against what the rest of the project bills."""

import time

import numpy as np
import pytest

from helpers.lab import offers
from helpers.lab.facts import read_facts
from helpers.lab.measuring.energy import energy_scores, estimated_power, measure_power, meter
from helpers.lab.money.costs import DEFAULT_OFFER


def test_the_estimate_is_the_sourced_machine_s_at_idle_and_in_full_use():
    """m6i.large: 2 vCPUs, 4.6 W idle, 12.1 W at half, 16.2 W in full use (Teads, 2021)."""
    assert estimated_power(0.0, 2).mid == pytest.approx(4.6)
    assert estimated_power(0.5, 2).mid == pytest.approx(12.1)
    assert estimated_power(1.0, 1).mid == pytest.approx(8.1)
    assert estimated_power(1.0, 2).mid == offers()[DEFAULT_OFFER].watts_full  # what every bill is made with


@pytest.mark.parametrize("use", [0.05, 0.5, 1.0])
def test_the_band_is_a_band(use):
    power = estimated_power(use, 2)
    assert 0 < power.low < power.mid < power.high
    assert power.mid - power.low == pytest.approx(4.6)
    assert power.high == pytest.approx(20.0)  # m5.large


@pytest.mark.skipif(bool(meter()), reason="this machine has a meter")
def test_a_machine_at_rest_is_told_from_one_at_work():
    """Not a constant: one core at work, and none."""
    left = np.ones((200, 200))
    busy = measure_power(lambda: left @ left, threads=1, seconds=0.3)
    idle = measure_power(lambda: time.sleep(0.05), threads=1, seconds=0.3)
    assert idle.mid < 0.7 * busy.mid
    assert idle.low < 0.5 * busy.low
    assert "no meter" in busy.method
    assert "m6i.large" in busy.method


def test_ai_energy_score_is_named_with_its_date_and_its_machine():
    said = energy_scores()
    assert "on one NVIDIA H100 (the GPU alone, 2024-09-04)" in said
    assert "bert-large-sst2 0.918" in said
    assert all(row["source_url"].startswith("https://") for row in read_facts("energy_score"))
