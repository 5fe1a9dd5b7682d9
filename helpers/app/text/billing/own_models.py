"""Models that could replace a hosted language model: the recorded rungs of extraction, on the reader's machine."""

import json
from pathlib import Path

from helpers.app.text.billing.amounts import usd
from helpers.app.text.figures import percent
from helpers.lab.money.costs import DEFAULT_OFFER, offer
from helpers.lab.money.scenario import Scenario

RUNGS = "2_efficient_architectures_language_rungs"
_STRATEGIES = {"tuned": "1", "tagger": "2"}  # of the rungs that can take a hosted model's place


def own_models(scenario: Scenario, folder: Path) -> tuple[dict[str, str], str]:
    """(strategy -> what its recorded model would cost and resolves, in words; their origin); empty where not recorded.

    Dollars are those of busy seconds, core for core: of whole machines nothing is known without the latency of single
    answers.
    """
    path, machine, listed = folder / f"{RUNGS}.json", scenario.machine, offer(DEFAULT_OFFER)
    if not path.is_file():
        return {}, ""
    content, by_name = json.loads(path.read_text(encoding="utf-8")), {}  # without pandas, as the landing page opens
    # The table has its dollars on DEFAULT_OFFER.
    dearer = machine.on_demand_usd_hour / machine.vcpus / (listed.on_demand_usd_hour / listed.vcpus)
    rows = {row["rung"]: row for row in content["rows"]}
    for rung, strategy in _STRATEGIES.items():
        row = rows[rung]
        month = scenario.volume / 1e6 * dearer * row["usd_per_million"]
        by_name[strategy] = (f"{row['model']} would take {usd(month)} a month of busy seconds and resolves "
                           f"{percent(row['resolved'])} ({percent(row['resolved_low'])} to "
                           f"{percent(row['resolved_high'])}) of the messages whose fields are asked for")
    return by_name, (f"Own models: recorded on {content['data']}, {content['measured_at'][:10]}, on "
                   f"{content['machine']['cpu']}, {content['machine']['cores']} cores")
