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
    return CumulativeGains(steps, Comparison(tuple(records)), tokenizing_s, 0.0)


def test_on_paper_tokenizing_does_not_multiply(new_measurement):
    """10 ms: 2 to tokenize and 8 to compute. A and B halve the 8: 6 ms each, together 2 + 2 ms."""
    result = make_gains(new_measurement, {"tiny": 100, "A": 1000 / 6, "A, B": 250, "B": 1000 / 6}, 0.002)
    assert result.product == pytest.approx((10 / 6) ** 2)
    assert result.paper == pytest.approx(2.5)
    assert result.combined == pytest.approx(2.5)
    assert result.explanation() == (
        "Alone, the steps' gains multiply to 2.8x; together they give 2.5x. Tokenizing takes 2 ms per text "
        "whatever the encoder: taking that into account, 2.5x is to be expected. "
        "Each step gains about what it gains alone.")


def with_a_first_stage(new_measurement, alone_ms: float, escalated: tuple[float, float], first_s: float):
    """The first model takes 10 ms and A 5; B is a stage before the one or the other, which passes these on."""
    records = [new_measurement(model=name, throughput_per_s=1000 / ms, speedup=10 / ms, settings={"escalated": share})
               for name, ms, share in (("tiny", 10, 0.0), ("A", 5, 0.0), ("A, B", 3.6, escalated[1]),
                                       ("B", alone_ms, escalated[0]))]
    steps = ({"step": "prune", "name": "A"}, {"step": "cascade", "name": "B"})
    return CumulativeGains(steps, Comparison(tuple(records)), 0.0, first_s)


def test_on_paper_a_first_stage_saves_what_the_second_costs(new_measurement):
    """A stage of 1 ms that escalates half: alone 1 + 5 = 6 ms; after A 1 + 2.5 = 3.5 ms."""
    result = with_a_first_stage(new_measurement, 6, (0.5, 0.5), 0.001)
    assert result.paper == pytest.approx(10 / 3.5)
    assert result.product == pytest.approx(10 / 5 * 10 / 6)
    assert ("a first stage, which takes 1 ms, saves less where the second is already cheap: taking"
            in result.explanation())


def test_on_paper_long_rows_that_go_on_are_no_time_of_the_first_stage(new_measurement):
    """A fifth of the rows holds two fifths of the work: 4 of 10 ms alone, 2 of 5 ms after A; a tenth, 1 ms."""
    assert with_a_first_stage(new_measurement, 4, (0.2, 0.2), 0.0).paper == pytest.approx(10 / 2)
    assert with_a_first_stage(new_measurement, 4, (0.2, 0.1), 0.0).paper == pytest.approx(10 / 1)


def test_a_first_stage_is_timed_itself(tiny_model, tiny_task, fresh_home):
    stage = {"step": "cascade", "first": "tfidf", "max_errors": 50.0}
    result = cumulative_gains(tiny_model, tiny_task, [CUT, stage], rows=8, rounds=2)
    assert 0 < result.first_s < 0.1
    assert cumulative_gains(tiny_model, tiny_task, [CUT], rows=8, rounds=2).first_s == 0


def test_a_step_that_gains_less_after_another_is_named(new_measurement):
    result = make_gains(new_measurement, {"tiny": 100, "A": 200, "A, B": 220, "B": 200}, 0.0)
    assert result.paper == result.product == pytest.approx(4)
    assert result.explanation().endswith("These steps gain less here than alone: B.")
    assert result.waterfall()["gain"].tolist() == [1.0, 2.0, pytest.approx(1.1)]


def test_no_steps_are_refused(tiny_model, tiny_task):
    with pytest.raises(InputError, match="at least one step"):
        cumulative_gains(tiny_model, tiny_task, [])
