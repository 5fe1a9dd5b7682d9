"""The router: who answers what, a promise that holds over many draws of exchangeable rows, and breaks under drift."""

import numpy as np
import pytest

from helpers.efficient_architectures import (
    Router,
    most_lost,
    routable,
    route_drift,
    route_guarantees,
    score_rungs,
    threshold_of,
)
from helpers.efficient_architectures.cascades.routing import Routable
from helpers.lab import InputError
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.scores import score_extractions
from helpers.lab.measuring.intervals import paired_difference
from helpers.lab.models.thresholds import NEVER

ALPHA = 3.0  # points


def population(rng, rows):
    """Messages of four wishes; one in six wishes 'odd', of which the specialist is as sure as it is wrong."""
    sure, odd = rng.uniform(size=rows), rng.uniform(size=rows) < 1 / 6
    specialist = rng.uniform(size=rows) < np.where(odd, 0.4, 0.3 + 0.7 * sure)
    general = rng.uniform(size=rows) < 0.85
    wishes = np.where(odd, "odd", rng.choice(["late", "broken", "refund"], size=rows))
    return Routable(sure, np.stack([specialist, general]), wishes)


def lost(rows, threshold):
    return (rows.lost & (rows.confidence >= threshold)).mean()


@pytest.mark.parametrize("rows", [60, 300])
def test_the_expected_loss_is_within_the_target_over_many_draws_and_not_far_below(rows):
    """The bounds of conformal risk control: the target, and the target less 2 / (n + 1)."""
    rng = np.random.default_rng(0)
    fresh = population(rng, 200_000)
    losses = np.array([lost(fresh, threshold_of(population(rng, rows), ALPHA)) for _ in range(600)])
    error = losses.std() / np.sqrt(len(losses))
    assert losses.mean() <= ALPHA / 100 + 3 * error
    assert losses.mean() >= ALPHA / 100 - 2 / (rows + 1) - 3 * error
    assert losses.max() > ALPHA / 100  # in expectation, not in each draw


def test_the_promise_breaks_when_the_traffic_drifts():
    rng = np.random.default_rng(1)
    held_out, test = population(rng, 1000), population(rng, 50_000)
    threshold = threshold_of(held_out, ALPHA)
    assert most_lost(held_out, threshold) == "odd"
    odd = test.wishes == "odd"
    drift = route_drift(test, [1.0, 50.0], threshold, odd, [float(odd.mean()), 0.5, 1.0])
    assert drift["lost"][0] == pytest.approx(lost(test, threshold))
    assert drift["lost"][0] < ALPHA / 100 + 0.01
    assert drift["lost"][1] > 1.5 * ALPHA / 100
    assert drift["lost"][2] == pytest.approx(lost(Routable(test.confidence[odd], test.right[:, odd], None), threshold))


def test_costs_quality_and_the_better_extractor_are_those_counted_by_hand():
    held_out = Routable(np.linspace(0, 1, 200), np.stack([np.arange(200) >= 50, np.ones(200, bool)]), None)
    test = Routable(np.array([0.9, 0.8, 0.2, 0.1]), np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool), None)
    row = route_guarantees(held_out, test, [1.0, 10.0], [1.0]).iloc[0]
    assert 48 / 199 < row["threshold"] < 49 / 199  # 50 losses below a quarter, of which one may be answered
    assert (row["accuracy"], row["last_accuracy"], row["lost"], row["gained"]) == (0.75, 0.5, 0.0, 0.25)
    assert row["cost"] == pytest.approx((1 + 1 + 11 + 11) / 4)
    assert row["cost_per_resolved"] == pytest.approx(6 / 0.75)
    assert (row["best"], row["best_cost_share"]) == ("language model", pytest.approx(0.6))
    assert (row["delta"], row["low"], row["high"]) == paired_difference(test.right[1], np.array([1, 1, 1, 0], bool))
    assert route_guarantees(held_out, test, [1.0, 10.0], [0.1])["threshold"][0] == NEVER  # of 200 rows, no such promise


def test_a_threshold_of_zero_counts_what_is_out_of_scope_as_the_language_model_s():
    """By hand: of three losses in 200 messages 3 points allow all; the messages of confidence 0 still go on."""
    sure, right = np.linspace(0, 1, 200), np.ones((2, 200), bool)
    sure[:20], right[0, :3] = 0.0, False
    held_out = Routable(sure, right, np.array(["out_of_scope"] * 20 + ["late"] * 180))
    row = route_guarantees(held_out, held_out, [1.0, 10.0], [3.0]).iloc[0]
    assert row["threshold"] == 0
    assert (row["escalated"], row["lost"], row["cost"]) == pytest.approx((0.1, 0.0, 1 + 0.1 * 10))
    assert most_lost(held_out, 0.0) is None


class Oracle(Extractor):
    """Right on every message of a task; it counts what it is asked."""

    kind = "oracle"

    def __init__(self, task):
        super().__init__("oracle", ["order", "product"], {})
        self.answers = dict(zip(task.test["text"][:], extractions(task, "test"), strict=True))
        self.asked = []

    def extract(self, texts, *, progress=None):
        self.asked += texts
        return [self.answers[text] for text in texts]

    def _save(self, path):
        return {}


@pytest.fixture(scope="module")
def tagger(things_task, narrow_encoder):
    from helpers.lab.extraction.tagging.tag_training import train_tagger

    return train_tagger(things_task, encoder=narrow_encoder, epochs=20)


def test_the_router_does_what_its_figures_say(tagger, things_task):
    oracle, texts = Oracle(things_task), things_task.test["text"][:]
    test = routable(tagger, score_rungs([oracle], things_task)[0], things_task, "test")
    threshold = float(np.median(test.confidence))
    oracle.asked.clear()
    router = Router(tagger, oracle, threshold)
    result = router.extract(texts)
    assert oracle.asked == [text for text, sure in zip(texts, test.confidence, strict=True) if sure < threshold]
    assert 0 < len(oracle.asked) < len(texts)
    expected = extractions(things_task, "test")
    resolved = score_extractions(result, expected, ["order", "product"]).right["message and wish"]
    assert test.routed(threshold).tolist() == resolved.tolist()


class Reader:
    """Reads each message as it is told to, and is always sure."""

    name = "a reader"

    def __init__(self, wishes):
        self.wishes = wishes

    def extract_with_confidence(self, texts, *, progress=None):
        return [{"wish": self.wishes[text]} for text in texts], np.ones(len(texts))


@pytest.mark.parametrize("threshold", [0.5, 0.0])
def test_what_is_out_of_scope_goes_on_however_sure_the_specialist_is(threshold):
    class Person:
        name = "a person"

        def extract(self, texts, *, progress=None):
            return [{"wish": f"a person has read {text}"} for text in texts]
    router = Router(Reader({"a": "late", "b": "out_of_scope"}), Person(), threshold)
    assert router.extract(["a", "b"]) == [{"wish": "late"}, {"wish": "a person has read b"}]


def test_a_score_of_other_messages_is_refused(tagger, things_task):
    score = score_rungs([Oracle(things_task)], things_task, rows=3)[0]
    with pytest.raises(InputError, match=r"is of 3 messages, and there are 5"):
        routable(tagger, score, things_task, "test", 5)
