"""What each step adds: measured after one another and alone, and expected on paper."""

import pytest
from pipeline_steps import CUT, ZEROS

from helpers.lab import InputError, Ledger
from helpers.lab.measuring.comparison import Comparison
from helpers.model_optimization import cumulative_gains
from helpers.model_optimization.pipelines.cumulative import CumulativeGains
from helpers.model_optimization.pipelines.steps import name_of


def test_a_pipeline_is_measured_after_each_prefix_and_each_step_alone(tiny_model, tiny_task, fresh_home):
    ledger = Ledger()
    result = cumulative_gains(tiny_model, tiny_task, [CUT, ZEROS], rows=8, rounds=2, ledger=ledger)
    assert [m.model for m in result.result.measurements] == ["tiny", *(name_of(s) for s in ([CUT], [CUT, ZEROS],
                                                                                          [ZEROS]))]
    frame = result.waterfall()
    assert len(frame) == 3
    assert frame["gain"].prod() == pytest.approx(result.combined)
    assert frame["alone"].prod() == pytest.approx(result.product)
    assert frame["macs"][0] > frame["macs"][1] == frame["macs"][2]  # zeros save no multiplication
    assert 0 < result.tokenizing_s < 1 / result.reference.throughput_per_s
    assert len(ledger.all()) == 4


def make_gains(new_measurement, throughput: dict, tokenizing_s: float) -> CumulativeGains:
    """Records of two steps, A and B, whose throughputs are given; the reference does 100 a second."""
    records = [new_measurement(model=name, throughput_per_s=rate, speedup=rate / 100)
               for name, rate in throughput.items()]
    steps = ({"step": "prune", "name": "A"}, {"step": "quantize", "name": "B"})
    return CumulativeGains(steps, Comparison(tuple(records)), tokenizing_s)


def test_on_paper_tokenizing_does_not_multiply(new_measurement):
    """10 ms: 2 to tokenize and 8 to compute. A and B halve the 8: 6 ms each, together 2 + 2 ms."""
    result = make_gains(new_measurement, {"tiny": 100, "A": 1000 / 6, "A, B": 250, "B": 1000 / 6}, 0.002)
    assert result.product == pytest.approx((10 / 6) ** 2)
    assert result.paper == pytest.approx(2.5)
    assert result.combined == pytest.approx(2.5)
    assert result.explanation() == (
        "Alone, the steps' gains multiply to 2.8x; together they give 2.5x. Tokenizing takes 2.00 ms per text "
        "whatever the encoder: taking that into account, 2.5x is to be expected. "
        "Each step gains about what it gains alone.")


def test_on_paper_a_first_stage_saves_what_the_second_costs(new_measurement):
    """10 ms. A: 5 ms. A stage of 1 ms that escalates half: alone 1 + 5 = 6 ms; after A 1 + 2.5 = 3.5 ms."""
    records = [new_measurement(model=name, throughput_per_s=1000 / ms, speedup=10 / ms, settings={"escalated": 0.5})
               for name, ms in (("tiny", 10), ("A", 5), ("A, B", 3.6), ("B", 6))]
    steps = ({"step": "prune", "name": "A"}, {"step": "cascade", "name": "B"})
    result = CumulativeGains(steps, Comparison(tuple(records)), 0.0)
    assert result.paper == pytest.approx(10 / 3.5)
    assert result.product == pytest.approx(10 / 5 * 10 / 6)
    assert "a first stage saves less where the second is already cheap: taking" in result.explanation()


def test_a_step_that_gains_less_after_another_is_named(new_measurement):
    result = make_gains(new_measurement, {"tiny": 100, "A": 200, "A, B": 220, "B": 200}, 0.0)
    assert result.paper == result.product == pytest.approx(4)
    assert result.explanation().endswith("These steps gain less here than alone: B.")
    assert result.waterfall()["gain"].tolist() == [1.0, 2.0, pytest.approx(1.1)]


def test_no_steps_are_refused(tiny_model, tiny_task):
    with pytest.raises(InputError, match="at least one step"):
        cumulative_gains(tiny_model, tiny_task, [])
