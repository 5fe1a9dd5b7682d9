"""Money, energy and carbon: arithmetic done by hand, and facts that say where they come from."""

import csv
import dataclasses
import re
from pathlib import Path

import pytest

from helpers.lab import InputError, break_even, cost, offer, offers
from helpers.lab.money.costs import Offer, api_prices

FACTS = Path(__file__).parents[4] / "helpers" / "facts"
RENTED = Offer("AWS test", "us-east-1", 4, None, 0.36, None, 100.0, "2026-01-01", "https://example.org/price", "")


def rows_of(name: str) -> list[dict[str, str]]:
    with (FACTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_million_predictions_cost_their_hours_times_the_price_of_the_cores_used(new_measurement):
    """100 a second are 2.7778 hours; 2 of 4 cores at 0.36 dollars an hour."""
    assert cost(new_measurement(throughput_per_s=100.0, threads=2), RENTED).usd == pytest.approx(0.5)


def test_energy_and_carbon_follow_the_power_the_building_and_the_grid(new_measurement):
    virginia = next(row for row in rows_of("grid") if "us-east-1" in row["region"])
    paid = cost(new_measurement(throughput_per_s=100.0, threads=2), RENTED)
    kwh = 1e6 / 100 / 3600 * 0.5 * 0.1 * float(virginia["pue"])
    assert paid.wh == pytest.approx(1000 * kwh)
    assert paid.gco2e == pytest.approx(kwh * float(virginia["gco2e_per_kwh"]))
    assert any(virginia["carbon_source_url"] in source for source in paid.sources)


def test_a_machine_with_a_gpu_is_paid_whole(new_measurement):
    gpu = dataclasses.replace(RENTED, accelerator="a GPU")
    assert cost(new_measurement(throughput_per_s=100.0, threads=2), gpu).usd == pytest.approx(1.0)


def test_twice_the_throughput_is_half_the_price(new_measurement):
    slow, fast = (cost(new_measurement(throughput_per_s=speed), RENTED).usd for speed in (50.0, 100.0))
    assert slow == pytest.approx(2 * fast)


def test_no_sourced_power_gives_no_energy_rather_than_zero(new_measurement):
    paid = cost(new_measurement(), dataclasses.replace(RENTED, watts_full=None))
    assert (paid.wh, paid.gco2e) == (None, None)
    assert paid.usd == pytest.approx(0.5)


def test_break_even_divides_what_was_spent_by_what_each_prediction_saves(new_measurement):
    """An hour on half a machine is 0.18 dollars, two hours at 50 are 100; a prediction saves 0.25 / 10^6."""
    reference = new_measurement(throughput_per_s=100.0, made_in_s=600.0)  # made in any case
    candidate = new_measurement(throughput_per_s=200.0, made_in_s=4200.0)
    result = break_even(reference, candidate, RENTED, hours_of_work=2, usd_per_hour_of_work=50)
    assert result == pytest.approx((0.18 + 100) / 0.25e-6)


@pytest.mark.parametrize("throughput", [100.0, 80.0])
def test_a_change_that_saves_nothing_never_breaks_even(new_measurement, throughput):
    reference = new_measurement(throughput_per_s=100.0)
    assert break_even(reference, new_measurement(throughput_per_s=throughput), RENTED) is None


def test_an_unknown_offer_is_answered_with_those_there_are():
    with pytest.raises(InputError, match="Unknown offer 'AWS moon'") as caught:
        offer("AWS moon")
    assert "AWS m6i.large" in str(caught.value)


def test_offers_show_the_price_in_the_list():
    row = next(row for row in rows_of("instances") if row["instance"] == "c7i.xlarge")
    result = offer("AWS c7i.xlarge")
    assert result.on_demand_usd_hour == float(row["on_demand_usd_hour"])
    assert (result.as_of, result.source_url) == (row["as_of"], row["source_url"])


def test_the_default_offer_has_a_price_and_a_power_figure(new_measurement):
    from helpers.lab.money.costs import DEFAULT_OFFER

    paid = cost(new_measurement(), offer(DEFAULT_OFFER))
    assert paid.usd > 0
    assert paid.gco2e > 0


def test_every_offer_can_be_costed(new_measurement):
    assert len(offers()) >= 10
    for one in offers().values():
        assert cost(new_measurement(), one).usd > 0, one.name


def test_an_api_bills_what_is_read_and_what_is_written():
    """A fifth of a dollar a million tokens read, 1.25 dollars a million written."""
    price = api_prices()["OpenAI gpt-5.4-nano"]
    assert price.usd(1000, 250) == pytest.approx((1000 * 0.2 + 250 * 1.25) / 1e6)
    assert {row["model"] for row in rows_of("apis") if row["input_usd_per_million_tokens"]} == {
        one.model for one in api_prices().values()}


@pytest.mark.parametrize(("name", "price"), [
    ("instances", "on_demand_usd_hour"), ("serverless", "price_usd"), ("apis", "input_usd_per_million_tokens"),
    ("instance_power", "watts_100pct")])
def test_each_figure_has_a_date_and_a_source(name, price):
    with_figure = [row for row in rows_of(name) if row[price]]
    assert len(with_figure) >= 5
    for row in with_figure:
        assert float(row[price]) > 0, row
        assert re.search(r"\b20\d\d\b", row["as_of"]), row
        assert row["source_url"].startswith("https://"), row


def test_each_grid_has_a_year_and_a_source():
    with_figure = [row for row in rows_of("grid") if row["gco2e_per_kwh"]]
    assert len(with_figure) >= 5
    for row in with_figure:
        assert re.match(r"20\d\d\b", row["year"]), row
        assert row["carbon_source_url"].startswith("https://"), row
