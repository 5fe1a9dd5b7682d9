"""The yardstick: what its patterns match, which values it lists, and that it comes back as it was saved."""

import pandas as pd
import pytest

from helpers.lab import InputError, load_task
from helpers.lab.extraction.patterns import PatternExtractor, learn_patterns
from helpers.lab.extraction.saved import load_extractor
from helpers.lab.models.sklearn import tfidf_baseline

TRAIN = [("Where is my hub, HB-52347?", "late", {"order": "HB-52347", "product": "hub"}),
         ("My front door camera broke on 3 May", "broken", {"product": "front door camera", "date": "3 May"}),
         ("the app is slow and the camera broke", "broken", {"product": "camera"}),
         ("the app, where is it", "late", {"product": "app"}), ("the app is late", "late", {}), ("app?", "late", {})]


@pytest.fixture(scope="module")
def task():
    rows = [(f"{text} {'!' * copy}", label, fields) for copy in range(6) for text, label, fields in TRAIN]
    return load_task(pd.DataFrame(rows, columns=["text", "label", "fields"]), fields="fields")


@pytest.fixture(scope="module")
def patterns(task):
    return PatternExtractor(("order", "amount", "date"), {}, tfidf_baseline(task))


def match(patterns, field, text):
    [result] = patterns.extract([text])
    return result.get(field)


@pytest.mark.parametrize("number", ["SO100914", "88-127850", "1055402", "HB-50311", "PO 2318-C", "6-11873", "P6R8A2",
                                    "INV-20771", "DK-4418", "330871"])
def test_order_numbers_are_matched_whole(patterns, number):
    assert match(patterns, "order", f"Kindly stop {number}, thanks. Tel. 555-0138, 3 May 2024") == number


@pytest.mark.parametrize("text", ["call 555-0138", "from 2022 to 2024", "a 12 V adapter", "me@hub123456.example.org",
                                  "$1,310 and 300 km"])
def test_other_numbers_are_no_orders(patterns, text):
    assert match(patterns, "order", text) is None


@pytest.mark.parametrize(("text", "amount"), [
    ("give back €189 please", "€189"), ("a refund of 8.450 TL was", "8.450 TL"), ("sum of 1.249 kr.", "1.249 kr"),
    ("the 11,90 that's open", "11,90"), ("129 bucks thanks", "129 bucks"), ("(3,900 rupees)", "3,900 rupees"),
    ("for $1,310, twice", "$1,310"), ("I paid 240 € in cash", "240 €"), ("Rs 3,299", "Rs 3,299")])
def test_sums_of_money_are_matched_with_their_currency(patterns, text, amount):
    assert match(patterns, "amount", text) == amount


@pytest.mark.parametrize("text", ["since 3.5.2024", "46 thermostats", "version 2.4.1", "at 90 degrees"])
def test_other_numbers_are_no_sums(patterns, text):
    assert match(patterns, "amount", text) is None


@pytest.mark.parametrize(("text", "date"), [
    ("on the 15th at the latest", "the 15th"), ("since 28.9. nothing", "28.9."), ("parcel back since 30/10", "30/10"),
    ("ordered on March 30, still", "March 30"), ("no movement since 12 dec", "12 dec"),
    ("on the 4th of July", "the 4th of July"), ("last Tuesday", "last Tuesday"), ("from Friday on", "Friday"),
    ("Dec 19, 2025", "Dec 19, 2025"), ("il 9 maggio.", "9 maggio")])
def test_days_are_matched(patterns, text, date):
    assert match(patterns, "date", text) == date


@pytest.mark.parametrize("text", ["24/7 support", "you may 'stop'", "the monkey sat", "2 hubs, 3 sensors"])
def test_what_is_no_day_is_not_matched(patterns, text):
    assert match(patterns, "date", text) is None


def test_values_are_listed_that_are_the_fields_wherever_they_stand(task):
    """The app is a product in one of four messages that name it: it is not listed. The longer name goes first."""
    extractor = learn_patterns(task)
    assert extractor.lists == {"product": ["camera", "front door camera", "hub"]}
    result = extractor.extract(["the front door  camera broke", "app and HUB late", "hubcap"])
    assert [one.get("product") for one in result] == ["front door  camera", "HUB", None]
    assert [one["wish"] for one in result[:2]] == ["broken", "late"]


def test_it_comes_back_as_it_was_saved(task, tmp_path):
    extractor, texts = learn_patterns(task), task.test["text"][:]
    extractor.save(tmp_path)
    again = load_extractor(tmp_path)
    assert again.extract(texts) == extractor.extract(texts)
    assert (again.name, again.fields, again.settings) == (extractor.name, extractor.fields, extractor.settings)
    assert extractor.stored == sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert extractor.extract([]) == []


def test_a_folder_without_a_whole_extractor_is_refused(task, tmp_path):
    with pytest.raises(InputError, match="holds no whole extractor"):
        load_extractor(tmp_path)
    learn_patterns(task).save(tmp_path)
    (tmp_path / "wish" / "weights.npz").unlink()
    with pytest.raises(InputError, match="damaged or incomplete"):
        load_extractor(tmp_path)
