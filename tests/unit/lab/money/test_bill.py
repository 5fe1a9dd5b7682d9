"""A month on whole machines: Erlang's formula summed by hand, prices multiplied by hand, intervals in order."""

import dataclasses
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers.lab import InputError, cost
from helpers.lab.money.bill import Range, hosted_usd, mean_service_s, places_needed, repaid_in, serving, serving_change
from helpers.lab.money.scenario import Scenario


def late_share(servers: int, per_second: float, mean_s: float, wait_s: float) -> float:
    """Erlang's C by its definition, a sum of factorials, and the exponential tail of the wait."""
    offered = per_second * mean_s
    if servers <= offered:
        return 1.0
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    waiting = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    return waiting * math.exp(-(servers / mean_s - per_second) * wait_s)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine too
@given(st.floats(0.01, 400), st.floats(0.001, 0.2), st.floats(0.001, 1.0))
def test_a_fleet_is_the_smallest_that_erlangs_formula_allows(per_second, mean_s, wait_s):
    result = places_needed(per_second, mean_s, wait_s)
    assert late_share(result, per_second, mean_s, wait_s) <= 0.05 * (1 + 1e-9)
    assert result == 1 or late_share(result - 1, per_second, mean_s, wait_s) > 0.05 * (1 - 1e-9)


@pytest.mark.parametrize("wrong", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (math.nan, 1, 1)])
def test_a_fleet_without_requests_or_time_is_refused(wrong):
    with pytest.raises(InputError, match="are above 0"):
        places_needed(*wrong)


@pytest.mark.parametrize(("p50", "p95"), [(7.5, 11.8), (1.2, 1.9), (30.0, 30.0)])
def test_the_mean_is_that_of_the_lognormal_law_through_both_quantiles(p50, p95):
    mean = 1e3 * mean_service_s(p50, p95)
    spread = math.log(p95 / p50) / stats.norm.ppf(0.95)
    assert mean == pytest.approx(stats.lognorm(s=max(spread, 1e-12), scale=p50).mean())


def test_a_month_costs_its_machines_day_and_night(new_measurement):
    """100 a second of 10 ms each keep one server busy: two answer 95 of 100 within 60 ms. One a machine of 2 cores."""
    record = new_measurement(p50_ms=10.0, p95_ms=10.0, threads=2)
    asked = Scenario(volume=100 * 730 * 3600 / 2, traffic_hours=12, deadline_ms=60, usd_per_machine_hour=0.5)
    assert late_share(1, 100, 0.01, 0.05) == 1
    assert late_share(2, 100, 0.01, 0.05) < 0.05
    month = serving(record, asked)
    assert month.machines == 2
    assert month.always_usd == Range(730.0, 730.0, 730.0)
    assert month.in_hours_usd.value == pytest.approx(365.0)
    assert month.busy_usd.value == pytest.approx(cost(record, asked.machine).usd * asked.volume / 1e6)
    assert month.gco2e.value == pytest.approx(cost(record, asked.machine).gco2e * asked.volume / 1e6)


def test_a_machine_of_four_cores_works_on_two_requests_at_a_time(new_measurement):
    record = new_measurement(p50_ms=10.0, p95_ms=10.0, threads=2)
    asked = Scenario(volume=100 * 730 * 3600, traffic_hours=24, deadline_ms=60, offer="AWS c6i.xlarge")
    assert serving(record, asked).machines == 1


def test_requests_that_are_answered_together_need_as_many_fewer_machines(new_measurement):
    """16 in company take 160 ms: 100 a second keep 16 servers busy, and a few more hold the target."""
    record = new_measurement(p50_ms=160.0, p95_ms=160.0, threads=2, settings={"slots": 16})
    asked = Scenario(volume=100 * 730 * 3600, traffic_hours=24, deadline_ms=210, usd_per_machine_hour=0.5)
    servers = next(count for count in range(17, 99) if late_share(count, 100, 0.16, 0.05) <= 0.05)
    assert serving(record, asked).machines == math.ceil(servers / 16)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.floats(1, 50), st.floats(0.5, 1), st.floats(1, 2), st.floats(1e6, 1e9), st.floats(1, 24))
def test_the_interval_holds_the_figure_and_the_busy_seconds_are_the_least(new_measurement, speedup, low, high, volume,
                                                                         hours):
    record = new_measurement(speedup=speedup, speedup_low=low * speedup, speedup_high=high * speedup, p50_ms=10.0,
                             p95_ms=15.0, throughput_per_s=1000 / mean_service_s(10.0, 15.0) / 1000)
    month = serving(record, Scenario(volume=volume, traffic_hours=hours))
    for figure in (month.always_usd, month.in_hours_usd, month.busy_usd, month.gco2e):
        assert figure.low <= figure.value <= figure.high
    assert month.busy_usd.value <= month.in_hours_usd.value * (1 + 1e-9) <= month.always_usd.value * (1 + 2e-9)


