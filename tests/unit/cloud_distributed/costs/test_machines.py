"""The bill of a run, and the split of a load between committed and hourly machines."""

import numpy as np
import pytest

from helpers.cloud_distributed import Fleet, bill, simulate
from helpers.cloud_distributed.costs.machines import reserved_usd_hour, split_load
from helpers.lab import InputError, offer


@pytest.mark.parametrize("interruptible", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_no_other_number_of_committed_machines_costs_less(interruptible, seed):
    rng = np.random.default_rng(seed)
    load = rng.gamma(2.0, 4.0, 500) * (rng.random(500) > 0.1)
    machine = offer("GCP n2-standard-4" if seed % 2 else "GCP c3-standard-4")
    split = split_load(load, machine, months=12, interruptible=interruptible, spot_overhead=0.1)
    on_demand = machine.on_demand_usd_hour
    committed, spot = reserved_usd_hour(machine)["1 year"], min(on_demand, machine.spot_usd_hour / 0.9)

    def month(base):
        covered = np.minimum((1 - interruptible) * load, base)
        firm = (1 - interruptible) * load - covered
        flexible = np.maximum(0, interruptible * load - (base - covered))
        return 730 * (base * committed + (firm * on_demand + flexible * spot).mean())

    assert split.usd_month == pytest.approx(month(split.base))
    assert split.usd_month <= min(month(base) for base in range(60)) + 1e-9
    assert split.all_on_demand_usd_month == pytest.approx(load.mean() * on_demand * 730)


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
    assert short.usd_month == pytest.approx(8 * 0.194236 * 730)


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
    assert priced.usd_month == pytest.approx(730 * (0.122364 + 2 * 0.194236 + 0.111472))
    assert priced.usd_per_million == pytest.approx(priced.usd / 2 * 1e6)
    assert bill(run, offer("GCP n2-standard-4"), years=3).usd < priced.usd
    assert (priced.wh, priced.gco2e) == (None, None)
    with pytest.raises(InputError, match=r"No reserved price of AWS m6i\.large is sourced"):
        bill(run, offer("AWS m6i.large"))


def test_energy_lies_between_idle_and_full_power():
    """One m6i.large, half busy for an hour: 4.6 to 16.2 W (instance_power.csv), 1.15 for the building."""
    run = simulate([0.0, 3599.0], [1799.0, 1.0], Fleet())
    priced = bill(run, offer("AWS m6i.large"))
    assert priced.wh == pytest.approx(16.2 * 1.15)
    assert priced.wh_low == pytest.approx((4.6 + 0.5 * 11.6) * 1.15)
    assert priced.gco2e == pytest.approx(priced.wh / 1000 * 396.25)
