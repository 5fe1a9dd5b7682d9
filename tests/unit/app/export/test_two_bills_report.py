"""Two bills as they are sent on: the library's sentences and figures in every form."""

import json

from helpers import app
from helpers.app.export.two_bills_report import two_bills_html, two_bills_json, two_bills_markdown, two_bills_page
from helpers.lab.money.scenario import Scenario

BOTH = app.two_bills(Scenario(), Scenario(volume=9e8, labels=900))


def test_page_file_and_command_line_say_the_same():
    text, written = two_bills_markdown(BOTH), json.loads(two_bills_json(BOTH))
    for shown in (text, two_bills_html(BOTH).replace("&#x27;", "'"), written["headline"],
                  two_bills_page(BOTH).replace("&#x27;", "'")):
        assert BOTH.headline in shown
    assert "Requests 500,000,000 a month, then 900,000,000 a month; Labels bought 500 a month, then 900" in text
    assert written["today"]["headline"] == BOTH.before.headline
    assert written["then"]["headline"] == BOTH.after.headline
    assert [row["said"] for row in written["rows"]] == [row.said for row in BOTH.rows]
    assert text.count("| not counted |") == 2


def test_a_scenario_beside_itself_says_what_to_do():
    assert "Nothing differs: change a number" in two_bills_markdown(app.two_bills(Scenario(), Scenario()))
