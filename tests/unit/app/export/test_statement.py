"""The statement of cost and energy: its figures are the records', by hand, and nothing of it is obeyed."""

import dataclasses
import json

import pytest
from app_helpers import record

from helpers import app
from helpers.app.export.statement import NOT_COUNTED, statement, statements_json, statements_markdown
from helpers.lab.facts import read_facts

MACHINE = {"cpu": "some CPU", "instruction_sets": ["AVX2"], "cores": 2, "memory_gib": 8.0, "gpu": None,
           "libraries": {"torch": "2.13.0"}}
MADE = record(machine=MACHINE, joules_low=0.18, joules=0.36, joules_high=0.72, throughput_per_s=100.0, threads=2)


def test_energy_and_carbon_by_hand():
    """0.36 J a prediction are 100 Wh a million; Virginia: 396.25 g/kWh, with 15% for the buildings."""
    said = statement(MADE)
    assert said["energy"]["Wh per million predictions"] == pytest.approx(100.0)
    assert said["energy"]["low and high"] == pytest.approx([50.0, 200.0])
    assert said["carbon"]["g CO2e per million predictions"] == pytest.approx(0.1 * 1.15 * 396.25)
    assert said["carbon"]["low and high"] == pytest.approx([0.05 * 1.15 * 396.25, 0.2 * 1.15 * 396.25])


def test_dollars_by_hand():
    """A million at 100 a second are 2.78 hours of both cores of an m6i.large, at its listed price."""
    price = next(float(row["on_demand_usd_hour"]) for row in read_facts("instances") if row["instance"] == "m6i.large")
    assert statement(MADE)["cost"]["usd per million predictions"] == pytest.approx(1e6 / 100 / 3600 * price)


@pytest.mark.parametrize("name", ["1_model_optimization", "3_hardware_codesign"])
def test_every_figure_is_the_records(name):
    """Read back from JSON, beside the records that ship."""
    records = app.recorded(name)
    written = json.loads(statements_json(records))["statements"]
    assert len(written) == len(records)
    for said, one in zip(written, records, strict=True):
        assert said["model"]["name"] == one.model
        assert said["quality"]["accuracy, 95% interval"] == [one.accuracy_low, one.accuracy_high]
        assert said["speed"]["predictions a second"] == one.throughput_per_s
        assert said["measurement"] == {"provenance": "recorded", "date": one.measured_at, "record": one.id,
                                       "machine": said["measurement"]["machine"],
                                       "libraries": one.machine["libraries"]}
        assert one.machine["cpu"] in said["measurement"]["machine"]
        assert said["energy"]["method"] == one.energy_method
        assert said["not counted"] == list(NOT_COUNTED)


def test_the_markdown_has_each_part_and_says_what_was_not_measured():
    text = statements_markdown([MADE, dataclasses.replace(MADE, joules=None, joules_low=None, joules_high=None)])
    assert text.count("\n## ") == 2
    for part in statement(MADE):
        assert text.count(f"\n| {part} | ") >= 2
    assert "| energy | Wh per million predictions | 100 |" in text
    assert "| speed | predictions a second | 34,570 |" in statements_markdown(
        [dataclasses.replace(MADE, throughput_per_s=34_567.8)]), "no exponent"
    assert "| energy | Wh per million predictions | not measured |" in text
    assert "some CPU, 2 cores (AVX2)" in text


def test_a_models_name_makes_neither_markup_nor_another_row():
    text = statements_markdown([record("a | <script>\n| b", machine=MACHINE)])
    assert "<script>" not in text
    assert "\n| b" not in text
