"""Agreement is scikit-learn's, errors are counted by class, and a label is paid for as its price says."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset
from faulty_server import USAGE, send
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from tiny_features import blobs
from tiny_gguf import tiny_llm

from helpers.data_efficiency import annotate, cohens_kappa, errors_by_class
from helpers.data_efficiency.language_model import annotators
from helpers.data_efficiency.language_model.annotators import simulated_annotator
from helpers.lab import Cancelled, InputError, Task, endpoint, prompted, tfidf_baseline
from helpers.lab.money.costs import api_prices
from helpers.lab.progress import Progress

TEXTS = ["where is my parcel", "refund the amount", "the parcel is late", "money back please"] * 6


@pytest.fixture(scope="module")
def task():
    rows = Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, 1] * 6})
    return Task("mail", rows, rows.select(range(2)), rows.select(range(4)), ("parcel", "money"), "a test")


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
def test_kappa_is_that_of_scikit_learn_and_of_the_known_error_rate(rate):
    data = blobs(4, rows=250)
    given = simulated_annotator(data, 1 - rate, 0.0).labels
    kappa, low, high = cohens_kappa(data.train_y, given)
    assert kappa == pytest.approx(cohen_kappa_score(data.train_y, given))
    # Four classes alike in size: by chance a quarter agrees.
    assert kappa == pytest.approx((1 - rate - 0.25) / 0.75, abs=0.01)
    assert low <= kappa <= high


def test_the_interval_of_kappa_covers_the_true_one_as_often_as_it_says():
    rng, covered, true = np.random.default_rng(0), 0, (0.7 - 0.5) / 0.5
    for _ in range(100):
        people = rng.integers(0, 2, 200)
        model = np.where(rng.random(200) < 0.7, people, 1 - people)
        _, low, high = cohens_kappa(people, model)
        covered += low <= true <= high
    assert 88 <= covered <= 100  # 95 expected; fewer than 88 come by in less than 1 of 200 such tests


def test_two_who_give_one_label_to_everything_say_nothing():
    assert np.isnan(cohens_kappa([1, 1, 1], [1, 1, 1])).all()
    assert cohens_kappa([0, 1, 0, 1], [0, 0, 0, 0])[0] == 0


def test_errors_by_class_are_those_of_the_confusion_matrix():
    rng = np.random.default_rng(0)
    people, model = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    matrix = confusion_matrix(people, model)
    result = errors_by_class(people, model, ["a", "b", "c"]).set_index("label")
    for number, name in enumerate("abc"):
        assert result.loc[name, "right"] == pytest.approx(matrix[number, number] / matrix[number].sum())
        others = np.delete(matrix[number], number)
        assert matrix[number, "abc".index(result.loc[name, "taken_for"])] == others.max()
    assert result["right"].is_monotonic_increasing


def test_any_model_labels_at_the_price_of_its_seconds(task, monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(annotators, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(annotators, "usable_cores", lambda: 2)
    model = tfidf_baseline(task)
    given = annotate(model, TEXTS[:20])
    assert (given.labels == model.predict(TEXTS[:20]).argmax(1)).all()
    assert (given.confidence > 0.5).all()
    # 2 seconds of 2 cores of AWS m6i.large: $0.096 an hour for 2.
    assert given.usd_per_label == pytest.approx(2 * 0.096 / 3600 / 20)


def test_a_language_model_labels_at_the_price_of_its_tokens(task):
    price, llm = api_prices()["OpenAI gpt-4o-mini"], tiny_llm()
    model = prompted(llm, task, select="none")
    given = annotate(model, TEXTS[:2], price)
    read = [len(llm.read(model.prompt(text))) for text in TEXTS[:2]]
    written = max(len(llm.encode([word])[0]) for word in model.words) + 1
    by_hand = (0.15 * np.mean(read) + 0.60 * written) / 1e6
    assert given.usd_per_label == pytest.approx(by_hand, rel=0.4)  # the template's own tokens are estimated
    assert given.labels.shape == (2,)
    assert given.confidence.dtype == np.float64  # in float32 many would tie at 1


@pytest.fixture
def by_endpoint(faulty, task):
    """A model behind a server that finds parcels where the text has the word, and shows half a label at a time."""
    def likeliest(handler):
        *_, last = messages = faulty.seen[-1][2]["messages"]
        text = next(part for part in messages[::-1] if part["role"] == "user")["content"].rpartition("Text:")[2]
        first = {"par": -0.1, "mon": -3.0} if "parcel" in text else {"par": -3.0, "mon": -0.1}
        top = {"par": {"cel": -0.1}, "mon": {"ey": -0.1}}[last["content"]] if last["role"] == "assistant" else first
        shown = {"content": [{"top_logprobs": [{"token": one, "logprob": value} for one, value in top.items()]}]}
        choice = {"message": {"content": ""}, "finish_reason": "length", "logprobs": shown}
        body = {"choices": [choice], "usage": USAGE}
        send(handler, 200, json.dumps(body).encode(), content_type="application/json")

    faulty.script = [likeliest]
    return prompted(endpoint(faulty.url, model="small", at_once=1), task, select="none")


def test_an_endpoint_labels_at_the_price_of_all_that_its_server_counts(faulty, by_endpoint):
    before, price = len(faulty.seen), api_prices()["OpenAI gpt-4o-mini"]
    given = annotate(by_endpoint, TEXTS[:4], price)
    assert given.labels.tolist() == [0, 1, 0, 1]
    asked = len(faulty.seen) - before
    assert asked == 4 * 3  # of each text the first half of a label, and the second half of either
    # $0.15 a million tokens read, $0.60 written.
    by_hand = asked * (0.15 * USAGE["prompt_tokens"] + 0.60 * USAGE["completion_tokens"]) / 1e6
    assert given.usd_per_label == pytest.approx(by_hand / 4)


def test_an_endpoint_without_a_price_is_refused_before_it_is_asked(faulty, by_endpoint):
    before = len(faulty.seen)
    with pytest.raises(InputError, match="give the price of its tokens"):
        annotate(by_endpoint, TEXTS[:4])
    assert len(faulty.seen) == before


def test_a_language_model_is_cancelled_between_two_texts(faulty, by_endpoint):
    before = len(faulty.seen)
    wanted = Progress(cancelled=lambda: len(faulty.seen) > before)
    with pytest.raises(Cancelled):
        annotate(by_endpoint, TEXTS[:8], api_prices()["OpenAI gpt-4o-mini"], progress=wanted)
    assert len(faulty.seen) - before <= 3  # one text's


def test_what_cannot_be_annotated_is_refused_and_a_wish_to_end_is_heard(task):
    model = tfidf_baseline(task)
    with pytest.raises(Cancelled):
        annotate(model, TEXTS, progress=Progress(cancelled=lambda: True))
    for wrong in (lambda: annotate(model, []), lambda: annotate(model, TEXTS, api_prices()["OpenAI gpt-4o-mini"]),
                  lambda: simulated_annotator(blobs(), 0.05, 0.0), lambda: cohens_kappa([0, 1], [0]),
                  lambda: errors_by_class([], [], ["a"])):
        with pytest.raises(InputError, match=r"\."):
            wrong()