def test_tokens_are_paid_as_the_list_says_and_shared_ones_from_the_cache():
    """gpt-4o-mini: 0.15 dollars a million read, 0.075 from the cache, 0.60 written."""
    asked = Scenario(volume=2e6, api="OpenAI gpt-4o-mini", tokens_in=2000, tokens_out=100, tokens_shared=1024)
    assert hosted_usd(asked) == pytest.approx(2 * (2000 * 0.15 + 100 * 0.6))
    assert hosted_usd(asked, cached=True) == pytest.approx(2 * (976 * 0.15 + 1024 * 0.075 + 100 * 0.6))


def test_a_price_that_nobody_lists_is_refused():
    asked = Scenario(api="Mistral ministral-8b", tokens_shared=10)
    with pytest.raises(InputError, match="no price of cached tokens is known"):
        hosted_usd(asked, cached=True)


def test_a_beginning_that_is_too_short_is_not_paid_as_cached():
    """OpenAI caches from 1,024 tokens on (helpers/facts/api_terms.csv)."""
    asked = Scenario(api="OpenAI gpt-5.4-mini", tokens_in=2000, tokens_shared=1023)
    with pytest.raises(InputError, match="from 1,024 tokens on, and this one has 1,023"):
        hosted_usd(asked, cached=True)


def test_what_saves_nothing_never_repays():
    assert repaid_in(1000.0, 250.0) == 4.0
    assert repaid_in(1000.0, 0.0) is None
    assert repaid_in(1000.0, -1.0) is None


def test_a_difference_of_ranges_that_vary_apart_is_as_wide_as_both():
    change = Range(50.0, 40.0, 70.0) - Range(45.0, 30.0, 50.0)
    assert change == Range(5.0, -10.0, 40.0)
    assert change.holds_zero
    assert not (Range(50.0, 40.0, 70.0) - Range(10.0, 5.0, 20.0)).holds_zero


@pytest.fixture
def uncertain(new_measurement):
    """20 ms at a speed-up of 4, which may be 2 to 6: 40 to 13 ms."""
    return new_measurement(speedup=4.0, speedup_low=2.0, speedup_high=6.0, p50_ms=20.0, p95_ms=20.0, threads=2)


BEFORE, AFTER = Scenario(volume=3e8), Scenario(volume=5e8, traffic_hours=6, usd_per_machine_hour=0.08)


def at_speedup(record, speedup):
    """The same model, known to be so fast."""
    slower = record.speedup / speedup
    return dataclasses.replace(record, p50_ms=record.p50_ms * slower, p95_ms=record.p95_ms * slower,
                               speedup_low=record.speedup, speedup_high=record.speedup)


def test_a_change_holds_the_change_at_each_speed_up_that_may_be(uncertain):
    """To a machine of either: between the speed-ups that are tried a fleet may step."""
    always, in_hours = serving_change(uncertain, BEFORE, AFTER)
    step = 730 * (BEFORE.machine.on_demand_usd_hour + AFTER.machine.on_demand_usd_hour)
    for speedup in (2.0, 2.3, 3.0, 4.0, 4.7, 5.5, 6.0):
        old, new = (serving(at_speedup(uncertain, speedup), one) for one in (BEFORE, AFTER))
        change = new.always_usd.value - old.always_usd.value
        assert always.low - step <= change <= always.high + step
        if speedup in (2.0, 4.0, 6.0):
            assert always.low - 1e-9 <= change <= always.high + 1e-9
            assert in_hours.low - 1e-9 <= new.in_hours_usd.value - old.in_hours_usd.value <= in_hours.high + 1e-9
    assert always.value == pytest.approx(serving(uncertain, AFTER).always_usd.value
                                         - serving(uncertain, BEFORE).always_usd.value)


def test_a_change_is_known_better_than_either_bill(uncertain):
    """One and a half times the price: half the bill, though that bill is known to a factor of three."""
    dearer = dataclasses.replace(BEFORE, usd_per_machine_hour=1.5 * BEFORE.machine.on_demand_usd_hour)
    always, _ = serving_change(uncertain, BEFORE, dearer)
    bill = serving(uncertain, BEFORE).always_usd
    assert [always.value, always.low, always.high] == pytest.approx([bill.value / 2, bill.low / 2, bill.high / 2])
    assert always.low > 0 > (serving(uncertain, dearer).always_usd - bill).low


def test_nothing_changes_between_a_scenario_and_itself(uncertain):
    assert serving_change(uncertain, BEFORE, BEFORE) == (Range(0.0, 0.0, 0.0), Range(0.0, 0.0, 0.0))
