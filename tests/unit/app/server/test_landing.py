"""The landing page and its files: the library's figures, the reader's numbers kept, what is wrong said."""

import dataclasses
import html
import json
import urllib.parse

import pytest
from served_pages import ask

from helpers import app
from helpers.app.export.bill_report import as_json, bill_html
from helpers.app.export.two_bills_report import two_bills_html, two_bills_json
from helpers.app.server.landing import FILES, GROUPS, address_of, fields_of, scenarios
from helpers.lab.money.scenario import PREFIX, Scenario

ASKED = Scenario(volume=9e8, traffic_hours=6, offer="AWS m7i.large", machine_discount=25, max_usd=500)


def query_of(texts: dict[str, str]) -> str:
    return "?" + urllib.parse.urlencode({PREFIX + name: text for name, text in texts.items()})


def without_date(text: str) -> dict:
    return {name: value for name, value in json.loads(text).items() if name != "written"}


def test_the_form_asks_for_every_field_once():
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Scenario))


def test_the_form_holds_what_the_reader_wrote():
    shown = {field["name"]: field["value"] for group in fields_of({"volume": "5e99", "api": "none"}).values()
             for field in group}
    assert (shown["bill.volume"], shown["bill.api"], shown["bill.max_usd"]) == ("5e99", "none", "")
    assert {field["value"] for field in fields_of({"volume": "90000000"})["Your service"]} >= {"90,000,000"}
    assert Scenario.from_texts({name.removeprefix(PREFIX): value for group in fields_of({}).values()
                                for name, value in ((field["name"], field["value"]) for field in group)}) == Scenario()


@pytest.mark.parametrize("asked", [Scenario(), ASKED], ids=["default", "asked"])
def test_page_file_and_library_have_the_same_figures(address, asked):
    answer = app.monthly_bill(asked)
    status, _, text = ask(address, query_of(asked.texts()) if asked.texts() else "")
    assert status == 200
    assert bill_html(answer) in text
    status, _, text = ask(address, f"bill.json{query_of(asked.texts())}")
    assert status == 200
    assert without_date(text) == without_date(as_json(answer))


def test_the_numbers_go_along_to_every_page(address):
    _, _, text = ask(address, query_of({"volume": "9e8"}))
    assert html.escape("voila/render/page.ipynb?bill.volume=900000000") in text
    assert "bill.json?bill.volume=900000000" in text


@pytest.mark.parametrize(("texts", "said"), [
    ({"volume": "2e9"}, "Requests (volume) goes from 1 to 1,000,000,000 a month, not 2,000,000,000."),
    ({"volume": "<script>"}, "not '<script>'"), ({"nothing": "1"}, "Unknown field 'nothing'"),
    ({"offer": "AWS moon"}, "unknown 'AWS moon'")])
def test_a_number_that_cannot_be_is_said_and_no_bill_is_shown(address, texts, said):
    status, _, text = ask(address, query_of(texts))
    assert status == 200
    assert html.escape(said, quote=False).replace("'", "&#39;") in text
    assert "a month today" not in text
    status, _, text = ask(address, f"bill.json{query_of(texts)}")
    assert (status, said in text) == (400, True)


@pytest.mark.parametrize("ending", FILES)
def test_each_file_is_offered_as_a_file(address, ending):
    status, headers, text = ask(address, f"bill.{ending}")
    assert status == 200
    assert headers["Content-Disposition"] == f"attachment; filename=bill.{ending}"
    assert app.monthly_bill(Scenario()).headline in html.unescape(text)


def test_settings_of_a_pages_panels_are_left_alone(address):
    assert ask(address, "?rows=200&bill.volume=1e6")[0] == 200
    assert "Unknown field" not in ask(address, "?rows=200")[2]


def test_a_bill_is_kept_as_todays_beside_the_next_one(address):
    _, _, alone = ask(address, query_of({"volume": "9e8"}))
    keep = "?bill.volume=900000000&today.volume=900000000"
    assert html.escape(keep) in alone
    assert "Today and then" not in alone
    query = keep.replace("bill.volume=900000000", "bill.volume=1e9")
    _, _, text = ask(address, query)
    both = app.two_bills(Scenario(volume=9e8), Scenario(volume=1e9))
    assert two_bills_html(both) in text
    assert bill_html(both.after) in text
    assert 'type="hidden" name="today.volume" value="900000000"' in text
    assert html.escape("page.ipynb?bill.volume=1000000000&today.volume=900000000") in text
    _, _, written = ask(address, f"bill.json{query}")
    written, wanted = json.loads(written), json.loads(two_bills_json(both))
    assert (written["headline"], written["rows"]) == (wanted["headline"], wanted["rows"])


@pytest.mark.parametrize("ending", FILES)
def test_a_file_holds_both_bills(address, ending):
    _, _, text = ask(address, f"bill.{ending}?bill.volume=9e8&today.volume=5e8")
    assert app.two_bills(Scenario(), Scenario(volume=9e8)).headline in html.unescape(text)


def test_the_default_can_be_kept_and_an_address_gives_both_back():
    for asked, kept in ((Scenario(), None), (ASKED, Scenario()), (Scenario(), ASKED), (ASKED, ASKED)):
        assert scenarios(dict(urllib.parse.parse_qsl(address_of(asked, kept)[1:]))) == (asked, kept)


def test_a_kept_bill_that_cannot_be_is_said_as_such(address):
    _, _, text = ask(address, "?bill.volume=3e8&today.volume=2e9")
    assert "The bill that is kept as today&#39;s cannot be: Requests (volume) goes from 1" in text
    assert "?bill.volume=3e8\">Forget today's</a>" in text
    assert "a month today" not in text
