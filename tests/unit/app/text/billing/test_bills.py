"""The answer to a scenario: closed forms, what is not counted, budgets, and a whole that is no more than its parts."""

import csv
import dataclasses
import json
import math
import random
import re

import pytest
from app_helpers import record

from helpers import app
from helpers.app.export.bill_report import tiles_of
from helpers.app.text.billing.amounts import usd
from helpers.app.text.billing.stages import FOLDER, stages
from helpers.lab import InputError
from helpers.lab.measuring.measurement import write_recorded
from helpers.lab.money.bill import Range, serving
from helpers.lab.money.scenario import Scenario

MACHINE = {"id": "0", "cpu": "a CPU", "cores": 2, "instruction_sets": [], "memory_gib": 8, "gpu": None}
STEPS = [{"step": "distill", "name": "small"}, {"step": "prune", "name": "pruned"},
         {"step": "cascade", "name": "with a first stage"}]


def made(speedup, *steps, **changed):
    """A record whose times follow its speed-up: 8 ms at speed-up 1."""
    name = ", ".join(step["name"] for step in steps) or "base"
    return record(name, speedup, settings={"runtime": "pytorch", **({"steps": list(steps)} if steps else {})},
                  machine=MACHINE, **{"p50_ms": 8 / speedup, "p95_ms": 9 / speedup, **changed})


def recorded_in(folder, speedups, alone, labels=None, **changed):
    """A folder with a pipeline's records, each step alone, and what a choice of labels saves: (saved, significant)."""
    done = [made(speedup, *STEPS[:number + 1], **changed) for number, speedup in enumerate(speedups)]
    singles = [made(speedup, step, **changed) for speedup, step in zip(alone, STEPS[1:], strict=True)]
    write_recorded(folder / "1_model_optimization_together.jsonl", [made(1.0), *done, *singles])
    if labels:
        saved, significant = labels
        base = {"share": 0.9, "reached": 1.0, "labels": 400.0}
        rows = [{**base, "strategy": "random"},
                {**base, "strategy": "margin", "saved_on_validation": 1.0, "saved": saved, "saved_low": saved - 20,
                 "saved_high": saved + 20, "significant": significant}]
        (folder / "4_data_efficiency_labels_tickets.json").write_text(json.dumps({
            "measured_at": "2026-01-02T00:00:00", "data": "tickets", "machine": MACHINE, "rows": rows}))
    return folder


@pytest.mark.parametrize("seed", range(60))
def test_the_combined_bill_never_promises_more_than_the_product_of_its_parts(seed, tmp_path):
    """Machines, hours and labels: what falls by a, b and c is, put together, at most a x b x c times less."""
    draw = random.Random(seed)
    gains = [draw.uniform(0.7, 4) for _ in range(3)]
    speedups = [gains[0], gains[0] * gains[1], gains[0] * gains[1] * gains[2]]
    folder = recorded_in(tmp_path, speedups, gains[1:], (draw.uniform(30, 370), draw.random() < 0.7))
    asked = Scenario(volume=10 ** draw.uniform(3, 9), traffic_hours=draw.uniform(1, 24), labels=draw.uniform(0, 1e5),
                     usd_per_label=draw.uniform(0, 2))
    answer = app.monthly_bill(asked, folder)
    reference, chain, _ = stages(folder)
    machines = serving(reference, asked).machines / serving(chain[-1].after, asked).machines
    label_step = next(step for step in answer.steps if step.strategy == "4")
    saved = json.loads((folder / "4_data_efficiency_labels_tickets.json").read_text())["rows"][1]["saved"]
    labels = 1.0 if label_step.usd is None else 1 / (1 - saved / 400)
    product = max(machines, 1.0) * (24 / asked.traffic_hours) * labels
    assert answer.today.value / answer.then.value <= product * (1 + 1e-9)
    assert answer.then.low <= answer.then.value <= answer.then.high


