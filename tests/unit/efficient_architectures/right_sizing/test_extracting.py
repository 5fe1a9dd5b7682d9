"""The ladder on extraction: each rung answers; quality, joules and dollars are what its answers and times say."""

import dataclasses
import time

import numpy as np
import pytest
from tiny_gguf import tiny_gguf, tiny_llm

from helpers.efficient_architectures import (
    RequestTokens,
    compare_rungs,
    extraction_rungs,
    score_rungs,
    times_the_work,
)
from helpers.lab import Cancelled, InputError, offer
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.extraction.scores import score_extractions
from helpers.lab.language.gguf import in_weight_type
from helpers.lab.measuring.intervals import paired_difference
from helpers.lab.progress import Progress, silent


class Scripted(Extractor):
    """Gives the right extraction of some messages, nothing of the others, after so many passes of plain work."""

    kind = "scripted"

    def __init__(self, name, answers, right, work):
        super().__init__(name, ["order", "product"], {})
        self.answers = {text: result if good else {} for (text, result), good in zip(answers, right, strict=True)}
        self.work = work

    def extract(self, texts, *, progress=None):
        progress.check()
        for _ in range(self.work):
            sum(range(20_000))
        return [self.answers[text] for text in texts]

    def _save(self, path):
        return {}


def made_up(task):
    answers = list(zip(task.test["text"][:], extractions(task, "test"), strict=True))
    place = np.arange(len(answers))
    return [Scripted("specialist", answers, place % 4 > 0, 1), Scripted("general", answers, place % 2 > 0, 40),
            Scripted("mute", answers, np.zeros(len(answers), bool), 1)]


@pytest.fixture
def scripted(things_task):
    return made_up(things_task)


@pytest.fixture(scope="module")
def compared(things_task):
    """Three extractors, and the table of them."""
    extractors = made_up(things_task)
    return extractors, measured(extractors, things_task)


@pytest.fixture(scope="module")
def rungs(things_task, narrow_encoder):
    """The language model has random weights: it keeps to the form, and its examples change what it says."""
    return extraction_rungs(things_task, ["tagger", "patterns", "instruction", "nearest examples"],
                            llm=in_weight_type(tiny_gguf(), "F16"), encoder=narrow_encoder, tagger_epochs=1)


def measured(extractors, task, **options):
    scores = score_rungs(extractors, task)
    return compare_rungs([one.name for one in extractors], extractors, scores, task.test["text"][:20],
                         **{"rounds": 3} | options)


def test_a_rung_s_row_says_what_its_answers_say(compared, things_task):
    scripted, rows = compared
    expected = extractions(things_task, "test")
    truth = [np.array([one.answers[text] == result for text, result in zip(things_task.test["text"][:], expected,
                                                                         strict=True)]) for one in scripted]
    np.testing.assert_allclose(rows["resolved"], [one.mean() for one in truth])
    exact = [[one.get(field) == result.get(field) for one, result in zip(scripted[2].extract(
        things_task.test["text"][:], progress=silent), expected, strict=True)] for field in ("order", "product")]
    assert rows["field"][2] == pytest.approx(np.mean(exact))  # only absences
    assert (rows["delta"][1], rows["low"][1], rows["high"][1]) == paired_difference(truth[0], truth[1])
    assert rows.loc[0, ["delta", "low", "high"]].tolist() == [0, 0, 0]
    assert not rows["significant"][0]  # it is compared with itself
    assert rows["significant"][2]
    by_hand = offer("AWS m6i.large").on_demand_usd_hour / 3600 * 1e6
    np.testing.assert_allclose(rows["usd_per_million"], by_hand * rows["request_s"], rtol=1e-6)
    np.testing.assert_allclose(rows["usd_per_million_resolved"][:2], (rows["usd_per_million"] / rows["resolved"])[:2])


def test_work_is_what_costs_energy_and_who_resolves_nothing_has_no_price_of_it(compared):
    _, rows = compared
    assert rows["energy"][0] == 1.0
    assert rows["energy_low"][1] <= rows["energy"][1] <= rows["energy_high"][1]
    assert rows["energy"][1] > 5  # forty times the work
    assert rows["joules_low"][1] < rows["joules"][1] < rows["joules_high"][1]
    assert np.isnan(rows["usd_per_million_resolved"][2])
    assert np.isnan(rows["joules_per_resolved"][2])


def test_each_rung_answers(rungs, things_task):
    assert [one.kind for one in rungs] == ["tagger", "patterns", "prompted", "prompted"]
    assert [one.settings.get("select") for one in rungs[2:]] == ["none", "nearest"]
    scores = score_rungs(rungs, things_task, "validation", 4)
    assert scores[2]["valid JSON"] in np.arange(5) / 4
    assert scores[1]["order"] == 1.0  # HB-0123 is what the pattern looks for
    plain = score_extractions(rungs[1].extract(things_task.validation["text"][:4]),
                              extractions(things_task, "validation")[:4], ["order", "product"])
    assert plain["message"] == scores[1]["message"]


def test_the_work_on_paper_is_parameters_times_tokens_over_the_specialist_s_products(rungs):
    tagger, _, general, _ = rungs
    parameters = sum(parameter.numel() for parameter in tiny_llm().module.parameters())  # tied ones once
    assert times_the_work(tagger, general, RequestTokens(100, 20)) == pytest.approx(
        120 * parameters / tagger.model.card.macs)


def test_no_message_is_timed_twice(scripted, things_task):
    """A cache of prefixes would know it: what is paid for in traffic would be free in the timing."""
    asked, slow = [], scripted[1]
    extract = slow.extract
    slow.extract = lambda texts, *, progress=None: asked.append(texts) or time.sleep(0.25) or extract(
        texts, progress=progress)
    measured([slow], things_task, rounds=4)
    timed = asked[1:][:4 + 2]  # first come the scores, last is the energy
    assert [len(texts) for texts in timed] == [20 // 6] * 6
    assert len({text for texts in timed for text in texts}) == 6 * (20 // 6)


@pytest.mark.slow
def test_a_tuned_rung_is_trained_once_and_answers_the_same_from_its_file(things_task, fresh_home):
    few = dataclasses.replace(things_task, test=things_task.test.select(range(3)))
    source, reports = in_weight_type(tiny_gguf(), "F16"), []

    def tuned():
        progress = Progress(lambda fraction, message: reports.append(message))
        return extraction_rungs(few, ["tuned"], llm=source, tuned_rows=16, progress=progress)[0]
    first = tuned().extract(few.test["text"][:])
    assert any(message.startswith("tuning: step") for message in reports)
    reports.clear()
    assert tuned().extract(few.test["text"][:]) == first
    assert not any(message.startswith("tuning") for message in reports)


def test_what_cannot_be_used_is_said_in_a_sentence(scripted, things_task, tiny_task):
    scores = score_rungs(scripted, things_task)
    for wrong in (lambda: extraction_rungs(things_task, ["taller"]), lambda: extraction_rungs(things_task, []),
                  lambda: extraction_rungs(tiny_task, ["patterns"]),
                  lambda: compare_rungs(["one"], scripted, scores, ["text"]),
                  lambda: compare_rungs(["one"], scripted[:1], scores[:1], [])):
        with pytest.raises(InputError, match=r"\.$"):
            wrong()


def test_cancelling_ends_the_timing(scripted, things_task):
    scores, asked = score_rungs(scripted, things_task), []

    def wants_an_end():
        asked.append(1)
        return len(asked) > 12
    with pytest.raises(Cancelled):
        compare_rungs(["a", "b", "c"], scripted, scores, things_task.test["text"][:7],
                      progress=Progress(cancelled=wants_an_end))
