"""Notebook 5's insides against sums done by hand, and its sentences on results that fall either way."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from notebook_cells import SOURCES, functions, guessed, said

from helpers.cloud_distributed import (
    Fleet,
    ServiceTimes,
    bill,
    bursts,
    pays_from,
    poisson,
    serverless_offer,
    simulate,
)
from helpers.lab import DECODERS, offer


def test_a_queue_by_hand_is_the_simulators():
    service = ServiceTimes({1: [0.1, 0.15, 0.3]})
    text = said("5", "queue-inside", service=service, mean_s=service.mean_s(), np=np, poisson=poisson, Fleet=Fleet,
                simulate=simulate)
    by_hand, simulated = re.search(r"by hand ([\d.]+) ms, by the simulator ([\d.]+) ms", text).groups()
    assert by_hand == simulated


def test_a_ring_gives_all_the_same_sum():
    names = {"app": SimpleNamespace(verdict=str), "np": np}
    exec(SOURCES["5", "ring-inside"], names)
    np.testing.assert_allclose(names["held"], np.tile(names["wanted_sum"], (4, 1)))


def test_a_tokens_memory_by_hand():
    """Keys and values of 32 layers, 8 heads of 128 numbers, two bytes each: 131,072 bytes."""
    text = said("5", "llm-memory", engine=SimpleNamespace(kv_tokens=467_000), DECODERS=DECODERS)
    assert text.startswith("128 KiB a token: ")
    fits = int(re.search(r"([\d,]+) tokens fit", text)[1].replace(",", ""))
    assert fits == pytest.approx((0.9 * 80 * 2**30 - 2 * 8.03e9) / 131_072, abs=1)


def test_what_is_sent_for_a_token_by_hand():
    text = said("5", "sharded-inside")
    assert "384 messages and 786 KB where matrices are cut; 1 message and 8 KB where layers are" in text


@pytest.mark.parametrize("rate", [0.5, 190.0])
def test_serverless_bills_of_a_months_requests_by_hand(rate):
    """20 ms of 3.5 GB and a price for each request, beyond what is free; the machines are those of the fixed fleet."""
    given = {"np": np, "math": math, "TRACE": None, "OFFER": "AWS m6i.large", "DEADLINE_S": 0.25, "STARTUP_S": 60.0,
             "service_times": lambda *_: ServiceTimes({1: [0.02]}), "bursts": bursts, "simulate": simulate,
             "bill": bill, "offer": offer, "replicas_on_paper": lambda *_: 7,
             "fleet_of": lambda _, plan, *__: Fleet(replicas=plan)}
    names = functions("5", "sl-rented", **given)
    exec(SOURCES["5", "sl-compute"], names)
    table = names["serverless_bills"](rate, (20.0, 20.0), 1.0, 2, 50.0).set_index("name")["usd_month"]
    count = rate * 730 * 3600
    by_hand = max(0.0, count - 1e6) * 2e-7 + max(0.0, count * 0.02 * 3.5 - 4e5) * 1.66667e-5
    assert table["AWS Lambda x86_64"] == pytest.approx(by_hand, rel=0.02)
    assert table["AWS Lambda x86_64, 2 kept ready"] > 2 * 730 * 3600 * 3.5 * 4.1667e-6
    assert table["7 AWS m6i.large that always run"] == pytest.approx(0.5 * 7 * 0.096 * 730)


@pytest.mark.parametrize(("asked", "words"), [
    ({"memory": 0.5, "time": 1.0}, r"^(\d) of \1 take it"),
    ({"memory": 1e6}, r"^0 of \d take it: none\. .* GB at most"),
    ({"memory": 4.0}, r"Azure Functions Consumption has 1\.5 GB at most; 4 GB were asked for")])
def test_platforms_may_all_or_none_take_a_service(asked, words):
    assert re.search(words, said("5", "managed-limits", asked_for=asked))


@pytest.mark.parametrize(("usd", "share"), [((10.0, 50.0), 0.2), ((60.0, 50.0), 0.0)])
def test_an_endpoint_that_stops_may_cost_more_or_less(usd, share):
    bills = pd.DataFrame({"usd_month": usd, "cold_share": [share, 0.0], "p99_s": [121.0, 1.5]}, index=[600.0, math.inf])
    text = said("5", "managed-bill", by_patience=bills, managed=SimpleNamespace(name="An endpoint"),
                machine=SimpleNamespace(name="a machine", on_demand_usd_hour=0.1), duration=lambda s: f"{s:g} s")
    assert f"$50 if it never stops, p99 1.5 s; ${usd[0]:,.0f} if it stops" in text
    assert f"with {share:.1%} of the requests waiting" in text
    assert text.endswith("$73.")


def test_who_waits_is_said_with_its_figures():
    given = dict.fromkeys(("narrow", "stream", "urgent", "alike", "ranked", "asking", "looped"))
    text = said("5", "llm-waiting", first_p95=["9 s", "1 s", "12 s", "3 s"], **given)
    assert "9 s where all are alike; 1 s for the urgent fifth and 12 s for the others" in text
    assert "3 s where as many requests come from users" in text


@pytest.mark.parametrize("shares", [(2.0, 0.3), (0.9, 1.1)])
def test_each_way_and_link_is_said_with_its_share(shares):
    ways = pd.DataFrame({"way": ["tensor", "pipeline"], "link": ["NVLink", "Ethernet"], "accelerators": 4,
                         "tokens_per_s": shares, "of one": shares})
    given = {"WIRES": {}, "NVLINK": None, "Link": None}
    text = said("5", "sharded-paper", ways=ways, **given)
    assert f"tensor parallel over NVLink {shares[0]:.2f}; pipeline parallel over Ethernet {shares[1]:.2f}." in text


@pytest.mark.parametrize(("best", "words"), [(0, "The cheapest number is 0."), (1, "The cheapest number is 8.")])
def test_instances_that_are_kept_ready_may_pay_or_not(best, words):
    table = pd.DataFrame({"slots": [0, 8], "usd_month": [20.0, 30.0 if best == 0 else 10.0], "cold_share": [0.25, 0.0],
                          "working": [math.nan, 0.4]})
    text = said("5", "ready-table", kept_ready=table, lambda_x86=serverless_offer("AWS Lambda x86_64"))
    assert "On demand alone, $20.00 a month and 25.00% cold; with 8 kept ready $" in text
    assert words in text


def test_what_is_kept_ready_pays_from_the_share_that_the_package_gives():
    text = said("5", "ready-inside", serverless_offer=serverless_offer, ready_guess=guessed(50.0))
    share = pays_from(serverless_offer("AWS Lambda x86_64"))
    assert text == f"It pays from {share:.0%} of its time on; you guessed 50%."
