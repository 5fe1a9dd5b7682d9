"""The record of a language model that answers: its figures agree with each other and with its price."""

import pytest
from small_llama import PROMPTS, smollm2

from helpers.lab import InputError, offer
from helpers.lab.language.generation import measure_generation
from helpers.lab.machine import usable_cores

pytestmark = pytest.mark.slow


def test_the_figures_of_a_run_agree_with_each_other():
    frame = measure_generation([smollm2("openvino"), smollm2("openvino")], PROMPTS[:2], max_tokens=6, rounds=2)
    assert frame["agreement"].tolist() == [1, 1]  # with itself
    place = offer("AWS m6i.large")
    for row in frame.to_dict("records"):
        assert row["low"] <= row["together_per_s"] <= row["high"]
        hours = 1e6 / row["together_per_s"] / 3600
        assert row["usd_per_million_tokens"] == pytest.approx(
            hours * place.on_demand_usd_hour * usable_cores() / place.vcpus)
        each = row["answer_tokens"] / row["prompts"]
        alone = 1 / (row["first_token_s"] / each + row["per_token_s"] * (each - 1) / each)
        assert row["alone_per_s"] == pytest.approx(alone, rel=0.8)


def test_nothing_to_measure_is_refused():
    with pytest.raises(InputError, match="at least one language model"):
        measure_generation([], PROMPTS)
