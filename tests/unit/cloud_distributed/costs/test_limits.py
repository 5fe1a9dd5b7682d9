"""Limits of platforms: those of the facts, each with its source, and each broken one in a sentence."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from helpers.cloud_distributed import beyond_limits, break_even, platform_limits, serverless_offer
from helpers.cloud_distributed.costs.serverless import serve
from helpers.lab import InputError, offer

FACTS = Path(__file__).parents[4] / "helpers" / "facts"
LAMBDA, CLOUD_RUN = serverless_offer("AWS Lambda x86_64"), serverless_offer("GCP Cloud Run")
WARM = {"cold_start_s": 1.0, "keep_warm_s": 60.0}


def test_each_limit_is_in_the_facts_with_its_date_and_source():
    with (FACTS / "platform_limits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(map(len, platform_limits().values())) == len(rows)  # none twice
    for row in rows:
        assert platform_limits()[row["platform"]][row["limit"]] == float(row["value"])
        assert re.search(r"\b20\d\d\b", row["as_of"])
        assert row["source_url"].startswith("https://")


@pytest.mark.parametrize(("needs", "words"), [
    ({"memory": 32.1}, "has 32 GB at most; 32.1 GB were asked for"), ({"vCPUs": 16}, "has 8 vCPUs at most"),
    ({"time": 4000.0}, "ends a request after 3600 s; the longest of these takes 4e+03 s"),
    ({"requests at a time": 1001}, "gives an instance 1000 requests at a time at most")])
def test_what_a_platform_does_not_take_is_said_in_a_sentence(needs, words):
    assert words in " ".join(beyond_limits("GCP Cloud Run", needs))


@pytest.mark.parametrize("needs", [{"memory": 32.0, "time": 3600.0}, {"instances": 10**6}])
def test_at_a_limit_and_without_a_sourced_one_nothing_is_broken(needs):
    assert beyond_limits("GCP Cloud Run", needs) == []
    assert beyond_limits("a platform that nobody knows", needs) == []


@pytest.mark.parametrize(("call", "words"), [
    (lambda: serve([0.0, 1.0], [1.0, 901.0], LAMBDA, **WARM), "ends a request after 900 s"),
    (lambda: serve([0.0, 1.0], [1.0, 1.0], LAMBDA, memory_gib=11, **WARM), "has 10 GB at most"),
    (lambda: serve([0.0, 1.0], [1.0, 1.0], LAMBDA, max_instances=1001, **WARM), "runs 1000 instances at most"),
    (lambda: serve([0.0, 1.0], [1.0, 1.0], CLOUD_RUN, concurrency=1001, **WARM), "requests at a time at most"),
    (lambda: break_even(LAMBDA, offer("AWS m6i.large"), [901.0]), "ends a request after 900 s"),
    (lambda: beyond_limits("GCP Cloud Run", {"height": 2}), "Unknown need 'height'")])
def test_a_bill_for_what_a_platform_does_not_take_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_requests_beyond_the_concurrency_of_an_account_wait_in_line():
    """1,100 at once, a second each, and 1,000 places: the last 100 wait until the first are done."""
    done = serve(np.zeros(1100), np.ones(1100), LAMBDA, span_s=1000.0, **WARM)
    assert len(np.unique(done.pool.instance)) == 1000
    latency = np.sort(done.pool.latency_s)
    assert latency[:1000] == pytest.approx(latency[0])
    assert latency[1000:] == pytest.approx(latency[0] + 1.0)