def test_each_step_is_the_bill_of_its_record_on_top_of_those_before(tmp_path):
    folder = recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0], (100.0, True))
    asked = Scenario(volume=1e9, traffic_hours=6, labels=1000, usd_per_label=0.2)
    answer = app.monthly_bill(asked, folder)
    assert answer.today.value == pytest.approx(serving(made(1.0), asked).always_usd.value + 200)
    bills = [step.usd.value for step in answer.steps]
    served = [serving(made(speedup), asked) for speedup in (2.0, 4.0, 8.0)]
    assert bills[:3] == pytest.approx([one.always_usd.value + 200 for one in served])
    assert bills[3] == pytest.approx(served[2].always_usd.value + 150), "a quarter of the labels is saved"
    assert bills[4] == pytest.approx(served[2].always_usd.value / 4 + 150), "a quarter of the day"
    assert answer.then == answer.steps[-1].usd
    assert answer.repaid_months == pytest.approx(5 * 16 * 80 / (answer.today.value - answer.then.value), rel=1e-3)


@pytest.mark.parametrize("asked", [
    Scenario(), Scenario(subject="own language model", volume=1e6, deadline_ms=5000),
    Scenario(volume=9e8, traffic_hours=10, deadline_ms=100, offer="GCP n2-standard-4", machine_discount=40,
                         labels=2000, usd_per_label=0.25)])
def test_the_waterfall_of_the_shipped_records_is_that_by_hand(asked):
    """From the files alone: the records' times, the price list, and Erlang's C by its definition."""
    file = ("1_model_optimization_together" if asked.subject == "classifier" else
            "2_efficient_architectures_language_together")
    rows = [json.loads(line) for line in (FOLDER / f"{file}.jsonl").read_text().splitlines()]
    times = {row["model"]: (row["p50_ms"] / 1e3, row["p95_ms"] / 1e3, row["settings"].get("slots", 1)) for row in rows}
    with (FOLDER.parent / "instances.csv").open(encoding="utf-8") as file:
        price, places = next((float(row["on_demand_usd_hour"]), int(row["vcpus"]) // 2) for row in csv.DictReader(file)
                             if f"{row['provider']} {row['instance']}" == asked.offer)
    machine_usd = 730 * price * (1 - asked.machine_discount / 100)
    labels_usd = asked.labels * asked.usd_per_label
    per_second = asked.volume / (730 * 3600 * asked.traffic_hours / 24)

    def machines(model: str) -> int:
        p50, p95, slots = times[model]
        mean = p50 * math.exp((math.log(p95 / p50) / 1.6448536269514722) ** 2 / 2)
        offered, wait, servers = per_second * mean, max(0.01, asked.deadline_ms / 1e3 - mean), 1
        while True:
            if servers > offered:
                last = offered**servers / math.factorial(servers) * servers / (servers - offered)
                queued = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
                if queued * math.exp(-(servers - offered) / mean * wait) <= 0.05:
                    return -(-servers // (places * slots))
            servers += 1

    answer, (reference, chain, _) = app.monthly_bill(asked), stages(subject=asked.subject)
    assert answer.today.value == pytest.approx(machines(reference.model) * machine_usd + labels_usd)
    *of_models, choice, hours = answer.steps
    for stage, step in zip(chain, of_models, strict=True):
        assert step.usd.value == pytest.approx(machines(stage.after.model) * machine_usd + labels_usd), step.name
    left = labels_usd if choice.usd is None else labels_usd - choice.saved_usd.value
    assert hours.usd.value == pytest.approx(
        machines(chain[-1].after.model) * machine_usd * asked.traffic_hours / 24 + left)


def test_an_own_language_model_is_billed_from_its_own_records(tmp_path):
    """One by one 2 s a request; then 0.5 s; then 16 in company take 1 s: as many servers as requests are answered."""
    steps = [{"step": "engine", "name": "another engine"}, {"step": "batch", "name": "16 together"}]
    write_recorded(tmp_path / "2_efficient_architectures_language_together.jsonl", [
        record(name, speedup, settings={"steps": steps[:done], "slots": slots}, machine=MACHINE, p50_ms=p50, p95_ms=p50,
               task="tickets-fields")
        for name, speedup, done, slots, p50 in (("alone", 1.0, 0, 1, 2000.0), ("engine", 4.0, 1, 1, 500.0),
                                                ("together", 32.0, 2, 16, 1000.0))])
    asked = Scenario(subject="own language model", volume=730 * 3600 * 20, traffic_hours=24, deadline_ms=3000,
                     labels=100, usd_per_label=1.0, usd_per_machine_hour=0.5)
    answer = app.monthly_bill(asked, tmp_path)
    reference, chain, _ = stages(tmp_path, asked.subject)
    assert answer.today == Range(*3 * [serving(reference, asked).machines * 365.0 + 100])
    assert [step.strategy for step in answer.steps] == ["3", "3", "4", "5"]
    assert [step.usd.value for step in answer.steps[:2]] == [
        serving(stage.after, asked).machines * 365.0 + 100 for stage in chain]
    result = [step.note.rpartition("ms when ")[2] for step in answer.steps[:2]]
    assert result == ["asked alone", "16 are asked together"]
    assert serving(chain[-1].after, asked).machines < serving(chain[0].after, asked).machines / 4
    assert (answer.steps[2].usd, "one label a message" in answer.steps[2].note) == (None, True)
    changed = app.two_bills(asked, dataclasses.replace(asked, labels=300), tmp_path).rows
    assert [row.change.value for row in changed if row.change] == [200] * 5


def test_a_model_that_learned_nothing_is_named_and_never_advised(tmp_path):
    """Each is right in 0.9 (0.88 to 0.92) of the rows."""
    for majority, learned in ((0.89, False), (0.87, True)):
        folder = tmp_path / str(majority)  # what is read is kept
        folder.mkdir()
        answer = app.monthly_bill(Scenario(volume=1e9, traffic_hours=24), recorded_in(
            folder, [4.0, 4.1, 4.2], [1.1, 1.2], majority=majority))
        named = [said for said in answer.overlaps if "always giving the same answer, which is right in 89%" in said]
        assert len(named) == (0 if learned else 1)
        assert learned or named[0].count("90% (88 to 92)") == 3, "the steps; the base has no share recorded"
        assert ("use the model" in answer.advice) == learned


def test_labels_that_are_not_significantly_fewer_are_not_counted(tmp_path):
    answer = app.monthly_bill(Scenario(), recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0], (100.0, False)))
    step = next(step for step in answer.steps if step.strategy == "4")
    assert step.usd is None
    assert "no significant saving" in step.note
    assert "margin, the best on validation rows, saves 100 (80 to 120) of the 400 labels" in step.note


