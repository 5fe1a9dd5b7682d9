"""The reader's numbers: what goes into an address comes back, and what cannot be is said, never clamped."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.lab import InputError
from helpers.lab.money.costs import api_prices, offer
from helpers.lab.money.scenario import Scenario, choices_of, read_scenario

NUMBERS = {field.name: field for field in dataclasses.fields(Scenario) if "low" in field.metadata}


def numbers_of(field: dataclasses.Field) -> st.SearchStrategy:
    return st.floats(field.metadata["low"], field.metadata["high"])


@given(st.sampled_from(sorted(NUMBERS)), st.data())
def test_an_address_brings_the_scenario_back(name, data):
    drawn = data.draw(numbers_of(NUMBERS[name]))
    scenario = Scenario(**{"tokens_in": 1e6, name: drawn} if name != "tokens_in" else {name: drawn})
    back = Scenario.from_texts(scenario.texts())
    assert getattr(back, name) == pytest.approx(drawn, rel=1e-11)


def test_the_default_needs_no_address():
    assert Scenario().texts() == {}
    assert Scenario.from_texts({"volume": " ", "max_usd": ""}) == Scenario()


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_a_value_beyond_its_ends_is_said_with_its_ends(name):
    low, high = (NUMBERS[name].metadata[end] for end in ("low", "high"))
    for wrong in (high * 1.001 + 1, low - 1):
        with pytest.raises(InputError, match="goes from") as caught:
            Scenario(**{name: wrong})
        assert f"({name}) goes from {low:,.12g} to {high:,.12g}" in str(caught.value)


@pytest.mark.parametrize("wrong", ["many", "nan", "inf", "-inf", "1e999", "1;2", "1,5", "5,00", ",500", "1,0000"])
def test_what_is_no_number_is_said(wrong):
    with pytest.raises(InputError, match="Requests \\(volume\\) is a number"):
        Scenario.from_texts({"volume": wrong})


def test_commas_keep_thousands_apart():
    assert Scenario.from_texts({"volume": " 73,000,000.5 "}).volume == 73_000_000.5


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(InputError) as caught:
        Scenario.from_texts({"volume": "2e9", "traffic_hours": "0", "offer": "AWS moon", "subject": "oracle"})
    for said in ("(volume)", "(traffic_hours)", "unknown 'AWS moon'", "unknown 'oracle'"):
        assert said in str(caught.value)


def test_an_unknown_field_is_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"Unknown field 'volumes'.*volume, traffic_hours"):
        Scenario.from_texts({"volumes": "1"})


def test_more_shared_tokens_than_there_are_is_refused():
    with pytest.raises(InputError, match="a part of the 100 tokens read, not 101"):
        Scenario(tokens_in=100, tokens_shared=101)


def test_requests_are_spread_over_the_hours_of_traffic():
    """A month has 730 hours: a third of them for eight hours a day."""
    assert Scenario(volume=876_000, traffic_hours=8).per_second == pytest.approx(1.0)


def test_own_prices_and_discounts_take_the_place_of_the_list():
    listed = offer("AWS c6i.xlarge").on_demand_usd_hour
    less = Scenario(offer="AWS c6i.xlarge", machine_discount=30).machine.on_demand_usd_hour
    assert less == pytest.approx(0.7 * listed)
    own = Scenario(offer="AWS c6i.xlarge", usd_per_machine_hour=0.1, machine_discount=50).machine
    assert own.on_demand_usd_hour == pytest.approx(0.05)
    api = api_prices()["OpenAI gpt-4o-mini"]
    less = Scenario(api="OpenAI gpt-4o-mini", token_discount=50).hosted
    assert less.usd(1000, 100, 500) == pytest.approx(api.usd(1000, 100, 500) / 2)
    assert Scenario(usd_per_million_in=1, usd_per_million_out=2).hosted.usd(1e6, 1e6) == pytest.approx(3.0)
    assert Scenario(usd_per_million_in=1).hosted.cached_usd_per_million_tokens is None, "nobody said what it would be"


def test_only_machines_whose_cores_can_be_counted_are_offered():
    assert all(offer(name).vcpus and not offer(name).accelerator for name in choices_of("offer"))
    assert "GCP n2-standard-4" in choices_of("offer")


def test_a_file_is_read_and_a_wrong_one_is_a_sentence(tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text('volume = 2e8\ntraffic_hours = 10\noffer = "AWS m7i.large"\n')
    assert read_scenario(path) == Scenario(volume=2e8, traffic_hours=10, offer="AWS m7i.large")
    for text, said in (("volume = ", "is no TOML file"), ('volume = "2e8"', "is a number"), ("volume = true", "number"),
                       ("speed = 1", "Unknown field 'speed'"), ("volume = nan", "is a number")):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_scenario(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")


def test_the_most_that_can_be_asked_is_a_billion_a_month():
    assert NUMBERS["volume"].metadata["high"] == 1e9
    assert math.isfinite(Scenario(volume=1e9, traffic_hours=1).per_second)


def test_an_address_holds_two_scenarios_beside_a_pages_settings():
    query = {"bill.volume": "5e6", "today.volume": "4e6", "today.offer": "AWS m7i.large", "cloud.rate": "3"}
    assert Scenario.in_address(query) == Scenario(volume=5e6)
    assert Scenario.in_address(query, "today.") == Scenario(volume=4e6, offer="AWS m7i.large")
    assert Scenario.in_address({"cloud.rate": "3"}) is None


def test_own_prices_and_discounts_are_one_share_of_the_list_price():
    listed = Scenario().machine.on_demand_usd_hour
    assert Scenario().percent_of_list_price == 100
    assert Scenario(machine_discount=40).percent_of_list_price == pytest.approx(60)
    own = Scenario(usd_per_machine_hour=2 * listed, machine_discount=25)
    assert own.percent_of_list_price == pytest.approx(150)


@pytest.mark.parametrize("scenario", [
    Scenario(), Scenario(volume=1e9, traffic_hours=1.5, offer="GCP n2-standard-4", max_usd=1e5),
    Scenario(subject="language model", api="OpenAI gpt-4o-mini", usd_per_million_in=1e-5, tokens_shared=12.5)])
def test_a_scenario_is_read_back_from_its_file(scenario, tmp_path):
    path = tmp_path / "scenario.toml"
    path.write_text(scenario.toml())
    assert read_scenario(path) == scenario
