"""A reader's services on one sheet: today's bill, what all steps make of it, and which notebook helps most."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.app.text.billing.amounts import months, usd, usd_range
from helpers.app.text.billing.bills import monthly_bill
from helpers.app.text.billing.stages import FOLDER
from helpers.lab.errors import InputError
from helpers.lab.money.bill import Range
from helpers.lab.money.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd


def worksheet(services: Mapping[str, Scenario], folder: Path = FOLDER) -> "pd.DataFrame":
    """A row a service, each with the bill that the landing page gives for its numbers.

    Returns:
        Columns service; today_usd, then_usd, then_low, then_high (a month, now and with all recorded steps); first (the
        single change that leaves most of a year's savings once its work is paid; empty where none leaves something),
        notebook (where that is taught), saved_usd (by it, a month), spent_usd (for it, once), repaid_months.

    Raises:
        InputError: no service.

    >>> from helpers import app
    >>> from helpers.lab import Scenario
    >>> list(app.worksheet({"sorting": Scenario(volume=1e9)})["service"])
    ['sorting']
    """
    import pandas as pd  # a page opens without it

    if not services:
        raise InputError("The worksheet is empty: give at least one service, such as "
                         '{"sorting": Scenario(volume=5e6)}.')
    rows = []
    for name, scenario in services.items():
        answer = monthly_bill(scenario, folder)
        first = answer.first
        rows.append({"service": name, "today_usd": answer.today.value, "then_usd": answer.then.value,
                     "then_low": answer.then.low, "then_high": answer.then.high, "first": first.name if first else "",
                     "notebook": first.strategy if first else "", "saved_usd": first.saved_usd.value if first else 0.0,
                     "spent_usd": first.spent_usd if first else 0.0,
                     "repaid_months": first.repaid_months if first else None})
    return pd.DataFrame(rows)


def helps_most(sheet: "pd.DataFrame") -> str:
    """Today's bill of all services, and the notebook whose changes leave most of a year's savings; of `worksheet`.

    >>> from helpers import app
    >>> from helpers.lab import Scenario
    >>> app.helps_most(app.worksheet({"sorting": Scenario(volume=1e9)})).startswith("Today your service costs $")
    True
    """
    today, then, low, high = sheet[["today_usd", "then_usd", "then_low", "then_high"]].sum()
    who = "your service costs" if len(sheet) == 1 else f"your {len(sheet)} services cost"
    opening = (f"Today {who} {usd(today)} a month; with all steps that are recorded, "
               f"{usd_range(Range(then, low, high))}.")
    left = (12 * sheet["saved_usd"] - sheet["spent_usd"]).groupby(sheet["notebook"]).sum().drop("", errors="ignore")
    if left.empty:
        return f"{opening} No single change repays its work within a year: no notebook helps this bill."
    best = sheet[sheet["notebook"] == left.idxmax()]
    done = "; ".join(f"{row.service}, {row.first}: saves {usd(row.saved_usd)} a month, repaid in "
                     f"{months(row.repaid_months)}" for row in best.itertuples())
    return f"{opening} Notebook {left.idxmax()} helps most ({done}); that leaves {usd(left.max())} in the first year."