def test_what_is_not_recorded_says_so(tmp_path):
    answer = app.monthly_bill(Scenario(), recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0]))
    assert next(step for step in answer.steps if step.strategy == "4").note.startswith("not recorded yet")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="Unknown recorded results"):
        app.monthly_bill(Scenario(), empty)


def test_what_does_not_multiply_is_named_and_what_does_is_not(tmp_path):
    answer = app.monthly_bill(Scenario(), recorded_in(tmp_path, [2.0, 4.0, 4.4], [2.0, 6.0]))
    named = [said for said in answer.overlaps if "after the others" in said]
    assert len(named) == 1
    assert named[0].startswith("with a first stage makes it 1.1 times")
    assert any("multiply to 24 times" in said and "together they are 4.4" in said for said in answer.overlaps)


@pytest.mark.parametrize(("asked", "said"), [
    (Scenario(volume=1e9, traffic_hours=1), "run machines only in the hours of traffic (page 5). It saves"),
    (Scenario(volume=1e9, traffic_hours=24), "use the model 'small (PyTorch)' (page 1). It saves"),
    (Scenario(volume=1e9, traffic_hours=24, hours_of_work=10_000), "nothing. The best single change"),
    (Scenario(volume=1000, traffic_hours=24), "nothing. No single change lowers this bill")])
