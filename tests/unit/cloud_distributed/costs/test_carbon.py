"""Kilograms by region and hour: arithmetic done by hand on the facts, and sentences on results turned round."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest

from helpers.cloud_distributed import moving_sentence, when_to_run, where_to_run
from helpers.lab import InputError, offer

FACTS = Path(__file__).parents[4] / "helpers" / "facts"
HOME = offer("AWS m6i.large")


def test_a_region_is_its_grid_times_its_buildings_overhead():
    """Virginia 396.25 g and 1.15, Sweden 40.695 g and 1.1; France has no overhead of its own: AWS's 1.15."""
    rows = where_to_run(100.0, HOME).set_index("region")
    virginia = next(name for name in rows.index if "Virginia" in name)
    assert rows["kg"][virginia] == pytest.approx(100 * 1.15 * 396.25 / 1e3)
    assert rows["kg"]["Sweden"] == pytest.approx(100 * 1.1 * 40.695 / 1e3)
    assert rows["kg"]["France"] == pytest.approx(100 * 1.15 * 56.039 / 1e3)
    assert rows["saved_kg"]["Sweden"] == pytest.approx(rows["kg"][virginia] - rows["kg"]["Sweden"])
    assert rows["saved"][virginia] == 0
    assert rows["electricity_usd"][virginia] == pytest.approx(100 * 1.15 * 0.0899)
    assert rows["electricity_usd"].isna()["France"]


def test_only_regions_with_a_sourced_figure_are_there_cleanest_first():
    with (FACTS / "grid.csv").open(encoding="utf-8", newline="") as file:
        sourced = [row["region"] for row in csv.DictReader(file) if row["gco2e_per_kwh"]]
    frame = where_to_run(1.0, offer("GCP n2-standard-4"))
    assert sorted(frame["region"]) == sorted(sourced)
    assert frame["kg"].is_monotonic_increasing
    assert frame["source"].str.startswith("https://").all()
    assert frame[frame["saved_kg"] == 0]["region"].tolist() == ["GCP us-central1 (Iowa)"]


def test_moved_hours_by_hand():
    """California, half of 1,000 kWh at 27 g instead of 121, and Virginia's 1.15 for the building. Two machines: 1 + 24
    in that hour, so 23 more."""
    row = when_to_run(1000.0, 2.0, HOME, flexible=0.5).set_index("grid").loc["California (CAISO)"]
    assert row["kg_even"] == pytest.approx(1.15 * 121)
    assert row["kg_moved"] == pytest.approx(1.15 * (0.5 * 121 + 0.5 * 27))
    assert row["saved"] == pytest.approx(0.5 * (1 - 27 / 121))
    assert row["machines"] == pytest.approx(25.0)
    assert row["usd_owned"] == pytest.approx(23 * 730 * 0.096)


def test_work_that_cannot_wait_or_has_the_whole_day_needs_no_more_machines():
    assert (when_to_run(10.0, 3.0, HOME, flexible=0.0)["saved_kg"] == 0).all()
    assert (when_to_run(10.0, 3.0, HOME, hours=24)["machines"] == 3.0).all()


def test_each_hour_has_a_date_and_a_source():
    with (FACTS / "grid_hours.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(when_to_run(1.0, 1.0, HOME))
    for row in rows:
        low, mean, high = (float(row[f"{name}_gco2_per_kwh"]) for name in ("cleanest", "mean", "dirtiest"))
        assert low <= mean <= high
        assert re.match(r"20\d\d-", row["as_of"])
        assert row["source_url"].startswith("https://")


@pytest.mark.parametrize(("kg", "saved", "words"), [
    ((1.0, 4.0), (0.7, 0.1), ["The same work in elsewhere makes 1 kg", "75% less", "saves 70% at most on the grid"]),
    ((9.0, 4.0), (0.7, 0.1), ["No region here is cleaner than home (4 kg a month)"]),
    ((1.0, 4.0), (0.0, 0.0), ["Moving hours saves nothing on these grids"])])
def test_the_sentence_says_what_came_out(kg, saved, words):
    where = pd.DataFrame({"region": ["elsewhere", "home"], "kg": kg, "saved_kg": [kg[1] - kg[0], 0.0],
                          "saved": [1 - kg[0] / kg[1], 0.0]}).sort_values("kg", ignore_index=True)
    when = pd.DataFrame({"grid": ["a", "b"], "saved": saved, "usd_owned": 50.0, "machines": 3.0})
    for part in words:
        assert part in moving_sentence(where, when)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: where_to_run(-1.0, HOME), "0 or more"), (lambda: when_to_run(1.0, float("inf"), HOME), "finite"),
    (lambda: when_to_run(1.0, 1.0, HOME, flexible=1.5), "share from 0 to 1"),
    (lambda: when_to_run(1.0, 1.0, HOME, hours=0), "above 0 to 24")])
def test_figures_that_cannot_be_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
