"""Both ways are measured with the same rows: more examples are more tokens, and tuning learns what it is shown."""

import collections
import dataclasses

import numpy as np
import pytest
from datasets import Dataset
from tiny_gguf import tiny_llm

from helpers.data_efficiency import compare_ways, tuning_repaid
from helpers.data_efficiency.language_model.retrieval_or_tuning import TIMED, TUNED
from helpers.lab import Cancelled, InputError, Task
from helpers.lab.language.prompting import PromptedModel
from helpers.lab.progress import Progress

TEXTS = ["where is my parcel", "refund the amount", "the parcel is late", "money back please"] * 2


@pytest.fixture(scope="module")
def task():
    rows = Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 1] * 2})
    return Task("mail", rows, rows.select(range(2)), rows, ("parcel", "money"), "a test")


def test_examples_cost_tokens_and_tuning_costs_seconds_once(task):
    ways = compare_ways(tiny_llm(), task, shots=(0, 2), epochs=20, rounds=1).set_index("way")
    assert ways.index.tolist() == ["instruction alone", "2 nearest examples", TUNED]
    assert ways.loc["2 nearest examples", "tokens_in"] > ways.loc["instruction alone", "tokens_in"]
    assert ways.loc[TUNED, "tokens_in"] == ways.loc["instruction alone", "tokens_in"]
    assert (ways["spent_s"] > 0).tolist() == [False, False, True]
    assert ways.loc[TUNED, "accuracy"] == 1.0  # the rows that it was tuned on
    np.testing.assert_allclose(ways["gain"], 1.0 - ways["accuracy"])
    assert (ways["gain_low"] <= ways["gain"]).all()
    assert ways.loc[TUNED, ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert ways.loc["instruction alone", "gain_low"] < ways.loc["instruction alone", "gain"]
    assert (ways["seconds"] > 0).all()
    assert len(tuning_repaid(ways.reset_index(), cores=2)) == 2


def test_a_wish_to_end_is_heard_and_no_number_of_examples_is_refused(task):
    with pytest.raises(Cancelled):
        compare_ways(tiny_llm(), task, progress=Progress(cancelled=lambda: True))
    with pytest.raises(InputError, match="numbers of examples"):
        compare_ways(tiny_llm(), task, shots=())


def test_each_timed_round_asks_other_texts(task, monkeypatch):
    """An engine may know by heart what it has just read."""
    texts = [f"parcel number {number}" for number in range(3 * TIMED)]
    many = dataclasses.replace(task, test=Dataset.from_dict({"text": texts, "label": [0] * len(texts)}))
    asked, predict = collections.defaultdict(list), PromptedModel.predict
    monkeypatch.setattr(PromptedModel, "predict", lambda model, inputs: asked[model].extend(inputs) or predict(
        model, inputs))
    compare_ways(tiny_llm(), many, shots=(0,), epochs=1, rounds=2)
    assert len(asked) == 2
    for timed in asked.values():
        assert timed[:3 * TIMED] == texts
        assert timed[3 * TIMED:4 * TIMED] == texts[:TIMED]
