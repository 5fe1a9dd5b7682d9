"""Write what notebook 2's language part opens on, from a real run on this machine.

python -m recording.architectures_language
"""

import numpy as np
import pandas as pd

from helpers.efficient_architectures import (
    RUNGS,
    LanguageTenants,
    compare_rungs,
    extraction_rungs,
    most_lost,
    request_tokens,
    routable,
    route_drift,
    route_guarantees,
    score_rungs,
    tenant_adapters,
    tenant_bytes,
    tenant_prompt,
    tenant_tasks,
    tenant_times,
    threshold_of,
)
from helpers.lab import load_language_model, load_task
from helpers.lab.progress import printed
from recording.efficient_architectures import write

ROWS = {"validation": 200, "test": 200}  # messages that all rungs read: the language model takes seconds for each
TIMED_ROWS, ROUNDS, WARM_UPS = 16, 5, 2  # messages a call; calls
LOSSES, DRIFT_LOSS = (1.0, 2.0, 3.0, 5.0), 3.0  # points
TENANTS, TENANT_ROWS, COUNTS = 3, 64, (1, 10, 50, 100)


def record_rungs() -> None:
    """The ladder on extraction, the tokens of a request, and a router from the tagger to the best language rung."""
    task = load_task("tickets-fields")
    made = extraction_rungs(task, RUNGS, progress=printed)
    scores = {split: score_rungs(made, task, split, rows, progress=printed) for split, rows in ROWS.items()}
    unread = task.test["text"][ROWS["test"]:][:TIMED_ROWS * (ROUNDS + WARM_UPS)]
    rungs = compare_rungs(RUNGS, made, scores["test"], unread, rounds=ROUNDS, progress=printed)
    write("language_rungs", rungs, task.name)
    tokens = [{"rung": rung, **vars(request_tokens(one, task, ROWS["test"]))}
              for rung, one in zip(RUNGS, made, strict=True) if one.kind == "prompted"]
    write("language_tokens", pd.DataFrame(tokens), task.name)
    asked = [number for number, one in enumerate(made) if one.kind == "prompted"]
    best = max(asked, key=lambda number: scores["validation"][number]["message and wish"])  # on validation messages
    costs = rungs["usd_per_million"].iloc[[0, best]].tolist()
    held_out, test = (routable(made[0], scores[split][best], task, split, rows) for split, rows in ROWS.items())
    general = {"general": RUNGS[best]}
    write("language_router", route_guarantees(held_out, test, costs, LOSSES).assign(**general), task.name)
    threshold = threshold_of(held_out, DRIFT_LOSS)
    wish = most_lost(held_out, threshold)
    hard = {"more unsure messages": test.sure <= np.quantile(test.sure, 0.25)}
    if wish is not None:
        hard = {f"more of {wish}": test.wishes == wish} | hard
    drifts = [route_drift(test, costs, threshold, rows).assign(drift=name, max_lost=DRIFT_LOSS, **general)
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
