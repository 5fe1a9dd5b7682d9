"""A machine's watts: its own figure, its accelerators' data sheet, or the median of others a core."""

import csv
import statistics
from pathlib import Path

import pytest

from helpers.lab import offer, offers
from helpers.lab.money.power import CPU_ONLY, machine_power

FACTS = Path(__file__).parents[4] / "helpers" / "facts"


def rows_of(name):
    with (FACTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return {row[next(iter(row))]: row for row in csv.DictReader(file)}


def test_a_measured_machine_has_its_own_figure():
    for name, row in rows_of("instance_power").items():
        assert machine_power(name, 2, None, 0).watts == float(row["watts_100pct"])


def test_accelerators_have_the_power_of_their_data_sheet():
    """Eight H100 of 700 W each; the sheet's address is named, and that the host is not in it."""
    result = offer("AWS p5.48xlarge")
    assert result.watts_full == 8 * float(rows_of("hardware")["NVIDIA H100 SXM"]["tdp_watts"]) == 5600
    assert "without the host: https://" in result.power_source


def test_another_machine_has_the_median_of_the_measured_ones_a_core():
    each = [float(row["watts_100pct"]) / float(row["vcpus"]) for name, row in rows_of("instance_power").items()
            if name.split(".")[0] in CPU_ONLY]
    result = offer("AWS c7i.xlarge")
    assert result.watts_full == pytest.approx(4 * statistics.median(each))
    assert f"the median of {len(each)} other machines" in result.power_source


def test_without_a_source_there_is_no_figure():
    assert machine_power("TPU v5e (1 chip)", None, "TPU v5e", 1) is None
    assert machine_power("unheard of", None, None, 0) is None


def test_each_offer_with_watts_says_where_they_are_from():
    assert all(bool(one.power_source) == (one.watts_full is not None) for one in offers().values())
    assert sum(one.watts_full is not None for one in offers().values()) > 0.8 * len(offers())
