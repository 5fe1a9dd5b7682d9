"""Write what notebook 2's language part opens on, from a real run on this machine.

python -m recording.architectures_language
"""

import numpy as np
import pandas as pd

from benchmarks.language_model import MAX_LOST, ROWS, climb
from helpers.efficient_architectures import (
    LANGUAGE_RUNGS,
    LanguageTenants,
    most_lost,
    request_tokens,
    route_drift,
    route_guarantees,
    tenant_adapters,
    tenant_bytes,
    tenant_prompt,
    tenant_tasks,
    tenant_times,
    threshold_of,
)
from helpers.lab import load_language_model, load_task
from helpers.lab.language.loading import SMOLLM2
from helpers.lab.progress import printed
from recording.efficient_architectures import write

LOSSES, ROUNDS = (1.0, 2.0, 3.0, 5.0), 5  # points; of timing
TENANTS, TENANT_ROWS, COUNTS = 3, 64, (1, 10, 50, 100)


def record_rungs() -> None:
    """The ladder on extraction, the tokens of a request, and a router from the tagger to the best language rung."""
    task = load_task("tickets-fields")
    ladder = climb(SMOLLM2, task)
    write("language_rungs", ladder.frame, task.name)
    tokens = [{"rung": rung, **vars(request_tokens(ladder.made[rung], task, ROWS))} for rung in LANGUAGE_RUNGS]
    write("language_tokens", pd.DataFrame(tokens), task.name)
    general = {"general": ladder.general}
    guarantees = route_guarantees(ladder.held_out, ladder.test, ladder.costs, LOSSES)
    write("language_router", guarantees.assign(**general), task.name)
    threshold = threshold_of(ladder.held_out, MAX_LOST)
    wish = most_lost(ladder.held_out, threshold)
    hard = {"more unsure messages": ladder.test.confidence <= np.quantile(ladder.test.confidence, 0.25)}
    if wish is not None:
        hard = {f"more of {wish}": ladder.test.wishes == wish} | hard
    drifts = [route_drift(ladder.test, ladder.costs, threshold, rows).assign(drift=name, max_lost=MAX_LOST, **general)
              for name, rows in hard.items() if 0 < rows.mean() < 1]
    write("language_drift", pd.concat(drifts, ignore_index=True), task.name)


def record_tenants() -> None:
    """Adapters of a language model for three tenants: times of mixed requests, and bytes against a copy each."""
    task = load_task("tickets")
    tenants = tenant_tasks(task, TENANTS, train_rows=TENANT_ROWS)
    bank = LanguageTenants(load_language_model("smollm2"), tenant_adapters(tenants, progress=printed))
    prompts = [tenant_prompt(tenants[row % TENANTS], text) for row, text in enumerate(task.test["text"][:12])]
    write("language_tenants", tenant_times(bank, prompts, rounds=ROUNDS, progress=printed), task.name)
    each = float(np.mean(list(bank.bytes.values())))
    write("language_tenant_bytes", tenant_bytes(bank.base_bytes, each, COUNTS).assign(adapter=each))


def record() -> None:
    """All of it."""
    record_rungs()
    record_tenants()


if __name__ == "__main__":
    record()
