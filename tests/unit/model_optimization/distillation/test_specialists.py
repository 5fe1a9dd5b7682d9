"""A teacher's labels and extractions train a specialist: what a good one adds, a bad one takes, and what it costs."""

import copy
import dataclasses

import numpy as np
import pytest
from datasets import Dataset
from faulty_server import USAGE, piece, stream
from tiny_gguf import tiny_llm

from helpers.lab import Cancelled, InputError, baseline, endpoint, load_task, offer, prompted, prompted_extractor
from helpers.lab.data.extraction import extractions
from helpers.lab.extraction.extractor import Extractor
from helpers.lab.machine import usable_cores
from helpers.lab.progress import Progress
from helpers.model_optimization import people_labelled, teach_specialist, teach_tagger
from helpers.model_optimization.distillation.teacher_costs import Teacher, priced

EPOCHS = 40.0


@pytest.fixture(scope="module")
def good(teacher, tiny_task, narrow_encoder):
    """The table of a teacher that has learned the task, beside 9 labels of people and beside all."""
    return teach_specialist(teacher, tiny_task, messages=60, people=(0, 9, None), encoder=narrow_encoder, epochs=EPOCHS)


@pytest.fixture(scope="module")
def bad(teacher, tiny_task, narrow_encoder):
    """That of one whose every answer is the label behind the right one."""
    wrong = copy.copy(teacher)
    wrong.module = copy.deepcopy(teacher.module)
    for part in wrong.module.classifier.parameters():
        part.data = part.data.roll(1, 0)
    return teach_specialist(wrong, tiny_task, messages=60, people=(0,), encoder=narrow_encoder, epochs=EPOCHS)


def test_a_specialist_learns_what_its_teacher_says_right_or_wrong(good, bad):
    assert good["accuracy"][0] > 0.8 > 0.2 > bad["accuracy"][0]
    assert good.iloc[2]["gain"] > 0.1
    assert good.iloc[2]["accuracy"] > bad.iloc[2]["accuracy"]


def test_each_gain_is_that_over_the_same_labels_of_people(good, tiny_task, narrow_encoder):
    labels = np.array(tiny_task.test["label"][:])
    whole = baseline(tiny_task, narrow_encoder, epochs=EPOCHS)
    rows = good.set_index("name")
    alone = rows.loc[f"all {len(tiny_task.train)} labels of people"]
    right = whole.predict(tiny_task.test["text"][:]).argmax(1) == labels
    assert alone["accuracy"] == pytest.approx(right.mean(), abs=0.1)  # trained on the same rows in another order
    assert np.isnan(alone["gain"])
    for people in (9, len(tiny_task.train)):
        without, with_teacher = good[good["people"] == people].sort_values("taught").to_dict("records")
        assert with_teacher["gain"] == pytest.approx(with_teacher["accuracy"] - without["accuracy"])
        assert with_teacher["gain_low"] <= with_teacher["gain"] <= with_teacher["gain_high"]
    constant = np.bincount(labels).max() / len(labels)
    none = good.iloc[2]
    assert rows.loc["the constant answer", "accuracy"] == constant
    assert none["gain"] == pytest.approx(none["accuracy"] - constant)


def test_the_teacher_costs_its_seconds_and_is_repaid_by_what_a_request_saves(good):
    """By hand, of the table's own seconds and dollars; the teacher's rate is that at which it labelled."""
    first = good.iloc[0]
    assert first["teacher_usd"] == pytest.approx(first["usd_per_million"] / 1e6 * first["taught"])
    place = offer(first["offer"])
    usd_per_s = place.on_demand_usd_hour / 3600 * usable_cores() / place.vcpus
    for row in good[good["people"] > 0].to_dict("records"):
        saved = (first["usd_per_million"] - row["usd_per_million"]) / 1e6
        if saved > 0:
            assert row["break_even"] == pytest.approx(row["made_in_s"] * usd_per_s / saved)
        else:
            assert np.isnan(row["break_even"])
    spent = good[good["people"] == 9].set_index("taught")["made_in_s"]
    assert spent[60] > spent[0]


