"""The choices of strategy 2 and their costs on paper."""

import subprocess
import sys

import pytest

from helpers.efficient_architectures import cache_bytes, cheapest_within, tenant_bytes, working_bytes
from helpers.efficient_architectures.options import ATTENTIONS, Shape, attention_macs, require_steps
from helpers.lab import InputError

SMALL = Shape(heads=4, kv_heads=2, head_dim=8, window=16)


def test_the_cheapest_that_is_good_enough(new_measurement):
    records = [new_measurement(model=name, accuracy=accuracy, usd_per_million=usd)
               for name, accuracy, usd in (("large", 0.95, 9.0), ("small", 0.935, 1.0), ("tiny", 0.9, 0.1))]
    assert cheapest_within(records, points=2).model == "small"
    assert cheapest_within(records, points=5).model == "tiny"


def test_a_constant_is_not_the_cheapest_that_is_good_enough_however_near_it_comes(new_measurement):
    """98.5% of the rows have one label: always giving it is within 2 points of the best."""
    large, constant, small = (
        new_measurement(model=name, accuracy=accuracy, accuracy_low=low, usd_per_million=usd, majority=0.985)
        for name, accuracy, low, usd in (("large", 0.998, 0.99, 9.0), ("constant", 0.985, 0.98, 0.1),
                                         ("small", 0.995, 0.987, 1.0)))
    assert cheapest_within([large, constant, small]).model == "small"
    assert cheapest_within([constant]).model == "constant"


def test_tenants_share_one_base_or_have_a_model_each():
    table = tenant_bytes(100, 10, [1, 50]).set_index("tenants")
    assert (table.models[50], table.adapters[50], table.ratio[50]) == (5000, 600, 6.0)


@pytest.mark.parametrize(("kind", "length"), [("full", 9), ("sliding window", 9), ("sliding window", 40)])
def test_multiplications_are_those_of_the_pairs_that_are_looked_at(kind, length):
    pairs = sum(1 for i in range(length) for j in range(i + 1) if kind == "full" or i - j < SMALL.window)
    assert attention_macs(kind, length, SMALL) == pairs * 2 * SMALL.heads * SMALL.head_dim


def test_a_cache_grows_with_the_key_value_heads_and_stops_at_the_window():
    per_token = {kind: cache_bytes(kind, 1001, SMALL) - cache_bytes(kind, 1000, SMALL) for kind in ATTENTIONS}
    assert per_token["full"] == 2 * 4 * 8 * 4
    assert per_token["full"] == 2 * per_token["grouped-query"] == 4 * per_token["multi-query"]
    assert per_token["sliding window"] == per_token["linear"] == 0


def test_choices_and_the_formulas_of_pages_import_no_torch():
    code = ("import sys; from helpers.efficient_architectures import options, fit_exponents, cheapest_within; "
            "print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("wrong", [
    lambda: require_steps(["rung"]),
    lambda: cheapest_within([]),
    lambda: tenant_bytes(100, 10, [0]),
    lambda: Shape(heads=3, kv_heads=2),
    lambda: working_bytes("linear", 64, SMALL),
])
def test_what_cannot_be_used_is_said_in_a_sentence(wrong):
    with pytest.raises(InputError, match=r"\.$"):
        wrong()