def test_what_to_do_first_leaves_the_most_of_a_year(tmp_path, asked, said):
    answer = app.monthly_bill(asked, recorded_in(tmp_path, [4.0, 4.1, 4.2], [1.1, 1.2]))
    assert said in answer.advice
    assert answer.advice.startswith("Do this first: ")
    assert (answer.first is None) == ("nothing" in answer.advice)


def test_a_change_that_may_lose_more_than_two_points_is_not_advised(tmp_path):
    folder = recorded_in(tmp_path, [4.0, 4.1, 4.2], [1.1, 1.2], accuracy=0.85)
    assert "nothing" in app.monthly_bill(Scenario(volume=1e9, traffic_hours=24), folder).advice


@pytest.mark.parametrize(("asked", "first"), [
    ({}, "use the model 'small"), ({"min_accuracy": 87.9}, "use the model 'small"), ({"min_accuracy": 88.1}, "nothing"),
    ({"deadline_ms": 2.3}, "use the model 'small"), ({"deadline_ms": 2.2}, "nothing")])
def test_a_model_that_breaks_a_budget_is_not_advised(tmp_path, asked, first):
    """Each model's accuracy is 0.9 (0.88 to 0.92); the p95 of the best one alone is 9 / 4 ms."""
    folder = recorded_in(tmp_path, [4.0, 4.1, 4.2], [1.1, 1.2])
    answer = app.monthly_bill(Scenario(volume=1e9, traffic_hours=24, **asked), folder)
    assert answer.advice.startswith(f"Do this first: {first}")


def test_budgets_are_held_by_the_worse_end(tmp_path):
    """The pipeline's accuracy is 0.9 (0.88 to 0.92), its p95 9 / 8 ms."""
    folder = recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0])
    cost = app.monthly_bill(Scenario(), folder).then.high
    for budget, broken in (({"min_accuracy": 87.9}, ""), ({"min_accuracy": 88.1}, "Accuracy"),
                           ({"max_usd": cost}, ""), ({"max_usd": cost - 0.01}, "Cost"),
                           ({"deadline_ms": 1.2}, ""), ({"deadline_ms": 1.1}, "Latency")):
        result = app.monthly_bill(dataclasses.replace(Scenario(), **budget), folder).broken
        assert [one.partition(":")[0] for one in result] == ([broken] if broken else []), budget


def test_a_language_model_is_priced_from_the_list_and_says_what_is_not_recorded():
    """gpt-5.4-mini: 0.75 dollars a million tokens read, 0.075 from the cache, 4.50 written."""
    asked = Scenario(subject="language model", volume=1e6, tokens_in=1500, tokens_out=100, tokens_shared=1200)
    answer = app.monthly_bill(asked)
    assert answer.today.value == pytest.approx(1500 * 0.75 + 100 * 4.5)
    assert answer.then.value == pytest.approx(300 * 0.75 + 1200 * 0.075 + 100 * 4.5)
    assert [step.usd is None for step in answer.steps] == [True, True, False, True, True]
    assert answer.points is None
    assert "not recorded yet" in answer.steps[0].note
    held = app.monthly_bill(dataclasses.replace(asked, min_accuracy=50.0))
    assert "is not recorded, so it cannot be held to 50%" in held.broken[0]


@pytest.mark.parametrize(("api", "shared", "why"), [
    ("Mistral ministral-8b", 2000, "no price of cached tokens is known"),
    ("OpenAI gpt-5.4-mini", 0, "say with how many tokens"),
    ("OpenAI gpt-5.4-mini", 1023, "cached from 1,024 tokens on, and this one has 1,023")])
def test_a_language_model_of_which_nothing_can_be_saved_says_so(api, shared, why):
    answer = app.monthly_bill(Scenario(subject="language model", api=api, tokens_in=2000, tokens_shared=shared))
    assert answer.then == answer.today
    assert "Nothing that is recorded makes that less." in answer.headline
    assert why in answer.steps[2].note
    assert (answer.repaid_months, answer.spent_usd) == (None, 0.0)
    assert not any("to repay" in small for _, small in tiles_of(answer)), "no step, so no work"