def test_where_no_specialist_is_ever_repaid_there_is_a_column_of_numbers_all_the_same():
    """A slow machine, on which each specialist costs more than its teacher."""
    rows = [{"taught": 10}, {"taught": 0}, {"taught": 10}]
    frame = priced(rows, {1: 1.0, 2: 1.0}, request_s=1e9, teacher=Teacher(["late"] * 10, 1.0, 1e-9))
    assert np.isnan(frame["break_even"]).all()


def test_the_teacher_is_asked_of_messages_that_people_have_not_labelled(teacher, tiny_task, narrow_encoder):
    few = people_labelled(tiny_task, 20)
    assert (len(few.train), len(few.validation)) == (15, 5)
    asked = []

    class Listening:
        card = teacher.card

        def predict(self, texts):
            asked.extend(texts)
            return teacher.predict(texts)

    teach_specialist(Listening(), tiny_task, messages=len(tiny_task.train) - 20, people=(), encoder=narrow_encoder)
    whole = sorted([*asked, *few.train["text"][:], *few.validation["text"][:]])
    assert whole == sorted(tiny_task.train["text"][:])


def test_a_prompted_language_model_may_be_the_teacher(tiny_task, narrow_encoder):
    model = prompted(tiny_llm(), people_labelled(tiny_task, 8), select="none")
    frame = teach_specialist(model, tiny_task, messages=6, people=(0,), encoder=narrow_encoder, epochs=0.1)
    assert frame["taught"].tolist() == [6, 0, 6]
    assert frame["teacher"].unique().tolist() == [model.card.name]
    labels = np.array(tiny_task.train["label"][:])[np.random.default_rng(0).permutation(len(tiny_task.train))[-6:]]
    texts = np.array(tiny_task.train["text"][:])[np.random.default_rng(0).permutation(len(tiny_task.train))[-6:]]
    assert frame["accuracy"][0] == (model.predict(texts.tolist()).argmax(1) == labels).mean()


class FirstWords(Extractor):
    """Finds of each thing its first word only; fails on every tenth message."""

    kind = "first words"

    def __init__(self, task):
        super().__init__("first words", ["product"], {})
        self.known = dict(zip(task.train["text"][:], extractions(task, "train"), strict=True))

    def extract(self, texts, *, progress=None):
        return [None if number % 10 == 9 else {name: value.split()[0] if name == "product" else value
                                               for name, value in self.known[text].items()}
                for number, text in enumerate(texts)]

    def _save(self, path):
        raise NotImplementedError


def test_a_tagger_learns_what_its_teacher_finds(things_task, narrow_encoder):
    """People say 'garden lamp', the teacher 'garden': what learns of it alone misses the things of two words."""
    frame = teach_tagger(FirstWords(things_task), things_task, messages=100, people=(0,), encoder=narrow_encoder,
                         epochs=80).set_index("people")
    teacher, constant, taught = frame.loc[0].to_dict("records")
    assert 0.3 < teacher["accuracy"] < 0.8
    assert constant["accuracy"] == np.mean([set(one) == {"wish"} for one in extractions(things_task, "test")])
    assert taught["gain"] == pytest.approx(taught["accuracy"] - constant["accuracy"])
    assert taught["gain"] > 0.2


def test_what_cannot_be_taught_is_refused(teacher, tiny_task, things_task):
    with pytest.raises(InputError, match="images"):
        teach_specialist(teacher, load_task("digits"))
    with pytest.raises(InputError, match="gives other labels"):
        teach_specialist(teacher, things_task)
    for messages, people in ((0, ()), (10_000, ()), (5, (10_000,))):
        with pytest.raises(InputError, match="the teacher labels at least one"):
            teach_specialist(teacher, tiny_task, messages=messages, people=people)
    with pytest.raises(InputError, match="has no fields"):
        teach_tagger(FirstWords(things_task), tiny_task)
    with pytest.raises(InputError, match="People label 4 to"):
        people_labelled(tiny_task, 3)
    with pytest.raises(Cancelled):
        teach_specialist(teacher, tiny_task, messages=5, people=(), progress=Progress(cancelled=lambda: True))


