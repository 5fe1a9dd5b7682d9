"""The bill of a run, and the split of a load between committed and hourly machines."""

import numpy as np
import pytest

from helpers.cloud_distributed import Fleet, bill, schedule, simulate
from helpers.cloud_distributed.costs.machines import questions_for_provider, reserved_usd_hour, split_load
from helpers.lab import InputError, offer

SUSTAINED = (1.0, 0.8678, 0.733, 0.6)  # Google's shares of the price in each quarter of a month, for N2


def months_paid(used: float, shares: tuple[float, ...]) -> float:
    """A machine used for a share of the month, quarter by quarter."""
    return sum(share * min(max(used - k / 4, 0.0), 0.25) for k, share in enumerate(shares))


@pytest.mark.parametrize("interruptible", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_number_of_committed_machines_costs_less(interruptible, seed):
    rng = np.random.default_rng(seed)
    load = rng.gamma(2.0, 4.0, 500) * (rng.random(500) > 0.1)
    machine = offer("GCP n2-standard-4" if seed % 2 else "GCP c3-standard-4")
    shares = SUSTAINED if seed % 2 else (1.0,) * 4
    split = split_load(load, machine, months=12, interruptible=interruptible, spot_overhead=0.1)
    on_demand = machine.on_demand_usd_hour
    committed, spot = reserved_usd_hour(machine)["1 year"], min(on_demand, machine.spot_usd_hour / 0.9)

    def month(base, interruptible=interruptible):
        covered = np.minimum((1 - interruptible) * load, base)
        firm = (1 - interruptible) * load - covered
        flexible = np.maximum(0, interruptible * load - (base - covered))
        used = [np.clip(firm - k, 0, 1).mean() for k in range(60)]  # machine by machine
        return 730 * (base * committed + sum(months_paid(one, shares) for one in used) * on_demand
                      + (flexible * spot).mean())

    assert split.usd_month == pytest.approx(month(split.base))
    assert split.usd_month <= min(month(base) for base in range(60)) + 1e-9
    assert split.all_on_demand_usd_month == pytest.approx(month(0, 0.0))


def test_a_load_spread_evenly_is_split_at_the_ratio_of_prices():
    split = split_load(np.linspace(0, 1000, 100_001), offer("GCP g2-standard-4"), months=36)
    assert split.term == "3 years"
    assert split.base == pytest.approx(1000 * (1 - 0.318075 / 0.706832), abs=1)
    assert "3 years" in split.sentence()


def test_a_commitment_that_outlasts_the_load_is_paid_to_its_end():
    load, machine = np.full(10, 8.0), offer("GCP n2-standard-4")
    assert split_load(load, machine, months=12).term == "1 year"
    short = split_load(load, machine, months=6)  # a year's commitment for half a year costs 0.2447 an hour
    assert (short.base, short.term) == (0, None)
    assert short.usd_month == pytest.approx(8 * 113.46, rel=1e-4)  # with the discount for use all month


@pytest.mark.parametrize(("call", "message"), [
    (lambda: split_load([1, 2], offer("AWS c7i.xlarge")), "no sourced price for a commitment"),
    (lambda: split_load([1, -2], offer("GCP n2-standard-4")), "none below 0"),
    (lambda: split_load([1, 2], offer("GCP n2-standard-4"), interruptible=2), "from 0 to 1"),
])
def test_a_split_without_prices_or_sense_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_bill_is_hours_times_prices():
    run = simulate([0.0, 7199.0], [1.0, 1.0], Fleet(4, reserved=1, spot_share=1 / 3))
    priced = bill(run, offer("GCP n2-standard-4"))
    assert priced.usd == pytest.approx(2 * (0.122364 + 2 * 0.194236 + 0.111472))
    assert priced.usd_month == pytest.approx(730 * (0.122364 + 2 * 0.8002 * 0.194236 + 0.111472))
    assert priced.usd_per_million == pytest.approx(priced.usd_month * 2 / 730 / 2 * 1e6)
    assert priced.busy_usd_month == pytest.approx(730 * 2 / 7200 * 0.194236)  # two seconds of work in two hours
    assert bill(run, offer("GCP n2-standard-4"), years=3).usd < priced.usd
    watts = 4 * 7.25  # the median of eight measured machines a vCPU
    assert priced.wh == pytest.approx(4 * 2 * watts * 1.1)  # four machines for two hours, in Iowa
    with pytest.raises(InputError, match=r"No reserved price of AWS m6i\.large is sourced"):
        bill(run, offer("AWS m6i.large"))


def test_energy_lies_between_idle_and_full_power():
    """One m6i.large, half busy for an hour: 4.6 to 16.2 W (instance_power.csv), 1.15 for the building."""
    run = simulate([0.0, 3599.0], [1799.0, 1.0], Fleet())
    priced = bill(run, offer("AWS m6i.large"))
    assert priced.wh == pytest.approx(16.2 * 1.15)
    assert priced.wh_low == pytest.approx((4.6 + 0.5 * 11.6) * 1.15)
    assert priced.gco2e == pytest.approx(priced.wh / 1000 * 396.25)
    assert priced.kg_month == pytest.approx(730 * priced.gco2e / 1000)


def test_a_month_on_demand_at_google_has_its_discount_and_one_at_aws_has_none():
    """The price list's own figure for a whole month: $113.46 (instances.csv), not 730 x 0.194236 = $141.79."""
    run = simulate([0.0, 3599.0], [1.0, 1.0], Fleet())
    assert bill(run, offer("GCP n2-standard-4")).usd_month == pytest.approx(113.46, abs=0.01)
    assert bill(run, offer("GCP c3-standard-4")).usd_month == pytest.approx(730 * 0.201608)
    assert bill(run, offer("AWS m6i.large")).usd_month == pytest.approx(730 * 0.096)


def test_machines_that_run_for_a_part_of_the_month_get_a_part_of_the_discount():
    """One machine always, a second one for half of the time: 80.02% and (1 + 0.8678) / 2 of the price."""
    policy = schedule({0: 1, 1800: 2}, cycle_s=3600, period_s=1.0)
    run = simulate(np.arange(0, 36_000, 10.0), np.full(3600, 0.1), Fleet(1, policy=policy, max_replicas=2))
    priced = bill(run, offer("GCP n2-standard-4"))
    expected = (months_paid(1.0, SUSTAINED) + months_paid(0.5, SUSTAINED)) / 1.5
    assert priced.sustained_use == pytest.approx(expected, rel=0.01)
    assert priced.usd_month == pytest.approx(1.5 * expected * 730 * 0.194236, rel=0.01)


def test_busy_seconds_are_what_the_machines_work():
    """Half busy with two places each: half of the bill for whole machines."""
    arrivals = np.arange(0, 3600, 1.0)
    run = simulate(arrivals, np.full(len(arrivals), 1.0), Fleet(1, concurrency=2))
    priced = bill(run, offer("AWS m6i.large"))
    assert priced.busy_usd_month == pytest.approx(0.5 * priced.usd_month, rel=1e-3)


def test_the_price_that_is_asked_for_is_where_one_more_machine_breaks_even():
    load, machine = [4, 4, 4, 9], offer("GCP n2-standard-4")
    split = split_load(load, machine, months=12)
    first, owed, further, _ = questions_for_provider(load, split, 12)
    assert f"4 GCP n2-standard-4 for {4 * 730 * 12:,} machine hours in 12 months" in first
    assert f"${reserved_usd_hour(machine)['1 year']:.4f} an hour, committed for 1 year" in first
    assert f"${4 * 730 * 6 * reserved_usd_hour(machine)['1 year']:,.0f} would be paid for nothing" in owed
    worth = months_paid(0.25, SUSTAINED) * machine.on_demand_usd_hour
    assert f"number 5 works in 25% of the hours. Below ${worth:.4f} an hour" in further


def test_where_nothing_is_committed_to_nothing_is_owed():
    load = [0, 0, 0, 0, 0, 0, 0, 1]
    asked = questions_for_provider(load, split_load(load, offer("GCP n2-standard-4"), months=1), 1)
    assert len(asked) == 2
    assert "number 1 works in 12% of the hours" in asked[0]


def test_a_load_that_never_changes_has_no_further_machine_to_ask_for():
    split = split_load([3.0] * 24, offer("GCP c3-standard-4"), months=12)
    asked = questions_for_provider([3.0] * 24, split, 12)
    assert "No hour needs more than 3 machines." in asked[2]
    assert "We pay $0 a month by the hour." in asked[3]


def test_questions_need_a_load():
    with pytest.raises(InputError, match="machines in each hour"):
        questions_for_provider([], split_load([1.0], offer("GCP n2-standard-4"), months=12), 12)
