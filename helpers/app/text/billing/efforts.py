"""Effort of each recorded change, alone: settings to choose, computing, people's hours; and when it is repaid."""

from pathlib import Path
from typing import TYPE_CHECKING

from helpers.app.text.billing.amounts import months, usd
from helpers.app.text.billing.single_changes import change_alone, work_usd
from helpers.app.text.billing.stages import FOLDER, stages
from helpers.app.text.figures import two
from helpers.lab.money.scenario import Scenario

if TYPE_CHECKING:
    import pandas as pd

NO_SETTINGS = {"step", "name"}  # keys of a step that nobody has to choose


def effort(scenario: Scenario, folder: Path = FOLDER) -> "pd.DataFrame":
    """A row a change that is recorded alone: what it takes, and what it leaves of a scenario's bill for machines.

    Returns:
        Columns change, notebook, settings (a number of them), minutes (of computing, beyond what made the reference),
        hours (of people, as the scenario says, the same for each), computing_usd, spent_usd (both together), saved_usd,
        saved_low, saved_high (a month), repaid_months (None: never).

    Raises:
        InputError: the pipeline of notebook 1 is not recorded there.

    >>> from helpers import app
    >>> from helpers.lab import Scenario
    >>> set(app.effort(Scenario(hours_of_work=8))["hours"])
    {8}
    """
    import pandas as pd  # a page opens without it

    reference, _, singles = stages(folder, scenario.subject)
    rows = []
    for one in singles:
        change = change_alone(one, reference, scenario)
        rows.append({"change": change.name, "notebook": change.strategy,
                     "settings": len(set(one.settings["steps"][0]) - NO_SETTINGS),
                     "minutes": (one.made_in_s - reference.made_in_s) / 60, "hours": scenario.hours_of_work,
                     "computing_usd": change.spent_usd - work_usd(scenario),
                     "spent_usd": change.spent_usd, "saved_usd": change.saved_usd.value,
                     "saved_low": change.saved_usd.low, "saved_high": change.saved_usd.high,
                     "repaid_months": change.repaid_months})
    return pd.DataFrame(rows)


def effort_worth(efforts: "pd.DataFrame") -> str:
    """Describe the largest part of the effort, and the change that is repaid soonest; of `effort`.

    >>> from helpers import app
    >>> from helpers.lab import Scenario
    >>> app.effort_worth(app.effort(Scenario())).startswith("Most settings: ")
    True
    """
    most, longest, dear = (efforts.loc[efforts[column].idxmax()] for column in ("settings", "minutes", "spent_usd"))
    people = dear["spent_usd"] - dear["computing_usd"]
    larger = "people" if people > dear["computing_usd"] else "computing"
    opening = (f"Most settings: {most['change']}, {most['settings']}. Most computing: {longest['change']}, "
               f"{two(longest['minutes'])} minutes. Most of what a change costs is {larger}: of the dearest, "
               f"{dear['change']}, {usd(people)} are hours of people and {usd(dear['computing_usd'])} computing.")
    pays = efforts[efforts["saved_low"] > 0]
    doubtful = [row.change for row in efforts.itertuples() if row.saved_low <= 0]
    unsure = f" No significant saving: {', '.join(doubtful)}." if doubtful else ""
    if pays.empty:
        return f"{opening} None is certain to repay that with these numbers."
    first = pays.sort_values("repaid_months").iloc[0]
    return f"{opening} Repaid soonest: {first['change']}, in {months(first['repaid_months'])}.{unsure}"