def test_the_shipped_records_answer_the_default():
    answer = app.monthly_bill(Scenario())
    assert answer.headline.startswith("Today MiniLM-L6 fp32, PyTorch costs $")
    assert any(source.startswith("Recorded on the task tickets") for source in answer.sources)
    tiles = {small.partition(";")[0]: big for big, small in tiles_of(answer)}
    assert tiles["a month today"] == usd(answer.today.value)
    assert len(tiles) == 5


def test_steps_that_make_it_dearer_are_no_saving(tmp_path):
    folder = recorded_in(tmp_path, [0.5, 0.25, 0.2], [0.5, 0.8])
    answer = app.monthly_bill(Scenario(volume=1e9, traffic_hours=24), folder)
    assert answer.then.value > answer.today.value
    assert re.search(r"[\d.]+ times as much; the model", answer.headline)
    assert any("does not lower this bill" in said for said in answer.overlaps)
    assert answer.repaid_months is None
    assert tiles_of(answer)[-1] == ("never", f"to repay {usd(answer.spent_usd)} of work and computing for all steps")
    assert "nothing" in answer.advice


@pytest.mark.parametrize(("p50_ms", "said"), [(4.0, True), (1.9, False)])
def test_a_step_that_is_quicker_in_batches_and_slower_alone_says_why_it_is_dearer(p50_ms, said, tmp_path):
    first, second, last = (made(4.0 * 2**number, *STEPS[:number + 1], p50_ms=2.0, p95_ms=3.0) for number in range(3))
    last = dataclasses.replace(last, p50_ms=p50_ms, p95_ms=1.5 * p50_ms)
    write_recorded(tmp_path / "1_model_optimization_together.jsonl", [made(1.0), first, second, last])
    *_, step = app.monthly_bill(Scenario(volume=1e9), tmp_path).steps[:3]
    assert ("one request takes 4.1 ms on average, 2.1 without this step" in step.note) == said


def test_equal_accuracy_and_an_equal_bill_are_said_as_such(tmp_path):
    folder = recorded_in(tmp_path, [1.0, 1.0, 1.0], [1.0, 1.0], accuracy_delta=0.0)
    answer = app.monthly_bill(Scenario(traffic_hours=24), folder)
    assert "about as much; the model is equally accurate (" in answer.headline


def test_a_change_that_is_not_significantly_faster_is_not_advised(tmp_path):
    folder = recorded_in(tmp_path, [4.0, 4.1, 4.2], [4.0, 4.0], speedup_low=0.9)
    assert "nothing" in app.monthly_bill(Scenario(volume=1e9, traffic_hours=24), folder).advice


def test_months_to_repay_have_the_interval_of_what_is_saved(tmp_path):
    answer = app.monthly_bill(Scenario(volume=1e9), recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0]))
    big, small = tiles_of(answer)[-1]
    saved = [answer.today.value - bound for bound in (answer.then.value, answer.then.low, answer.then.high)]
    middle, soonest, latest = (float(f"{answer.spent_usd / one:.2g}") for one in saved)
    assert float(big.split()[0]) == middle
    result = re.findall(r"\(([\d.]+) to ([\d.]+) months\)", small)
    assert [(float(low), float(high)) for low, high in result] == ([(soonest, latest)] if soonest != latest else [])


def test_labels_that_neither_reaches_are_said_so(tmp_path):
    folder = recorded_in(tmp_path, [2.0, 4.0, 8.0], [2.0, 2.0], (100.0, True))
    path = folder / "4_data_efficiency_labels_tickets.json"
    content = json.loads(path.read_text())
    unknown = {"labels": None, "saved": None, "saved_low": None, "saved_high": None, "saved_on_validation": None}
    path.write_text(json.dumps({**content, "rows": [{**row, **unknown, "reached": 0.0} for row in content["rows"]]}))
    step = next(step for step in app.monthly_bill(Scenario(), folder).steps if step.strategy == "4")
    assert (step.usd, step.note.startswith("not reached")) == (None, True)
