"""Serverless prices and how they are counted, as the facts say."""

import csv
from pathlib import Path

import pytest

from helpers.cloud_distributed.costs.serverless_prices import serverless_offer, serverless_offers
from helpers.lab import InputError

FACTS = Path(__file__).parents[4] / "helpers" / "facts"
LAMBDA, CLOUD_RUN, AZURE = "AWS Lambda x86_64", "GCP Cloud Run", "Azure Functions Consumption"
ENDPOINT = "Hugging Face Inference Endpoints (aws) intel-spr x2"


def test_prices_and_their_sources_are_those_of_the_facts():
    with (FACTS / "serverless.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = {(row["unit"], float(row["price_usd"]), row["as_of"], row["source_url"])
             for row in rows if row["price_usd"]}
    assert {LAMBDA, CLOUD_RUN, AZURE, ENDPOINT, "Modal GPU functions H100"} <= set(serverless_offers())
    for one in serverless_offers().values():
        for rate in filter(None, (*one.time, one.request)):
            assert (rate.unit, rate.usd, rate.as_of, rate.source_url) in known


def test_how_time_is_counted_is_read_from_the_facts():
    cloud_run = serverless_offer(CLOUD_RUN)
    assert [serverless_offer(name).granularity_s for name in (LAMBDA, CLOUD_RUN, AZURE, ENDPOINT)] == [0.001, 0.1,
                                                                                                        0.001, 60]
    assert [rate.free_per_month for rate in cloud_run.time] == [180_000, 360_000]
    assert cloud_run.request.free_per_month == 2_000_000
    assert serverless_offer(AZURE).cold_start_s == 6.8
    assert serverless_offer(ENDPOINT).keep_warm_s == 3600


@pytest.mark.parametrize(("call", "message"), [
    (lambda: serverless_offer("Azure Functions Flex Consumption"), "no sourced price per execution"),
    (lambda: serverless_offer("Lambda"), "Unknown serverless offer 'Lambda'. Choose one of: AWS Lambda x86_64"),
])
def test_what_cannot_be_answered_is_refused_in_a_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