@pytest.fixture
def hosted(faulty):
    """A language model behind a server that finds nothing, and counts 7 tokens read and 2 written for each answer."""
    faulty.script = [stream(piece("{}", "stop"), {"choices": [], "usage": USAGE})]
    return endpoint(faulty.url, model="hosted")


def test_a_teacher_behind_a_server_is_paid_by_its_tokens(hosted, things_task, narrow_encoder):
    """5 messages at 7 tokens of $10 a million and 2 of $100: $0.00027 each."""
    finder = prompted_extractor(hosted, things_task, select="none")
    finder.extract(["asked before, and on another bill"])
    frame = teach_tagger(finder, things_task, messages=5, people=(0, 9), encoder=narrow_encoder, epochs=1,
                         token_price=(10.0, 100.0))
    first, beside = frame.iloc[0], frame[(frame["people"] == 9) & (frame["taught"] > 0)].iloc[0]
    assert first["teacher_usd"] == pytest.approx(5 * 0.00027)
    assert first["usd_per_million"] == pytest.approx(270)
    place = offer(first["offer"])
    usd_per_s = place.on_demand_usd_hour / 3600 * usable_cores() / place.vcpus
    alone = frame[(frame["people"] == 9) & (frame["taught"] == 0)].iloc[0]
    by_hand = alone["made_in_s"] * usd_per_s / (0.00027 - alone["usd_per_million"] / 1e6)
    assert alone["break_even"] == pytest.approx(by_hand)
    assert beside["break_even"] > 5  # the labels alone are five requests of the teacher's
    assert frame["accuracy"][2] == frame["accuracy"][1]  # whoever is taught nothing finds nothing


def test_a_price_is_named_where_tokens_are_paid_and_only_there(hosted, teacher, tiny_task, things_task):
    finder = prompted_extractor(hosted, things_task, select="none")
    for price, words in ((None, "paid by the token: give token_price"), ((1.0,), "two numbers of dollars"),
                         ((-1.0, 1.0), "two numbers of dollars")):
        with pytest.raises(InputError, match=words):
            teach_tagger(finder, things_task, token_price=price)
    with pytest.raises(InputError, match="is paid by the second: leave token_price out"):
        teach_specialist(teacher, tiny_task, token_price=(1.0, 1.0))


def test_a_teacher_whose_every_find_is_ambiguous_teaches_nothing(things_task, narrow_encoder):
    """Digits that stand twice in a message: nobody can say which of them is meant."""
    twice = things_task.train["text"][0]
    task = dataclasses.replace(things_task, train=Dataset.from_dict({
        "text": [f"{twice} 5 or 5"] * 4, "label": [0] * 4, "fields": ['{"product": "5"}'] * 4}))
    frame = teach_tagger(FirstWords(task), task, messages=2, people=(0,), encoder=narrow_encoder)
    assert frame["accuracy"][2] == frame["accuracy"][1]
    assert frame["break_even"].isna().all()


class WithoutOrders(FirstWords):
    """Never finds an order number."""

    kind = "without orders"

    def extract(self, texts, *, progress=None):
        return [{name: value for name, value in self.known[text].items() if name != "order"} for text in texts]


def test_a_bad_teacher_takes_away_what_people_gave(things_task, narrow_encoder):
    frame = teach_tagger(WithoutOrders(things_task), things_task, messages=80, people=(60,), encoder=narrow_encoder,
                         epochs=100)
    alone, beside = frame.iloc[2:].to_dict("records")
    assert frame["accuracy"][0] < 0.2
    assert beside["gain"] < -0.2
    assert beside["gain_high"] < 0
    assert frame["significant"].tolist() == [False, False, False, True]
    assert beside["gain"] == pytest.approx(beside["accuracy"] - alone["accuracy"])
