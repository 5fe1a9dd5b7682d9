"""A hosted language model's bill beside the recorded models that could take its place."""

import pandas as pd
import pytest

from helpers import app
from helpers.app.text.billing.own_models import RUNGS, own_models
from helpers.app.text.billing.stages import FOLDER
from helpers.lab import write_table
from helpers.lab.money.costs import offer
from helpers.lab.money.scenario import Scenario


@pytest.fixture
def folder(tmp_path):
    """The shipped pipeline, and two rungs at 2 and 100 dollars a million."""
    pipeline = "1_model_optimization_together.jsonl"
    (tmp_path / pipeline).write_text((FOLDER / pipeline).read_text(encoding="utf-8"), encoding="utf-8")
    write_table(tmp_path / f"{RUNGS}.json", pd.DataFrame({
        "rung": ["tagger", "tuned"], "model": ["a tagger", "a tuned model"], "usd_per_million": [2.0, 100.0],
        "resolved": [0.75, 0.5], "resolved_low": [0.7, 0.4], "resolved_high": [0.8, 0.6]}), "tickets-fields")
    return tmp_path


def test_own_models_are_priced_by_core_at_the_readers_price(folder):
    listed = offer("AWS m6i.large")
    half = Scenario(volume=3e6, usd_per_machine_hour=listed.on_demand_usd_hour / 2)
    said, origin = own_models(half, folder)
    assert said["1"].startswith("a tuned model would take $150 a month of busy seconds and resolves 50")
    assert said["2"].startswith("a tagger would take $3.00 a month")
    assert origin.startswith("Own models: recorded on tickets-fields")


def test_they_stand_in_the_steps_that_cannot_be_counted(folder):
    answer = app.monthly_bill(Scenario(subject="language model", volume=1e6), folder)
    assert "a tuned model would take $100" in answer.steps[0].note
    assert "a tagger would take $2.00" in answer.steps[1].note
    assert all("is right on the same messages is not recorded yet" in step.note for step in answer.steps[:2])
    assert [step.usd for step in answer.steps[:2]] == [None, None]
    assert any(source.startswith("Own models: ") for source in answer.sources)


def test_a_folder_without_the_rungs_says_nothing(folder):
    (folder / f"{RUNGS}.json").unlink()
    assert own_models(Scenario(), folder) == ({}, "")
