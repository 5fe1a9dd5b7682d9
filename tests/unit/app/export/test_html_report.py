"""The report that is sent on: whole, alone, and nothing in it is obeyed."""

import json
import re
from html.parser import HTMLParser

import altair as alt
import pandas as pd
import pytest
from app_helpers import record

from helpers.app.charts.accuracy_cost import cost_spec, speedup_spec
from helpers.app.export.html_report import figure, records_page
from helpers.app.records import rows_csv, rows_json, rows_of

MARKUP = "<script>alert(1)</script>"
MACHINE = {"cpu": "some CPU", "instruction_sets": ["AVX2"], "cores": 2, "memory_gib": 8.0, "gpu": None,
           "libraries": {"torch": "2.13.0"}}
RECORDS = [record(machine=MACHINE), record("small", 2.0, 0.89, strategy="pruning", provenance="measured",
                                           machine=MACHINE, settings={"bits": 4, "layers": [1, 2]})]


class Parsed(HTMLParser):
    """Tags, addresses that would be fetched, and text."""

    def __init__(self, document: str):
        super().__init__()
        self.tags, self.fetched, self.said = [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "srcset", "data", "xlink:href")
                         or (name == "href" and tag == "link")]

    def handle_data(self, data):
        self.said.append(data)


def report(**changed):
    arguments = {"title": "a panel", "sentence": "It is cheaper.", "records": RECORDS, "settings": {"rows": 200},
                 "charts": [cost_spec(RECORDS), speedup_spec(RECORDS)], **changed}
    return Parsed(records_page(**arguments))


def test_a_report_holds_everything_and_fetches_nothing():
    parsed = report()
    said = " ".join(parsed.said)
    assert parsed.tags.count("svg") == 2
    assert parsed.fetched == []
    assert "script" not in parsed.tags
    for text in ("It is cheaper.", "some CPU, 2 cores (AVX2), 8 GiB", "torch 2.13.0", "bits", "1, 2", "rows", "200",
                 "AWS m6i.large", "measured, 2026-01-02T00:00", "recorded, 2026-01-02T00:00"):
        assert text in said
    assert re.search(r"https://\S+ \(20\d\d-\d\d-\d\d\)", said)


def test_markup_in_names_and_settings_is_shown_not_obeyed():
    evil = record(MARKUP, 2.0, settings={MARKUP: MARKUP}, machine={**MACHINE, "cpu": MARKUP})
    parsed = report(title=MARKUP, sentence=MARKUP, records=[record(), evil], settings={MARKUP: MARKUP},
                    charts=[cost_spec([record(), evil])])
    assert "script" not in parsed.tags
    assert "".join(parsed.said).count(MARKUP) > 6


def test_a_report_without_records_still_says_its_sentence():
    parsed = report(records=[], charts=[], settings={})
    assert "It is cheaper." in parsed.said
    assert "table" not in parsed.tags


def test_a_figure_tells_what_it_shows():
    chart = alt.Chart(alt.Data(values=[{"x": 1}])).mark_point().encode(x="x:Q").properties(description='it\'s "one"')
    assert "aria-label=\"it&#x27;s &quot;one&quot;\"" in figure(chart)


@pytest.mark.parametrize("result", [3, "text", [1, 2], {"a": 1}])
def test_what_is_no_table_gives_no_rows(result):
    assert rows_of(result) is None


def test_what_found_nothing_is_a_table_without_rows():
    assert rows_of([]) == []
    assert json.loads(rows_json([])) == []


def test_a_table_is_saved_as_csv_and_json():
    rows = rows_of(pd.DataFrame({"a": [1, 2], "b": ["x, y", "z"]}))
    assert rows_csv(rows) == 'a,b\n1,"x, y"\n2,z\n'
    assert rows_json([{"a": 1}]) == '[\n {\n  "a": 1\n }\n]'
    assert rows_csv([{"a": 1}, {"b": 2}]) == "a,b\n1,\n,2\n"
