"""Extractors side by side: quality as scored by hand, and speed and latency as the seconds that they sleep say."""

import time

import numpy as np
import pytest
from tiny_messages import things

from helpers.lab import Cancelled, InputError, Measurement, Served, compare_extractors
from helpers.lab.data.extraction import extractions, field_names
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.patterns import learn_patterns
from helpers.lab.extraction.scores import MESSAGE, score_extractions
from helpers.lab.progress import Progress

CALL_S, MESSAGE_S = 0.02, 0.002


class Slow(Extractor):
    """Finds all, and takes so long a call and so long a message; it keeps what it was asked."""

    kind = "slow"

    def __init__(self, task) -> None:
        super().__init__("slow", field_names(task), {})
        self.known = dict(zip(task.test["text"][:], extractions(task, "test"), strict=True))
        self.calls = []

    def extract(self, texts, *, progress=None):
        time.sleep(CALL_S + MESSAGE_S * len(texts))
        self.calls.append(list(texts))
        return [self.known[text] for text in texts]

    def _save(self, path):
        return {}


@pytest.fixture(scope="module")
def compared():
    """(task, the extractors, their records): one message at a time, four, and patterns, which know less."""
    task = things()
    alone, four, patterns = Slow(task), Slow(task), learn_patterns(task)
    records = compare_extractors([
        Served("one by one", "2", alone), Served("four", "3", four, at_once=4, steps=({"step": "batch"},)),
        Served("patterns", "2", patterns, parameters=7, made_in_s=1.5)], task, rows=10, timed=2, rounds=3)
    return task, (alone, four, patterns), records.measurements


def test_quality_is_that_of_the_messages_and_of_finding_nothing(compared):
    task, (_, _, patterns), (alone, four, last) = compared
    wanted = extractions(task, "test")[:10]
    right = score_extractions(patterns.extract(task.test["text"][:10]), wanted, field_names(task)).right[MESSAGE]
    assert (alone.accuracy, four.accuracy, last.accuracy) == (1, 1, right.mean())
    assert alone.majority == np.mean([not {name for name in one if name != "wish"} for one in wanted])
    assert (alone.accuracy_delta_low, alone.accuracy_delta, alone.accuracy_delta_high) == (0, 0, 0)
    assert last.accuracy_delta == pytest.approx(last.accuracy - 1)
    assert alone.macro_f1 == 1


def test_requests_that_are_answered_together_wait_for_each_other_and_more_are_answered(compared):
    _, _, (alone, four, _) = compared
    one, company = CALL_S + MESSAGE_S, CALL_S + 4 * MESSAGE_S
    assert alone.p50_ms == pytest.approx(1000 * one, rel=0.3)
    assert four.p50_ms == pytest.approx(1000 * company, rel=0.3)
    assert four.speedup == pytest.approx(4 * one / company, rel=0.3)
    assert four.speedup_low <= four.speedup <= four.speedup_high
    assert four.throughput_per_s == pytest.approx(4 / company, rel=0.3)
    assert (alone.settings["slots"], four.settings["slots"]) == (1, 4)
    assert four.settings["steps"] == [{"step": "batch"}]


def test_what_is_timed_was_not_read_before(compared):
    _, (alone, four, _), _ = compared
    for extractor, calls in ((alone, 3 * (3 + 1)), (four, 2 * (3 + 1))):  # of a round, in three and one to warm up
        timed = [text for call in extractor.calls[1:1 + calls] for text in call]
        assert len(set(timed)) == len(timed)
        assert not set(timed) & set(extractor.calls[0])


def test_an_extractor_that_is_served_in_two_ways_reads_other_messages_in_each():
    both = Slow(things())
    ways = [Served("one by one", "2", both), Served("two", "3", both, at_once=2)]
    compare_extractors(ways, things(), rows=4, timed=1, rounds=2)
    timed = both.calls[2:2 + 3 * (2 + 2)]  # after those for quality: three rounds, each way twice
    ways = [{text for call in timed if len(call) == size for text in call} for size in (1, 2)]
    assert all(ways)
    assert not ways[0] & ways[1]


def test_a_record_is_read_back_as_it_was(compared):
    for record in compared[2]:
        assert Measurement.from_json(record.to_json()) == record
    assert (compared[2][2].parameters, compared[2][2].made_in_s) == (7, 1.5)


def test_what_cannot_be_compared_is_refused():
    task = things()
    one = Served("one", "2", learn_patterns(task))
    with pytest.raises(InputError, match="the same name"):
        compare_extractors([one, one], task)
    with pytest.raises(InputError, match="After 10 messages for quality, 2,807 more are timed"):
        compare_extractors([one], task, rows=10, timed=400, rounds=5)
    with pytest.raises(Cancelled):
        compare_extractors([one], task, rows=4, timed=1, rounds=2, progress=Progress(cancelled=lambda: True))
