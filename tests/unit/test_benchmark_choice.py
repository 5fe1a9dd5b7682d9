"""What benchmarks take to the test rows, what holds there, the front beside peers, and how figures are printed."""

import math
import random

import numpy as np
import pytest

from benchmarks.common import (
    PAR,
    Learner,
    Point,
    at_least,
    at_most,
    beside,
    distance,
    finish,
    front_rows,
    p95,
    points,
    shown,
)
from benchmarks.model_optimization import Effort, budgets, nearest
from benchmarks.quantization import chosen, rows_of
from helpers.lab import Comparison
from helpers.model_optimization.pipelines.searching import Abandoned, SearchResult

ONE, SHORT, STAGED = [{"step": "prune"}], [{"step": "distill"}], [{"step": "distill"}, {"step": "cascade"}]


@pytest.fixture
def found(new_measurement) -> SearchResult:
    """Two single models, 16 and 20 times cheaper, and two pipelines with a first stage that were given up."""
    records = (new_measurement(model="one", speedup=16.0, settings={"steps": ONE}),
               new_measurement(model="short", speedup=20.0, settings={"steps": SHORT}))
    worse = Abandoned(({"step": "prune"}, {"step": "cascade"}), 0.40, 1)
    return SearchResult(0.9, records, (), (worse, Abandoned(tuple(STAGED), 0.45, 1)))


@pytest.mark.parametrize(("cheaper", "steps"), [(15, ONE), (18, SHORT), (40, SHORT)])
def test_the_nearest_of_those_cheap_enough_else_the_cheapest(found, cheaper, steps):
    assert nearest(found, {"one": 0.1, "short": 0.2}, staged=False, cheaper=cheaper) == steps


def test_where_all_were_given_up_the_most_accurate_of_them_goes_to_the_test_rows(found):
    assert nearest(found, {"one": 0.1, "short": 0.2}, staged=True, cheaper=40) == STAGED


def test_no_figure_has_an_exponent(capsys):
    finish([shown("rows", 123_456.0, "rows/s", 0.00001234, 20_000), shown("none", None, "")], None)
    said = capsys.readouterr().out
    assert "123500 (0.00001234 to 20000) rows/s" in said
    assert "none" in said


@pytest.mark.parametrize(("value", "low", "high", "more", "less"), [
    (2.0, None, None, True, True), (2.1, 1.9, 2.3, False, False), (2.5, 2.0, 3.0, True, False),
    (1.5, 1.0, 2.0, False, True), (2.0, math.nan, math.nan, False, False)])
def test_a_figure_holds_at_the_worse_end_of_its_interval(value, low, high, more, less):
    assert at_least("a figure", value, 2.0, "x", low, high).holds is more
    assert at_most("a figure", value, 2.0, "x", low, high).holds is less


def test_nothing_holds_of_a_model_no_better_than_the_most_frequent_label(new_measurement):
    constant = new_measurement(accuracy=0.75, accuracy_low=0.69, majority=0.7)
    for of, holds in ((constant, False), (Learner(0.71, 0.7), True), (Learner(math.nan, 0.7), False), (None, True)):
        assert at_least("speed", 9.0, 2.0, "x", of=of).holds is holds
        assert at_most("size", 0.1, 0.5, "", of=of).holds is holds
    assert "majority" in at_least("speed", 9.0, 2.0, "x", of=constant).target
    assert points([constant, new_measurement(majority=0.5)]) == [Point("tiny", 0.8, 0.5)]


@pytest.mark.parametrize(("ratio", "low", "high", "said", "holds"), [
    (0.93, 0.91, 0.96, "behind", False), (0.97, 0.93, 1.01, "no significant difference", False),
    (1.2, 1.1, 1.3, "ahead", True)])
def test_a_ratio_to_a_peer_is_called_what_it_is(ratio, low, high, said, holds):
    row = beside("texts a second", "X", ratio, low, high)
    assert (row.unit, row.holds, row.target) == (f"of X: {said}", holds, f">= {PAR:g}")


def test_the_front_is_what_all_pairs_say():
    rng = random.Random(0)
    for _ in range(200):
        ours, peers = ([Point(f"{side}{number}", rng.randint(1, 5) / 5, rng.randint(1, 5))
                        for number in range(rng.randint(0, 5))] for side in "op")
        rows = front_rows(ours, peers, "$")
        for peer, row in zip(peers, rows, strict=True):
            costs = [mine.cost for mine in ours if mine.quality >= peer.quality]
            assert row.holds == any(cost <= peer.cost for cost in costs)
            assert row.value == (min(costs) / peer.cost if costs else None)
            assert ("all of ours are worse" in row.name) == (not costs)


@pytest.mark.parametrize(("value", "low", "high"), [(1.9, 1.7, 2.2), (2.5, 2.4, 2.9), (1.0, 0.8, 1.5), (2.0, 1.9, 2.6)])
def test_a_distance_has_the_least_and_the_most_of_its_interval(value, low, high):
    far = np.abs(np.linspace(low, high, 10_001) - 2.0)
    assert distance(value, low, high, 2.0) == pytest.approx((abs(value - 2.0), far.min(), far.max()), abs=1e-4)


def test_the_95th_percentile_is_the_smallest_value_that_95_percent_do_not_exceed():
    values = random.Random(1).sample(range(1000), 40)
    value, low, high = p95([float(one) for one in values])
    assert value == next(one for one in sorted(values) if sum(other <= one for other in values) >= 0.95 * 40)
    assert low <= value <= high


@pytest.fixture
def quantized(new_measurement) -> Comparison:
    """The reference, a lossy int8, two good ones, and a faster model that is no int8."""
    figures = [("fp32", 1.0, 0.0), ("int8 lossy", 4.0, -0.05), ("int8", 2.0, -0.008), ("int8 fast", 3.0, 0.0),
               ("bf16", 9.0, 0.0)]
    return Comparison(tuple(
        new_measurement(model=name, accuracy=0.8 + delta, accuracy_delta=delta, accuracy_delta_low=delta - 0.005,
                        accuracy_delta_high=delta + 0.005, throughput_per_s=100 * speed, speedup=speed,
                        speedup_low=0.9 * speed, speedup_high=1.1 * speed, majority=0.2)
        for name, speed, delta in figures))


def test_the_int8_that_is_told_was_chosen_on_other_rows(quantized):
    assert chosen(quantized).model == "int8 fast"
    assert chosen(Comparison(quantized.measurements[:2])).model == "int8 lossy"


def test_a_lossy_int8_is_not_told_as_good(quantized):
    result = {row.name: row.holds for row in rows_of(quantized, quantized.measurements[1], (0.0, 0.1))}
    assert result["int8 chosen on validation rows: accuracy lost, relative"] is False
    assert result["int8 chosen on validation rows (int8 lossy): throughput"] is True


def test_peers_that_learn_from_the_teacher_get_our_rows_and_epochs(tiny_task):
    for effort in map(Effort.of, (True, False)):
        given = {budget.name: budget for budget in budgets(tiny_task, effort)}
        ours = given["ours: structured pruning"]
        assert ours.rows == len(tiny_task.train) * (1 + effort.augmented)
        for peer in (one for name, one in given.items() if "Torch-Pruning" in name):
            assert (peer.rows, peer.epochs, peer.teacher) == (ours.rows, ours.epochs, ours.teacher)
        assert given["model2vec's recipe, with the teacher's answers"].rows == given["ours: static student"].rows
