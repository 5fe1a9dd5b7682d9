"""A reader's services on one sheet: the landing page's figures, their sum, and a notebook that helps most or none."""

import pandas as pd
import pytest

from helpers import app
from helpers.lab import InputError, Scenario

SERVICES = {"sorting": Scenario(volume=5e8, traffic_hours=8), "answers": Scenario(
    subject="language model", volume=5e6, tokens_in=1200, tokens_out=150, tokens_shared=800)}


def test_each_service_has_the_bill_of_the_landing_page():
    sheet = app.worksheet(SERVICES).set_index("service")
    for name, scenario in SERVICES.items():
        answer = app.monthly_bill(scenario)
        assert sheet.loc[name, ["today_usd", "then_usd"]].tolist() == [answer.today.value, answer.then.value]
        assert sheet.loc[name, "first"] == (answer.first.name if answer.first else "")


def test_tokens_are_paid_by_the_price_list():
    """5 million requests of 1,200 tokens read and 150 written, at an own price of $1 and $4 a million."""
    mine = Scenario(subject="language model", volume=5e6, tokens_in=1200, tokens_out=150, usd_per_million_in=1,
                    usd_per_million_out=4)
    assert app.worksheet({"mine": mine})["today_usd"][0] == pytest.approx(5 * 1200 * 1 + 5 * 150 * 4)


def row(service, notebook, saved, spent):
    return {"service": service, "today_usd": 1000.0, "then_usd": 400.0, "then_low": 300.0, "then_high": 500.0,
            "first": "a change" if notebook else "", "notebook": notebook, "saved_usd": saved, "spent_usd": spent,
            "repaid_months": spent / saved if saved else None}


@pytest.mark.parametrize(("rows", "words"), [
    ([row("a", "1", 100.0, 200.0), row("b", "5", 150.0, 100.0)],
     ["Notebook 5 helps most (b, a change: saves $150", "leaves $1,700"]),
    ([row("a", "1", 100.0, 200.0), row("b", "5", 150.0, 1700.0)], ["Notebook 1 helps most (a, a", "leaves $1,000"]),
    ([row("a", "1", 100.0, 200.0), row("b", "5", 150.0, 100.0), row("c", "1", 90.0, 80.0)],  # two small ones together
     ["3 services cost $3,000", "$1,200 ($900 to $1,500)", "Notebook 1 helps most (a,", "; c,", "leaves $2,000"]),
    ([row("a", "", 0.0, 0.0)], ["your service costs $1,000", "no notebook helps this bill"])])
def test_the_notebook_that_leaves_most_is_named_or_none(rows, words):
    said = app.helps_most(pd.DataFrame(rows))
    assert [word for word in words if word not in said] == []


def test_an_empty_sheet_is_refused():
    with pytest.raises(InputError, match="at least one service"):
        app.worksheet({})
