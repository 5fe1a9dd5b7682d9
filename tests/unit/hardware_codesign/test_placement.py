"""Which machine to rent, against sums by hand."""

import subprocess
import sys

import pandas as pd
import pytest

from helpers.hardware_codesign.placement import (
    MeasuredMachine,
    break_even_utilization,
    hosted_prices,
    rank_offers,
    token_costs,
)
from helpers.hardware_codesign.roofline.time_model import DeviceModel, TimeModel
from helpers.lab import DECODERS, InputError, offer
from helpers.lab.facts import device_peaks
from helpers.lab.language.sheet import DecoderSheet

WORK = pd.DataFrame({"length": [32], "linear": [680e6], "attention": [10e6], "activation_bytes": [20e6],
                     "weight_bytes": [45e6]})


GPU = DeviceModel(launch_s=0.0005, efficiency=0.5, error=0.3)
HERE = MeasuredMachine(TimeModel(0.001, 170e9, 50e9, WORK), cores=2, tokenize_s=1e-4, error=0.1, accelerator=GPU)


def test_a_cpu_costs_its_hours_at_the_measured_speed():
    frame = rank_offers(HERE, 32, 50.0).set_index("offer")
    row, batch = frame.loc["AWS m6i.large"], frame.loc["AWS m6i.large", "batch"]
    seconds = 0.001 + batch * (680e6 / 170e9 + 10e6 / 50e9 + 1e-4 / 2)
    assert row["rows_per_s"] == pytest.approx(batch / seconds)
    assert row["usd"] == pytest.approx(1e6 / (batch / seconds) / 3600 * offer("AWS m6i.large").on_demand_usd_hour)
    assert row["p95_ms"] <= 50 < 1000 * 1.95 * (0.001 + 2 * batch * 0.00425)
    assert (row["usd_low"], row["usd_high"]) == pytest.approx((0.9 * row["usd"], 1.1 * row["usd"]))
    four = frame.loc["AWS c6i.xlarge"]
    assert four["rows_per_s"] == pytest.approx(2 * row["rows_per_s"])  # two replicas of two cores


def test_energy_is_the_machines_own_or_as_other_machines_take_a_core():
    frame = rank_offers(HERE, 32, 50.0).set_index("offer")
    assert frame.loc["AWS m6i.large", "wh"] == pytest.approx(
        1e6 / frame.loc["AWS m6i.large", "rows_per_s"] / 3600 * 16.2 * 1.15)
    assert frame.loc["AWS m7i.large", "wh"] == pytest.approx(  # no figure of its own: 7.25 W a core, as others' median
        1e6 / frame.loc["AWS m7i.large", "rows_per_s"] / 3600 * 2 * 7.25 * 1.15)


def test_an_accelerator_is_held_up_by_its_host_where_tokenizing_is_slower():
    frame = rank_offers(HERE, 32, 200.0).set_index("offer")
    gpu = frame.loc["AWS g6.xlarge"]
    assert gpu["rows_per_s"] <= 4 / 1e-4 + 1e-6
    slow = MeasuredMachine(HERE.times, 2, tokenize_s=1.0, error=0.1, accelerator=GPU)
    held_up = rank_offers(slow, 32, 200.0).set_index("offer").loc["AWS g6.xlarge"]
    assert (held_up["limit"], held_up["rows_per_s"]) == ("the host's tokenizing", pytest.approx(4.0))


def test_an_accelerator_follows_its_data_sheet_at_the_share_that_was_reached():
    row = rank_offers(HERE, 32, 2.0).set_index("offer").loc["AWS g6.xlarge"]
    sheet, batch = device_peaks(row["device"]), row["batch"]
    roof = max(batch * 690e6 / sheet.rate("bf16"), (batch * 10e6 + 22.5e6) / sheet.bandwidth)
    assert row["p95_ms"] == pytest.approx(1950 * (0.0005 + roof / 0.5))
    assert (row["usd_low"], row["usd_high"]) == pytest.approx((0.7 * row["usd"], 1.3 * row["usd"]))


def test_a_target_below_a_single_text_leaves_the_cpus_out():
    frame = rank_offers(HERE, 32, 5.0)
    assert (frame["device"] != "").all()
    assert (frame["p95_ms"] <= 5.0).all()
    with pytest.raises(InputError, match="No CPU offer"):
        break_even_utilization(frame)
    with pytest.raises(InputError, match="positive target"):
        rank_offers(HERE, 32, 0.0)


def test_a_busier_accelerator_than_break_even_costs_less():
    frame = rank_offers(HERE, 32, 100.0)
    cheapest = frame[frame["device"] == ""].iloc[0]
    for row in break_even_utilization(frame).itertuples():
        gpu = frame.set_index("offer").loc[row.offer]
        assert row.utilization == pytest.approx(row.rows_per_s / gpu["rows_per_s"])
        machines = row.rows_per_s / cheapest["rows_per_s"]
        assert machines * offer(cheapest["offer"]).on_demand_usd_hour <= offer(row.offer).on_demand_usd_hour


def test_longer_texts_and_tighter_targets_cost_no_less():
    def usd(length: int, target: float) -> float:
        return rank_offers(HERE, length, target).set_index("offer").loc["AWS m6i.large", "usd"]

    assert usd(64, 100.0) > usd(32, 100.0) >= usd(32, 1000.0)


LLAMA = DECODERS["Llama 3.1 8B"]


def test_fewer_bits_cost_less_and_what_does_not_fit_is_left_out():
    frame = token_costs(LLAMA)
    for _, group in frame.groupby("offer"):
        by_bits = group.sort_values("bits")
        assert by_bits["usd_per_million"].is_monotonic_increasing
    assert (frame["token_ms"] <= 50).all()
    big = token_costs(DECODERS["Llama 3.1 70B"], bits=(16,))
    assert not (set(big["device"]) & {"NVIDIA L4", "NVIDIA T4", "NVIDIA A100 40GB SXM"})
    with pytest.raises(InputError, match="positive"):
        token_costs(LLAMA, prompt=0)


def test_a_prompt_that_is_read_has_given_the_first_token():
    """Of one token, a device has only to read prompts; of each further one, all sequences take a step together."""
    for output in (1, 2):
        row = token_costs(LLAMA, output=output, bits=(16,)).iloc[0]
        sheet = DecoderSheet(LLAMA, row["device"], 16)
        batch, context = row["batch"], 1000 + output // 2
        seconds = batch * sheet.prefill_s(1000) + (output - 1) * sheet.decode_s(batch, context)
        assert row["tokens_per_s"] == pytest.approx(output * batch / seconds)


def test_hosted_prices_are_mixed_by_tokens():
    frame = hosted_prices(prompt=300, output=100).set_index("model")
    assert frame.loc["gpt-5.4-nano", "usd_per_million"] == pytest.approx((3 * 0.2 + 1.25) / 4)
    assert frame["usd_per_million"].is_monotonic_increasing


def test_a_page_plans_without_torch():
    code = ("from helpers.hardware_codesign import MeasuredMachine, fit_and_validate, rank_offers, recorded_peaks, "
            "roofline_points, token_costs; import helpers.hardware_codesign.options; "
            "import sys; print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
