"""What a change takes: settings, minutes and hours, against figures worked out by hand; and what is said of them."""

import pandas as pd
import pytest
from app_helpers import record

from helpers import app
from helpers.lab import Scenario
from helpers.lab.measuring.measurement import write_recorded
from helpers.lab.money.bill import places_needed

MACHINE = {"id": "0", "cpu": "a CPU", "cores": 2, "instruction_sets": [], "memory_gib": 8, "gpu": None}
ASKED = Scenario(volume=1e9, traffic_hours=24, hours_of_work=10, usd_per_hour_of_work=50, usd_per_machine_hour=1.0,
                 offer="AWS m6i.large")


def made(name, speedup, seconds, *steps):
    times = {"p50_ms": 8 / speedup, "p95_ms": 8.0001 / speedup}  # as good as constant
    return record(name, speedup, made_in_s=seconds, machine=MACHINE, **times,
                  settings={"runtime": "pytorch", **({"steps": list(steps)} if steps else {})})


def test_minutes_settings_hours_and_dollars_by_hand(tmp_path):
    step = {"step": "distill", "name": "small", "layers": [0, 1], "epochs": 2.0}
    write_recorded(tmp_path / "1_model_optimization_together.jsonl",
                   [made("base", 1.0, 600.0), made("small", 4.0, 4200.0, step)])
    [result] = app.effort(ASKED, tmp_path).to_dict("records")
    machines = [places_needed(ASKED.per_second, 0.008 / times, 0.250 - 0.008 / times) for times in (1, 4)]
    assert (result["settings"], result["minutes"], result["hours"]) == (2, pytest.approx(60), 10)
    assert result["computing_usd"] == pytest.approx(1.0)  # one hour of both vCPUs at $1
    assert result["spent_usd"] == pytest.approx(501)
    assert result["saved_usd"] == pytest.approx((machines[0] - machines[1]) * 730)
    assert result["repaid_months"] == pytest.approx(501 / result["saved_usd"])


def row(change, settings, minutes, computing, people, saved):
    return {"change": change, "settings": settings, "minutes": minutes, "computing_usd": computing,
            "spent_usd": computing + people, "saved_usd": saved, "saved_low": saved - 50, "saved_high": saved + 50,
            "repaid_months": (computing + people) / saved if saved > 0 else None}


@pytest.mark.parametrize(("rows", "words", "not_said"), [
    ([row("a", 5, 10.0, 1.0, 100.0, 1000.0), row("b", 2, 60.0, 2.0, 100.0, 10.0)],
     ["Most settings: a, 5", "Most computing: b, 60 minutes", "is people", "Repaid soonest: a",
      "No significant saving: b."], "None is certain"),
    ([row("a", 1, 10.0, 500.0, 100.0, 100.0), row("b", 2, 60.0, 900.0, 100.0, 900.0)],
     ["Most settings: b, 2", "is computing", "Repaid soonest: b"], "No significant saving"),
    ([row("a", 1, 10.0, 5.0, 100.0, -100.0)], ["None is certain to repay that"], "Repaid soonest")])
def test_effort_may_be_people_or_computing_and_never_repaid(rows, words, not_said):
    said = app.effort_worth(pd.DataFrame(rows))
    assert [word for word in words if word not in said] == []
    assert not_said not in said
